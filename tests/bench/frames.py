"""How quickly FrameReader passes over healthy frames, and what reading one whole connection costs, in processor time.

Run it as `python -m tests.bench.frames`.
"""

import time
import zlib

from wsdiag.model import CLIENT, SERVER, Connection, Side, Stream
from wsdiag.wire.exchange import read
from wsdiag.wire.frames import FrameReader, unmask
from wsdiag.wire.handshake import DeflateParameters

MASK = b"\x12\x34\x56\x78"
TICK = b'{"type":"tick","price":123.45,"n":1}   '
PORTION = 65536
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Origin: http://example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept-Language: en\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def frame(payload: bytes, first: int = 0x81, mask: bytes = b"") -> bytes:
    """A frame with that payload."""
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + mask + unmask(payload, mask)


def compressed(count: int) -> bytes:
    """Small messages of one compression context."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    messages = []
    for number in range(count):
        text = b'{"type":"tick","price":%d.45,"n":%d}' % (number * 7919 % 1000, number)
        messages.append(frame((packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1))
    return b"".join(messages)


def frames(
    name: str, data: bytes, side: Side, portion: int = PORTION, deflate: DeflateParameters | None = None
) -> None:
    """Print the rates for one kind of frames."""
    reader = FrameReader(side, deflate)
    begun = time.process_time()
    for at in range(0, len(data), portion):
        reader.feed(data[at : at + portion], at)
    spent = time.process_time() - begun
    print(f"{name:34} {reader.frames / spent / 1e3:8.0f} thousand frames/s {len(data) / spent / 1e6:8.0f} MB/s")


def connections(name: str, client: bytes, server: bytes, count: int = 2000) -> None:
    """Print what reading such a connection costs."""
    connection = Connection(0, Stream(client), Stream(server))
    begun = time.process_time()
    for _ in range(count):
        read(connection)
    print(f"{name:34} {(time.process_time() - begun) / count * 1e6:8.0f} µs a connection")


def main() -> None:
    """Run all."""
    frames("small text", frame(TICK) * 200_000, SERVER)
    frames("small text, masked", frame(TICK, mask=MASK) * 200_000, CLIENT)
    frames("small Chinese text, masked", frame("你好，世界你好世界".encode(), mask=MASK) * 200_000, CLIENT)
    frames("the same, a frame a portion", frame(TICK, mask=MASK) * 200_000, CLIENT, 6 + len(TICK))
    frames("small binary", frame(TICK, 0x82) * 200_000, SERVER)
    frames("small, compressed", compressed(100_000), SERVER, deflate=DeflateParameters())
    frames("1 MB text", frame(b"x" * 2**20) * 50, SERVER)
    frames("1 MB text, masked", frame(b"x" * 2**20, mask=MASK) * 20, CLIENT)
    frames("1 MB binary", frame(bytes(2**20), 0x82) * 200, SERVER)
    connections("handshake", REQUEST, ACCEPTED)
    connections("handshake, 4 frames each", REQUEST + frame(TICK, mask=MASK) * 4, ACCEPTED + frame(TICK) * 4)
    connections("request without an answer", REQUEST, b"")


if __name__ == "__main__":
    main()
