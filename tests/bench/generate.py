"""Write a large capture of WebSocket connections, good and bad, among other traffic; the truth goes to a second file.

The same arguments write the same bytes. `generate.py --packets 100000 --mix server --out a.pcap --truth a.ndjson`
Mixes: server (a third is on the port), wsonly, storm (nine of ten connections fail), needle (one packet in a hundred).
"""

import argparse
import base64
import hashlib
import json
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

SYN, ACK, PSH, FIN, RST = 2, 16, 8, 1, 4
PORT = 2346
# Shares of the packets: conversations that work, that fail, and that are something else.
MIXES = {
    "server": (0.30, 0.05, 0.65),
    "wsonly": (0.92, 0.08, 0.0),
    "storm": (0.05, 0.95, 0.0),
    "needle": (0.01, 0.0005, 0.9895),
}
# Ways to fail and their weights; each name is the cause, or the symptom when the wire alone cannot tell more.
FAILURES = {
    "closed-without-response": 32,
    "tls-to-plaintext": 20,
    "connection-refused": 12,
    "response-404": 8,
    "response-400": 8,
    "proxy-stripped-upgrade": 5,
    "no-response": 4,
    "plain-http-request": 4,
    "response-5xx-upstream": 4,
    "connect-timeout": 3,
    "response-bad-accept": 3,
    "reset-after-request": 3,
    "not-a-websocket-client": 3,
    "nothing-sent": 2,
    "frames-before-handshake": 1,
}
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Python/3.12 websockets/13.1",
)
ETHERNET = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"


class Step(NamedTuple):
    """One packet of a conversation: who sends (0: the client), the flags, the data; `rewind` repeats the number."""

    side: int
    flags: int
    data: bytes = b""
    rewind: bool = False


class Conversation:
    """One TCP conversation: steps turned into packets, and the counts that the truth file gets."""

    def __init__(self, chance: random.Random, kind: str, port: int, v6: float) -> None:
        self.kind = kind
        self.first = self.last = self.count = 0
        self.done = False
        if chance.random() < v6:
            self.ends = [
                bytes.fromhex("20010db8") + chance.randbytes(12),
                bytes.fromhex("20010db8") + bytes(11) + b"\1",
            ]
        else:
            self.ends = [b"\x0a" + chance.randbytes(3), b"\xc0\x00\x02\x01"]
        self.ports = (chance.randrange(1024, 65536), port)
        self.next = [chance.getrandbits(32), chance.getrandbits(32)]
        self.identity = chance.getrandbits(16)
        self.steps = script(chance, kind)

    def packet(self) -> bytes | None:
        """The next packet with its Ethernet header; None at the end."""
        step = next(self.steps, None)
        if step is None:
            return None
        side = step.side
        seq = self.next[side]
        ack = self.next[1 - side] if step.flags & ACK else 0
        options = b"\x01\x01\x08\x0a" + bytes(8)
        offset = (20 + len(options)) << 2
        body = struct.pack(
            ">HHIIBBHHH", self.ports[side], self.ports[1 - side], seq, ack, offset, step.flags, 501, 0, 0
        )
        body += options + step.data
        if not step.rewind:
            self.next[side] = (seq + len(step.data) + (1 if step.flags & (SYN | FIN) else 0)) & 0xFFFFFFFF
        self.identity = self.identity % 65535 + 1
        ends = self.ends[side] + self.ends[1 - side]
        if len(ends) == 32:
            return ETHERNET + b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, len(body), 6, 64) + ends + body
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), self.identity, 0x4000, 64, 6, 0)
        return ETHERNET + b"\x08\x00" + head + ends + body


