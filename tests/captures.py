"""Captures for tests, made packet by packet: TCP conversations, link headers and file formats."""

import base64
import hashlib
import struct
from collections.abc import Iterable
from io import BytesIO
from typing import NamedTuple

from wsdiag.intake.survey import CaptureReading, read_connections
from wsdiag.model import Connection

SYN, ACK, PSH, FIN, RST = 2, 16, 8, 1, 4
CLIENT_V4, SERVER_V4 = b"\x0a\x01\x02\x03", b"\xc0\x00\x02\x01"
CLIENT_V6 = bytes.fromhex("20010db8000000000000000000000003")
SERVER_V6 = bytes.fromhex("20010db8000000000000000000000001")
KEY = "dGhlIGtleSBvZiBhIHRlc3Q="
LINKS = {"null": 0, "ethernet": 1, "raw": 101, "sll": 113, "sll2": 276, "ppp": 9, "loop": 108}


class Packet(NamedTuple):
    """One packet of a capture: its time in microseconds and its bytes from the link header on."""

    time: int
    data: bytes


class Segment(NamedTuple):
    """One TCP segment before it is wrapped: who sends (0: the client), and when, in microseconds."""

    time: int
    side: int
    flags: int
    seq: int
    ack: int
    data: bytes = b""
    identity: int = 0


def request(key: str = KEY, path: str = "/chat", extra: str = "", host: str = "chat.example") -> bytes:
    """A correct upgrade request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extra}"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def accept(key: str = KEY) -> str:
    """The right Sec-WebSocket-Accept."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


