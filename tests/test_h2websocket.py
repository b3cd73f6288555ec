"""WebSockets inside HTTP/2: streams made with hpack's encoder, frames made by hand."""

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.model import (
    CLIENT,
    SERVER,
    Connection,
    Exchange,
    Frame,
    Http2Frames,
    Http2Preface,
    Request,
    Response,
    Side,
    Stream,
)
from wsdiag.wire.exchange import read
from wsdiag.wire.h2websocket import extended_connect, show_websockets

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION, PRIORITY_UPDATE = 0, 1, 3, 4, 9, 16
CONNECT = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/chat?x=1"),
    (":authority", "example.org:8443"),
    ("sec-websocket-version", "13"),
    ("origin", "https://example.org"),
)
HELLO = b"\x81\x85\x01\x02\x03\x04" + bytes(
    byte ^ mask for byte, mask in zip(b"hello", b"\x01\x02\x03\x04\x01", strict=True)
)
WORLD = b"\x81\x05world"


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """A frame of HTTP/2: RFC 9113 section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def setting(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs))


def headers(coder: Encoder, stream: int, *fields: tuple[str, str], flags: int = 4) -> bytes:
    return frame(HEADERS, stream, coder.encode(list(fields)), flags)


def exchange(client: bytes, server: bytes) -> Exchange:
    """What is read of the two streams; the tiles are checked."""
    found = show_websockets(read(Connection(0, Stream(client), Stream(server), kind="capture")))
    check_tiles(found)
    return found


def check_tiles(found: Exchange) -> None:
    sides: tuple[Side, Side] = (CLIENT, SERVER)
    for side in sides:
        at = 0
        for element in found.elements(side):
            assert element.span.side == side
            assert element.span.start == at
            assert element.span.stop > at
            at = element.span.stop
        assert at == len(found.connection.stream(side).data)


def conversation(status: str = "200", *, enabled: bool = True) -> tuple[bytes, bytes]:
    coder, answers = Encoder(), Encoder()
    client = PREFACE + setting() + headers(coder, 1, *CONNECT) + frame(DATA, 1, HELLO)
    server = setting((8, 1)) if enabled else setting()
    server += frame(SETTINGS, flags=1) + headers(answers, 1, (":status", status), ("server", "test"))
    return client, server


def test_an_extended_connect_becomes_a_handshake_and_frames() -> None:
    client, server = conversation()
    server += frame(DATA, 1, WORLD)
    found = exchange(client, server)
    assert [type(each) for each in found.client] == [Http2Preface, Http2Frames, Request, Http2Frames, Frame]
    assert [type(each) for each in found.server] == [Http2Frames, Response, Http2Frames, Frame]
    request, response = found.request, found.response
    assert request is not None
    assert response is not None
    assert (request.method.text, request.target.text, request.version.text) == ("CONNECT", "/chat?x=1", "HTTP/2")
    assert (request.head.value("host"), request.head.complete) == ("example.org:8443", True)
    assert (response.status, response.version.text) == (200, "HTTP/2")
    said = [each.payload for each in (*found.client, *found.server) if isinstance(each, Frame)]
    assert said == [b"hello", b"world"]
    frames = [each for each in found.server if isinstance(each, Frame)]
    assert server[frames[0].span.start : frames[0].span.stop] == WORLD


def test_the_facts() -> None:
    client, server = conversation("403")
    (connect,) = extended_connect(read(Connection(0, Stream(client), Stream(server), kind="capture")))
    assert (connect.stream, connect.path, connect.authority) == (1, "/chat?x=1", "example.org:8443")
    assert (connect.status, connect.enabled, connect.reset) == (403, True, None)
    assert dict(connect.answer)["server"] == "test"
    client, server = conversation(enabled=False)
    (connect,) = extended_connect(read(Connection(0, Stream(client), Stream(server), kind="capture")))
    assert connect.enabled is False
    (connect,) = extended_connect(read(Connection(0, Stream(client), Stream(b"", seen=False), kind="capture")))
    assert (connect.enabled, connect.status, connect.response) == (None, None, None)
    reset = setting((8, 1)) + frame(RST_STREAM, 1, (7).to_bytes(4, "big"))
    (connect,) = extended_connect(read(Connection(0, Stream(client), Stream(reset), kind="capture")))
    assert (connect.status, connect.reset) == (None, 7)


def test_a_refusal_keeps_its_body() -> None:
    client, server = conversation("403")
    found = exchange(client, server + frame(DATA, 1, b"go away"))
    assert found.response is not None
    assert (found.response.status, found.response.content) == (403, b"go away")
    assert not [each for each in (*found.client, *found.server) if isinstance(each, Frame)]


def test_other_streams_stay_http2() -> None:
    coder, answers = Encoder(), Encoder()
    page = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "example.org"))
    client = PREFACE + setting() + headers(coder, 1, *page) + headers(coder, 3, *CONNECT)
    client += frame(DATA, 3, HELLO) + headers(coder, 5, *page) + frame(DATA, 3, HELLO)
    server = setting((8, 1)) + headers(answers, 3, (":status", "200"))
    server += headers(answers, 1, (":status", "404")) + frame(DATA, 1, b"\x81\x05fake!") + frame(DATA, 3, WORLD)
    found = exchange(client, server)
    assert [each.payload for each in found.client if isinstance(each, Frame)] == [b"hello", b"hello"]
    assert [each.payload for each in found.server if isinstance(each, Frame)] == [b"world"]
    assert found.response is not None
    assert found.response.status == 200


def test_frames_over_several_data_frames_and_several_in_one() -> None:
    client, server = conversation()
    server += frame(DATA, 1, WORLD + WORLD[:3]) + frame(PRIORITY_UPDATE, 0, b"u=1") + frame(DATA, 1, WORLD[3:])
    found = exchange(client, server)
    assert [each.payload for each in found.server if isinstance(each, Frame)] == [b"world", b"world"]
    assert all(each.complete for each in found.server if isinstance(each, Frame))


def test_padding_priority_and_continuations() -> None:
    block = Encoder().encode(list(CONNECT))
    first = b"\x02" + b"\0\0\0\0\x10" + block[:10] + b"\0\0"
    client = PREFACE + setting() + frame(HEADERS, 1, first, 8 | 32) + frame(CONTINUATION, 1, block[10:], 4)
    client += frame(DATA, 1, b"\x03" + HELLO + b"\0\0\0", 8)
    server = conversation()[1]
    found = exchange(client, server)
    assert found.request is not None
    assert found.request.target.text == "/chat?x=1"
    assert [each.payload for each in found.client if isinstance(each, Frame)] == [b"hello"]


def test_a_large_header_table_is_no_obstacle() -> None:
    """Chromium allows 64 KiB, and servers use it; the decoder alone would refuse (RFC 7541 section 6.3)."""
    client, _ = conversation()
    coder = Encoder()
    coder.header_table_size = 65536
    server = setting((8, 1)) + headers(coder, 1, (":status", "200"))
    found = exchange(client, server)
    assert found.response is not None
    assert found.response.status == 200


def test_compressed_messages_are_inflated() -> None:
    offer = ("sec-websocket-extensions", "permessage-deflate")
    coder, answers = Encoder(), Encoder()
    client = PREFACE + setting() + headers(coder, 1, *CONNECT, offer)
    server = setting((8, 1)) + headers(answers, 1, (":status", "200"), offer)
    # RFC 7692 section 7.2.3.1: "Hello", compressed
    server += frame(DATA, 1, bytes.fromhex("c107f248cdc9c90700"))
    bad = frame(DATA, 1, bytes.fromhex("c103ffffff"))
    found = exchange(client, server)
    (message,) = [each for each in found.server if isinstance(each, Frame)]
    assert message.flaws == ()
    found = exchange(client, server + bad)
    last = [each for each in found.server if isinstance(each, Frame)][-1]
    assert last.flaws
    assert all(flaw.span.start >= last.span.start for flaw in last.flaws)


def test_without_an_extended_connect_nothing_changes() -> None:
    page = ((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "example.org"))
    client = PREFACE + setting() + headers(Encoder(), 1, *page)
    before = read(Connection(0, Stream(client), Stream(setting()), kind="capture"))
    assert show_websockets(before) is before
    assert extended_connect(before) == []
    plain = read(Connection(0, Stream(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Stream(b"")))
    assert show_websockets(plain) is plain


def test_an_unanswered_connect_beside_an_answered_one() -> None:
    coder, answers = Encoder(), Encoder()
    client = PREFACE + setting() + headers(coder, 1, *CONNECT) + headers(coder, 3, *CONNECT)
    found = exchange(client, setting((8, 1)) + headers(answers, 3, (":status", "404")))
    assert found.response is not None
    assert found.response.status == 404
    assert found.request is not None
    assert found.request.span.start > len(PREFACE) + 9 + 9


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_cut_anywhere(side: Side) -> None:
    client, server = conversation()
    server += frame(DATA, 1, WORLD)
    for size in range(len(PREFACE) if side == CLIENT else 0, len(client if side == CLIENT else server)):
        found = exchange(client[:size] if side == CLIENT else client, server[:size] if side == SERVER else server)
        for each in (*found.client, *found.server):
            if isinstance(each, Frame):
                assert not each.flaws


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise(data: st.DataObject) -> None:
    streams = []
    for whole in conversation():
        raw = bytearray(whole + frame(DATA, 1, WORLD))
        for at in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
            raw[at] = data.draw(st.integers(0, 255))
        streams.append(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    exchange(*streams)