def frame(chance: random.Random, size: int, opcode: int = 1, masked: bool = False, payload: bytes = b"") -> bytes:
    """A frame with text of that size (or with that payload)."""
    data = payload or (b'{"id":12345,"name":"ticker","value":1.5} ' * (size // 41 + 1))[:size]
    bit = 0x80 if masked else 0
    if len(data) < 126:
        head = bytes((0x80 | opcode, bit | len(data)))
    else:
        head = bytes((0x80 | opcode, bit | 126)) + struct.pack(">H", len(data))
    if not masked:
        return head + data
    mask = chance.randbytes(4)
    key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
    return head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(len(data), "big")


def upgrade(chance: random.Random, kind: str) -> tuple[bytes, bytes]:
    """A request (right, stripped by a proxy, or a plain one) and its key."""
    key = base64.b64encode(chance.randbytes(16))
    lines = [f"GET /{chance.choice(['', 'ws', 'chat?room=' + str(chance.randrange(999))])} HTTP/1.1".encode()]
    lines.append(b"Host: chat.example:%d" % PORT)
    if kind == "proxy-stripped-upgrade":
        lines += [b"Connection: close", b"X-Forwarded-For: 203.0.113.%d" % chance.randrange(255)]
    elif kind != "plain-http-request":
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    lines.append(b"User-Agent: " + chance.choice(AGENTS).encode())
    if kind != "plain-http-request":
        lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key]
    if chance.random() < 0.3:
        lines.append(b"Cookie: sid=" + base64.b64encode(chance.randbytes(chance.randrange(30, 900))))
    return b"\r\n".join(lines) + b"\r\n\r\n", key


def switching(key: bytes, right: bool = True) -> bytes:
    """The 101."""
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    value = base64.b64encode(hashlib.sha1(key + (guid if right else guid.lower())).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + value
        + b"\r\n\r\n"
    )


def refusal(status: str) -> bytes:
    """A response that is no 101."""
    body = f"<h1>{status}</h1>".encode()
    return f"HTTP/1.1 {status}\r\nServer: nginx\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def hello(chance: random.Random) -> bytes:
    """A TLS 1.2 ClientHello with a server name."""
    name = b"chat.example"
    server = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    body = b"\x03\x03" + chance.randbytes(32) + b"\x20" + chance.randbytes(32) + b"\0\x02\x13\x01\x01\0"
    body += struct.pack(">H", len(server)) + server
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


OPEN = (Step(0, SYN), Step(1, SYN | ACK), Step(0, ACK))


def said(chance: random.Random, side: int, data: bytes) -> Iterator[Step]:
    """Data in segments, each second one acknowledged, now and then one is sent twice."""
    pieces = [data[at : at + 1448] for at in range(0, len(data), 1448)]
    if len(data) > 2 and chance.random() < 0.08:
        cut = chance.randrange(1, len(data))
        pieces = [data[:cut], data[cut:]]
    for index, piece in enumerate(pieces):
        yield Step(side, ACK | PSH, piece)
        if chance.random() < 0.005:
            yield Step(side, ACK | PSH, b"", True)
        if index & 1:
            yield Step(1 - side, ACK)
    if len(pieces) & 1:
        yield Step(1 - side, ACK)


def closed(side: int) -> tuple[Step, ...]:
    """An orderly close, `side` first."""
    return Step(side, FIN | ACK), Step(1 - side, FIN | ACK), Step(side, ACK)


def script(chance: random.Random, kind: str) -> Iterator[Step]:
    """The steps of one conversation."""
    if kind == "connection-refused":
        yield Step(0, SYN)
        yield Step(1, RST | ACK)
        return
    if kind == "connect-timeout":
        for _ in range(6):
            yield Step(0, SYN, rewind=True)
        return
    yield from OPEN
    if kind == "other":
        noise = chance.randbytes(1400)
        for _ in range(chance.randrange(5, 200)):
            yield from said(chance, 0, b"\x50\0\0\0\x03" + noise[:80])
            yield from said(chance, 1, noise[: chance.randrange(60, 1400)] * chance.choice((1, 1, 1, 20)))
        yield from closed(0)
        return
    if kind == "nothing-sent":
        return
    if kind == "tls-to-plaintext":
        yield from said(chance, 0, hello(chance))
        yield from closed(1)
        return
    if kind == "not-a-websocket-client":
        yield from said(chance, 0, chance.choice((b"SSH-2.0-OpenSSH_9.6\r\n", b"*1\r\n$4\r\nPING\r\n")))
        yield from closed(1)
        return
    if kind == "frames-before-handshake":
        yield from said(chance, 0, frame(chance, 80, masked=True))
        yield from closed(1)
        return
    request, key = upgrade(chance, kind)
    yield from said(chance, 0, request)
    if kind == "healthy":
        yield from said(chance, 1, switching(key))
        for _ in range(min(int(chance.expovariate(1 / 60)) + 1, 2000)):
            side = chance.randrange(2)
            yield from said(chance, side, frame(chance, min(int(chance.expovariate(1 / 200)) + 4, 9000), 1, side == 0))
        side = chance.randrange(2)
        for each in (side, 1 - side):
            yield from said(chance, each, frame(chance, 2, 8, each == 0, b"\x03\xe8"))
        yield from closed(side)
    elif kind == "response-bad-accept":
        yield from said(chance, 1, switching(key, False))
        yield from closed(0)
    elif kind == "closed-without-response":
        yield from closed(1)
    elif kind == "no-response":
        yield from closed(0)
    elif kind == "reset-after-request":
        yield Step(1, RST | ACK)
    else:
        status = {
            "response-404": "404 Not Found",
            "response-5xx-upstream": "502 Bad Gateway",
        }.get(kind, "400 Bad Request")
        yield from said(chance, 1, refusal(status))
        yield from closed(1)


def write(out: BinaryIO, packets: int, mix: str, seed: int = 2346, v6: float = 0.1, at_once: int = 200) -> list[dict]:  # type: ignore[type-arg]
    """Write the capture; the truth: for each connection on the port its first and last packet, its kind, and whether
    the capture ends inside it."""
    chance = random.Random(seed)
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    shares = dict(zip(("healthy", "failed", "other"), MIXES[mix], strict=True))
    shares = {name: share for name, share in shares.items() if share}
    used = dict.fromkeys(shares, 0)
    typical = {"healthy": 120, "failed": 8, "other": 300}
    live: list[tuple[str, Conversation]] = []
    truth: list[dict] = []  # type: ignore[type-arg]
    number, now = 0, 1_700_000_000_000_000
    seen: set[tuple[bytes, int]] = set()

    def done(conversation: Conversation, cut: bool) -> None:
        if conversation.kind != "other" and conversation.count:
            truth.append(
                {"first": conversation.first, "last": conversation.last, "kind": conversation.kind, "cut": cut}
            )

    while number < packets:
        while len(live) < at_once:
            name = min(shares, key=lambda each: used[each] / shares[each])
            used[name] += typical[name]
            kind = name if name != "failed" else chance.choices(list(FAILURES), list(FAILURES.values()))[0]
            new = Conversation(chance, kind, PORT if name != "other" else chance.choice((443, 3306, 6400)), v6)
            if (new.ends[0], new.ports[0]) not in seen:
                seen.add((new.ends[0], new.ports[0]))
                live.append((name, new))
        index = chance.randrange(len(live))
        name, conversation = live[index]
        for _ in range(chance.randrange(1, 5)):
            wire = conversation.packet()
            if wire is None:
                used[name] += conversation.count - typical[name]
                live[index] = live[-1]
                live.pop()
                done(conversation, False)
                break
            number += 1
            now += chance.randrange(2, 90)
            conversation.first = conversation.first or number
            conversation.last = number
            conversation.count += 1
            seconds, micros = divmod(now, 1_000_000)
            out.write(struct.pack("<IIII", seconds, micros, len(wire), len(wire)) + wire)
    for _, conversation in live:
        done(conversation, True)
    return truth


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=100_000)
    parser.add_argument("--mix", choices=MIXES, default="server")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--seed", type=int, default=2346)
    parser.add_argument("--ipv6", type=float, default=0.1)
    chosen = parser.parse_args()
    with chosen.out.open("wb") as out:
        truth = write(out, chosen.packets, chosen.mix, chosen.seed, chosen.ipv6)
    lines = "".join(json.dumps(each) + "\n" for each in truth)
    if chosen.truth:
        chosen.truth.write_text(lines)
    else:
        sys.stdout.write(lines)


if __name__ == "__main__":
    main()