def switching(key: str = KEY, extra: str = "") -> bytes:
    """A correct 101."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept(key)}\r\n{extra}\r\n"
    ).encode()


def frame(payload: bytes, opcode: int = 1, mask: bytes | None = None, first: int = 0x80) -> bytes:
    """A frame, masked or not."""
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first | opcode, bit | size))
    elif size < 65536:
        head = bytes((first | opcode, bit | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first | opcode, bit | 127)) + struct.pack(">Q", size)
    if mask:
        payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
        head += mask
    return head + payload


class Talk:
    """A TCP conversation, written down step by step; `segments` is what a capture at the client would show."""

    def __init__(
        self, isn: tuple[int, int] = (1000, 5000), start: int = 1_700_000_000_000_000, mss: int = 1448, step: int = 50
    ) -> None:
        self.next = [isn[0], isn[1]]
        self.time = start
        self.mss = mss
        self.step = step
        self.identity = 100
        self.segments: list[Segment] = []

    def add(self, side: int, flags: int, data: bytes = b"", seq: int | None = None) -> "Talk":
        """One segment as it is, with the right acknowledgement."""
        self.time += self.step
        self.identity = self.identity % 65535 + 1
        at = self.next[side] if seq is None else seq
        ack = self.next[1 - side] & 0xFFFFFFFF if flags & ACK else 0
        self.segments.append(Segment(self.time, side, flags, at & 0xFFFFFFFF, ack, data, self.identity))
        if seq is None:
            self.next[side] += len(data) + (1 if flags & (SYN | FIN) else 0)
        return self

    def open(self) -> "Talk":
        """The three-way handshake."""
        return self.add(0, SYN).add(1, SYN | ACK).add(0, ACK)

    def say(self, side: int, data: bytes) -> "Talk":
        """Data in as many segments as it takes, acknowledged at the end."""
        for at in range(0, len(data), self.mss):
            self.add(side, ACK | PSH, data[at : at + self.mss])
        return self.add(1 - side, ACK)

    def wait(self, seconds: float) -> "Talk":
        """Nothing happens for a while."""
        self.time += int(seconds * 1_000_000)
        return self

    def close(self, side: int) -> "Talk":
        """Both sides close in order, `side` first."""
        return self.add(side, FIN | ACK).add(1 - side, FIN | ACK).add(side, ACK)


def healthy(frames: int = 3, closer: int = 0) -> Talk:
    """A handshake that succeeds, some frames both ways and an orderly end."""
    talk = Talk().open().say(0, request()).say(1, switching())
    for index in range(frames):
        talk.say(1, frame(b'{"tick":%d}' % index)).say(0, frame(b"hello %d" % index, mask=b"\x01\x02\x03\x04"))
    talk.say(closer, frame(b"\x03\xe8", 8, b"\x05\x06\x07\x08" if closer == 0 else None))
    talk.say(1 - closer, frame(b"\x03\xe8", 8, b"\x05\x06\x07\x08" if closer == 1 else None))
    return talk.close(1)


def ip(segment: Segment, ports: tuple[int, int] = (40000, 2346), v6: bool = False, options: bytes = b"") -> bytes:
    """The segment in TCP and IP headers (checksums are left empty: nobody looks at them)."""
    ends = ((CLIENT_V6, SERVER_V6) if v6 else (CLIENT_V4, SERVER_V4))[:: 1 if segment.side == 0 else -1]
    source, target = ports if segment.side == 0 else ports[::-1]
    tcp = struct.pack(
        ">HHIIBBHHH", source, target, segment.seq, segment.ack, (20 + len(options)) << 2, segment.flags, 500, 0, 0
    )
    body = tcp + options + segment.data
    if v6:
        return struct.pack(">IHBB", 0x60000000, len(body), 6, 64) + ends[0] + ends[1] + body
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), segment.identity, 0x4000, 64, 6, 0)
    return head + ends[0] + ends[1] + body


def link(data: bytes, kind: str = "ethernet") -> bytes:
    """An IP packet in a link header."""
    v6 = data[0] >> 4 == 6
    ethertype = b"\x86\xdd" if v6 else b"\x08\x00"
    return {
        "null": struct.pack("<I", 30 if v6 else 2),
        "loop": struct.pack(">I", 30 if v6 else 2),
        "ethernet": b"\x02\0\0\0\0\1\x02\0\0\0\0\2" + ethertype,
        "raw": b"",
        "sll": b"\0\0\0\1\0\6\x02\0\0\0\0\1\0\0" + ethertype,
        "sll2": ethertype + b"\0\0\0\0\0\2\0\1\0\6\x02\0\0\0\0\1\0\0",
        "ppp": b"\xff\x03" + (b"\0\x57" if v6 else b"\0\x21"),
    }[kind] + data


def packets(
    talk: Talk, kind: str = "ethernet", *, ports: tuple[int, int] = (40000, 2346), v6: bool = False
) -> list[Packet]:
    """The conversation as packets."""
    return [Packet(segment.time, link(ip(segment, ports, v6), kind)) for segment in talk.segments]


def pcap(
    found: Iterable[Packet], kind: str = "ethernet", *, order: str = "<", nano: bool = False, snaplen: int = 262144
) -> bytes:
    """A capture file of these packets."""
    unit = 1000 if nano else 1
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, LINKS[kind])]
    for packet in found:
        seconds, micros = divmod(packet.time, 1_000_000)
        data = packet.data[:snaplen]
        out.append(struct.pack(order + "IIII", seconds, micros * unit, len(data), len(packet.data)) + data)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """A pcapng section header."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(kind: str = "ethernet", order: str = "<", options: bytes = b"", snaplen: int = 0) -> bytes:
    """A pcapng interface description."""
    return block(1, struct.pack(order + "HHI", LINKS[kind], 0, snaplen) + options, order)


def enhanced(packet: Packet, order: str = "<", index: int = 0, ticks: int | None = None) -> bytes:
    """A pcapng enhanced packet block."""
    time = packet.time if ticks is None else ticks
    size = len(packet.data)
    head = struct.pack(order + "IIIII", index, time >> 32, time & 0xFFFFFFFF, size, size)
    return block(6, head + packet.data, order)


def read(data: bytes, ports: Iterable[int] | None = (2346,)) -> CaptureReading:
    """What the intake makes of a capture file."""
    return read_connections(BytesIO(data), "test.pcap", frozenset(ports) if ports is not None else None)


def follow(talk: Talk, **how: bool) -> Connection:
    """The one connection of that conversation."""
    (connection,) = read(pcap(packets(talk, **how))).connections  # type: ignore[arg-type]
    return connection
