"""Frames: every flaw has an example, portions change nothing, wsproto's frames are healthy."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameProtocol

from wsdiag.model import CLIENT, SERVER, Frame, Side
from wsdiag.wire.content import MIN_TEXT, readable_text
from wsdiag.wire.frames import (
    MAX_NOTABLE,
    MAX_PAYLOAD,
    FrameReader,
    is_sendable,
    read_frames,
    unmask,
)
from wsdiag.wire.handshake import DeflateParameters

MASK = b"\x37\xfa\x21\x3d"
HELLO = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"  # RFC 6455 section 5.7


def frame(payload: bytes, first: int = 0x81, mask: bytes = b"") -> bytes:
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + mask + unmask(payload, mask)


def flaws(data: bytes, side: Side = SERVER, deflate: DeflateParameters | None = None) -> list[str]:
    return [flaw.kind for each in read_frames(data, 0, side, deflate) for flaw in each.flaws]


def test_the_examples_of_the_rfc() -> None:
    (masked,) = read_frames(HELLO, 0, CLIENT)
    assert (masked.fin, masked.rsv, masked.opcode, masked.mask, masked.length) == (True, 0, 1, MASK, 5)
    assert (masked.payload, masked.complete, masked.flaws) == (b"Hello", True, ())
    first, second = read_frames(b"\x01\x03Hel\x80\x02lo", 0, SERVER)
    assert (first.fin, first.opcode, second.fin, second.opcode, second.span.start) == (False, 1, True, 0, 5)
    assert not flaws(b"\x01\x03Hel\x80\x02lo")
    compressed = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"  # RFC 7692 section 7.2.3.1
    assert not flaws(compressed, SERVER, DeflateParameters())
    assert flaws(compressed) == ["reserved-bits"]
    shared = (
        compressed + b"\xc1\x05\xf2\x00\x11\x00\x00"
    )  # section 7.2.3.2: the second one needs the first one's window
    assert not flaws(shared, SERVER, DeflateParameters())
    assert flaws(shared, SERVER, DeflateParameters(server_no_context_takeover=True)) == ["deflate-error"]


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (b"\x83\x00", ["bad-opcode"]),
        (b"\x8b\x00", ["bad-opcode"]),
        (b"\x91\x00", ["reserved-bits"]),
        (b"\x09\x00", ["control-fragmented"]),
        (b"\x89\x7e\x00\x7e" + bytes(126), ["control-too-long"]),
        (b"\x82\x7e\x00\x05hello", ["non-minimal-length"]),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x05hello", ["non-minimal-length"]),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", ["length-high-bit"]),
        (b"\x80\x01a", ["continuation-without-start"]),
        (b"\x01\x01a\x81\x01b", ["message-interrupted"]),
        (b"\x01\x01a\x89\x00\x80\x01b", []),
        (b"\x88\x01\x03", ["bad-close-length"]),
        (b"\x88\x02\x03\xed", ["bad-close-code"]),
        (b"\x88\x02\x03\xe8", []),
        (b"\x88\x04\x03\xe8\xff\xff", ["invalid-utf8"]),
        (b"\x81\x02\xc3\x28", ["invalid-utf8"]),
        (b"\x81\x02\xe4\xbd", ["invalid-utf8"]),
        (b"\x01\x02\xe4\xbd\x80\x01\xa0", []),
        (b"\x01\x02\xe4\xbd\x80\x01a", ["invalid-utf8"]),
        (b"HTTP/1.1 200 OK\r\n\r\n", ["reserved-bits", "control-fragmented", "looks-like-text"]),
        (b'{"type":"tick"}', ["reserved-bits", "bad-opcode", "looks-like-text"]),
    ],
)
def test_each_flaw(data: bytes, kinds: list[str]) -> None:
    assert flaws(data) == kinds


def test_the_place_of_a_bad_byte() -> None:
    data = frame(b"ab\xe4\xbd\xa0\xff!", mask=MASK)
    (flaw,) = read_frames(b"xx" + data, 2, CLIENT)[0].flaws
    assert (flaw.kind, flaw.span.start, flaw.span.stop) == ("invalid-utf8", 2 + 6 + 5, 2 + 6 + 6)


def test_plain_text_from_a_client() -> None:
    found = read_frames(b"hello server, are you there?\n", 0, CLIENT)
    assert len(found) == 1
    assert found[0].flaws[-1].detail == "hello server, are you there?\n"


def test_close_codes() -> None:
    sendable = [code for code in range(5001) if is_sendable(code)]
    assert sendable[:12] == [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
    assert (sendable[12], sendable[-1]) == (3000, 4999)
    # wsproto knows the codes up to 1013 and refuses to send the local ones
    assert {int(code) for code in CloseReason} - {1004, 1005, 1006, 1015} <= set(sendable)


def test_nothing_is_read_after_a_close() -> None:
    assert [each.opcode for each in read_frames(b"\x88\x00\x81\x01a", 0, SERVER)] == [8]


def test_a_beginning_that_was_not_seen_is_no_fault() -> None:
    assert not [
        flaw for each in read_frames(b"\x80\x01\xa0\xc1\x01a", 0, SERVER, joined_late=True) for flaw in each.flaws
    ]


def test_kept_bytes_are_bounded() -> None:
    (large,) = read_frames(frame(b"a" * 100_000), 0, SERVER)
    assert (large.length, len(large.payload), large.complete) == (100_000, MAX_PAYLOAD, True)
    reader = FrameReader(SERVER)
    found = reader.feed(b"\x91\x00\x89\x00" * (MAX_NOTABLE + 10), 0)
    assert len(found) == MAX_NOTABLE
    assert reader.frames == 2 * (MAX_NOTABLE + 10)


def test_a_bomb_is_given_up() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(4 * 2**20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    data = frame(bomb[:-4], 0xC2) + frame(b"junk", 0xC1)
    assert flaws(data, SERVER, DeflateParameters()) == ["inflate-limit"]


def test_noise_is_not_read_for_ever() -> None:
    reader = FrameReader(SERVER, everything=True)
    found = reader.feed(b"\xf3\x00" * 1000, 0) + reader.finish()
    assert reader.lost
    assert len(found) < 10


def test_text_may_be_cut_inside_a_character() -> None:
    assert readable_text("你好你好吗".encode()[:-1]) == "你好你好"
    assert not readable_text(b"a" * (MIN_TEXT - 1))
    assert not readable_text(b"abcdef\x00")


# --- Invariants ------------------------------------------------------------------------------------------------------

SNIPPETS = [
    HELLO,
    b"\x81\x05Hello",
    b"\x01\x02\xe4\xbd",
    b"\x80\x01\xa0",
    b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\xc1\x05\xf2\x00\x11\x00\x00",
    b"\x41\x03\xf2\x48\xcd",
    b"\x80\x04\xc9\xc9\x07\x00",
    b"\x89\x00",
    b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    b"\x82\x7e\x01\x00" + bytes(256),
    b"\x81\xfe\x00\x80\x00\x00\x00\x00" + "你".encode() * 42 + b"aa",
    b"\x88\x02\x03\xe8",
    b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
    frame(b"\xff" * 9, 0xC1),
]


@st.composite
def stream_of_frames(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SNIPPETS) | st.binary(max_size=8), max_size=8))))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def portions(data: bytes, sizes: list[int], reader: FrameReader) -> list[Frame]:
    found: list[Frame] = []
    at = 0
    for size in sizes:
        found += reader.feed(data[at : at + size], at)
        at = min(at + size, len(data))
    return found + reader.feed(data[at:], at) + reader.finish()


@settings(max_examples=200, deadline=None)
@given(
    stream_of_frames(),
    st.lists(st.integers(1, 40), max_size=12),
    st.sampled_from([CLIENT, SERVER]),
    st.sampled_from([None, DeflateParameters(), DeflateParameters(True, True)]),
    st.booleans(),
    st.booleans(),
)
def test_portions_change_nothing(
    data: bytes, sizes: list[int], side: Side, deflate: DeflateParameters | None, everything: bool, late: bool
) -> None:
    whole = FrameReader(side, deflate, everything=everything, joined_late=late)
    expected = whole.feed(data, 0) + whole.finish()
    for cut in (sizes, [1] * len(data)):
        reader = FrameReader(side, deflate, everything=everything, joined_late=late)
        assert portions(data, cut, reader) == expected
        assert (reader.frames, reader.bytes, reader.stop) == (whole.frames, whole.bytes, whole.stop)
        assert (reader.closed, reader.lost) == (whole.closed, whole.lost)


@settings(max_examples=100, deadline=None)
@given(stream_of_frames(), st.sampled_from([None, DeflateParameters()]))
def test_the_fast_path_agrees_with_the_slow_one(data: bytes, deflate: DeflateParameters | None) -> None:
    every = read_frames(data, 0, SERVER, deflate)
    reader = FrameReader(SERVER, deflate)
    notable = reader.feed(data, 0) + reader.finish()
    odd = [each for each in every if each.flaws or each.opcode == 8 or not each.complete or each.mask is not None]
    assert notable == odd
    assert reader.frames == len(every)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=6), st.booleans(), st.booleans())
def test_frames_of_wsproto_are_healthy(messages: list[str | bytes], client: bool, packed: bool) -> None:
    extensions = []
    if packed:
        extension = PerMessageDeflate()
        extension.finalize(extension.offer() if isinstance(extension.offer(), str) else "permessage-deflate")
        extensions = [extension]
    sender = FrameProtocol(client=client, extensions=extensions)
    data = b"".join(bytes(sender.send_data(message, fin=True)) for message in messages)
    data += bytes(sender.ping(b"x")) + bytes(sender.close(1000, "bye"))
    side: Side = CLIENT if client else SERVER
    found = read_frames(data, 0, side, DeflateParameters() if packed else None)
    assert len(found) == len(messages) + 2
    assert all(each.complete and not each.flaws for each in found)
    assert all((each.mask is not None) == client for each in found)
    if not packed:
        sent = [each.encode() if isinstance(each, str) else bytes(each) for each in messages]
        assert [each.payload for each in found[:-2]] == sent


def test_a_million_tiny_frames_cost_no_memory() -> None:
    reader = FrameReader(SERVER)
    portion = b"\x81\x01a" * 20_000
    found = [each for index in range(50) for each in reader.feed(portion, index * len(portion))]
    assert found == []
    assert (reader.frames, reader.bytes) == (1_000_000, 1_000_000)
