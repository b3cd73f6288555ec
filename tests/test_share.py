"""Captures passed on: planted secrets are gone, wherever the packets break, and the verdict is the same."""

import random
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.save import PcapWriter, create
from wsdiag.intake.survey import read_connections
from wsdiag.share import Shared, share
from wsdiag.wire.handshake import accept_for

KEY = b64encode(b"0123456789abcdef").decode()
COOKIE, TOKEN, BEARER, OTHER = (
    b"c0ffee-5ecret-cookie",
    b"t0ken-in-the-query-9f8e7d",
    b"bearer.abcdef.012345",
    b"elsewhere-5ecret",
)
SECRETS = (COOKIE, TOKEN, BEARER, OTHER, b"padding!")
REQUEST = (
    b"GET /chat?access_token=" + TOKEN + b" HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nCookie: session=" + COOKIE + b"\r\nAuthorization: Bearer " + BEARER + b"\r\n"
    b"X-Forwarded-For: 93.184.216.34\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"
)
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_for(KEY)}\r\n\r\n"
).encode()
LINK = {"src": "02:aa:bb:cc:dd:01", "dst": "02:aa:bb:cc:dd:02"}
NETWORKS = {
    4: (IP(src="93.184.216.34", dst="10.0.0.2"), IP(src="10.0.0.2", dst="93.184.216.34")),
    6: (IPv6(src="2a00:1450::77", dst="fd00::2"), IPv6(src="fd00::2", dst="2a00:1450::77")),
}


def conversation(request: bytes, answer: bytes, sizes: list[int], version: int, ports: tuple[int, int]) -> list[Packet]:
    """A connection whose request comes in segments of these sizes; the first is sent twice."""
    forth, back = NETWORKS[version]
    client, server = ports
    asks = {"sport": client, "dport": server}
    says = {"sport": server, "dport": client}
    packets = [
        forth / TCP(**asks, flags="S", seq=1000),
        back / TCP(**says, flags="SA", seq=5000, ack=1001),
        forth / TCP(**asks, flags="A", seq=1001, ack=5001),
    ]
    at = 0
    for size in [*sizes, len(request)]:
        piece = request[at : at + size]
        if piece:
            packets.append(forth / TCP(**asks, flags="PA", seq=1001 + at, ack=5001) / Raw(piece))
            at += len(piece)
    packets.insert(4, packets[3])
    packets += [
        back / TCP(**says, flags="PA", seq=5001, ack=1001 + at) / Raw(answer),
        back / TCP(**says, flags="FA", seq=5001 + len(answer), ack=1001 + at),
        forth / TCP(**asks, flags="FA", seq=1001 + at, ack=5002 + len(answer)),
        back / TCP(**says, flags="A", seq=5002 + len(answer), ack=1002 + at),
    ]
    return packets


def written(packets: list[Packet]) -> bytes:
    """A capture file of Ethernet frames; the short ones are padded with what was in memory."""
    out = BytesIO()
    writer = PcapWriter(out, 1)
    for number, packet in enumerate(packets):
        data = bytes(Ether(**LINK) / packet)
        data += b"padding!"[: max(0, 60 - len(data))] if len(data) > 52 else b"padding!"
        writer.packet(1_700_000_000 + number, 0, data, len(data))
    return out.getvalue()


def shared(capture: bytes, path: Path, **options: bool) -> tuple[bytes, Shared]:
    result = share(lambda: BytesIO(capture), "in.pcap", lambda link: create(str(path), link), **options)
    return path.read_bytes(), result


def verdicts(capture: bytes) -> list[tuple[str, str | None, list[str]]]:
    """What is found on each connection to port 2346."""
    connections = read_connections(BytesIO(capture), "x").connections
    found = [diagnose_connection(each) for each in connections if each.server_endpoint.port == 2346]  # type: ignore[union-attr]
    return [(each.verdict, each.primary, [finding.name for finding in each.findings]) for each in found]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("answer", [ANSWER, b"HTTP/1.1 403 Forbidden\r\nSet-Cookie: id=" + COOKIE + b"\r\n\r\n"])
@pytest.mark.parametrize("seed", range(4))
def test_no_planted_secret_survives(version: int, answer: bytes, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    sizes = [rng.randint(1, 90) for _ in range(seed * 3)]
    packets = conversation(REQUEST, answer, sizes, version, (40000, 2346))
    page = b"GET /?q=" + OTHER + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    many = [conversation(page, b"HTTP/1.1 200 OK\r\n\r\n", [], 4, (50000 + number, 8080)) for number in range(40)]
    noise = NETWORKS[4][0] / UDP(sport=53, dport=53) / Raw(OTHER)
    capture = written([*packets, noise, *(packet for each in many for packet in each)])
    data, result = shared(capture, tmp_path / "out.pcap")
    for secret in SECRETS:
        assert secret not in data
    assert b"\x02\xaa\xbb\xcc\xdd" not in data
    assert bytes([93, 184, 216, 34]) not in data
    assert b"93.184.216.34" not in data
    assert bytes.fromhex("2a001450") not in data
    assert KEY.encode() in data
    assert result.packets == len(packets)
    assert result.left_out == 1 + sum(map(len, many))
    assert verdicts(data) == verdicts(capture)
    assert len(verdicts(data)) == 1


def test_payload_that_was_not_followed_is_cut(tmp_path: Path) -> None:
    """More frames than are kept: their packets keep their headers and tell how long they were."""
    packets = conversation(REQUEST, ANSWER, [], 4, (40000, 2346))
    frames = [
        NETWORKS[4][1]
        / TCP(sport=2346, dport=40000, flags="PA", seq=5001 + len(ANSWER) + 1004 * number, ack=1001 + len(REQUEST))
        / Raw(b"\x81\x7e\x03\xe8" + b"m" * 1000)
        for number in range(100)
    ]
    capture = written([*packets[:6], *frames])
    data, result = shared(capture, tmp_path / "out.pcap")
    assert 0 < result.cut < 60
    assert result.packets == 6 + len(frames)
    (before,), (after,) = verdicts(capture), verdicts(data)
    assert after[1] == before[1]


def test_revealed_it_is_only_selected(tmp_path: Path) -> None:
    packets = conversation(REQUEST, ANSWER, [50], 4, (40000, 2346))
    data, result = shared(written(packets), tmp_path / "out.pcap", reveal=True)
    assert COOKIE in data
    assert TOKEN in data
    assert b"".join(map(bytes, packets[:3])) not in data
    assert all(bytes(packet) in data for packet in packets[:4])
    assert (result.packets, result.left_out) == (len(packets), 0)
