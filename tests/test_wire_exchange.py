"""The tiling of whole connections: nothing is lost, nothing raises, whatever the bytes, gaps and cuts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.model import (
    CLIENT,
    SERVER,
    ClientHello,
    Connection,
    Exchange,
    Foreign,
    Frame,
    Gap,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Request,
    Response,
    ServerHello,
    Side,
    Stream,
    TlsAlert,
    TlsData,
    Unknown,
)
from wsdiag.wire import exchange, reading

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
HELLO = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"  # RFC 6455 section 5.7: masked "Hello"
HELLO_PLAIN = b"\x81\x05Hello"
CLOSE_MASKED = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
CLOSE_PLAIN = b"\x88\x02\x03\xe8"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"


def tls_hello(name: bytes = b"example.com", alpn: bytes = b"http/1.1") -> bytes:
    """A ClientHello of TLS 1.3 in one record."""
    sni = len(name).to_bytes(2, "big") + name
    sni = b"\x00" + sni
    sni = len(sni).to_bytes(2, "big") + sni
    protocols = bytes([len(alpn)]) + alpn
    protocols = len(protocols).to_bytes(2, "big") + protocols
    extensions = b"".join(
        kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
        for kind, value in ((0, sni), (16, protocols), (43, b"\x04\x03\x04\x03\x03"))
    )
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def read(client: bytes | Stream = b"", server: bytes | Stream = b"") -> Exchange:
    """Read a connection and check that its elements tile both streams."""
    streams = [each if isinstance(each, Stream) else Stream(each, total=len(each)) for each in (client, server)]
    found = exchange.read(Connection(0, streams[0], streams[1]))
    for side, stream in ((CLIENT, streams[0]), (SERVER, streams[1])):
        check_tiling(found, side, len(stream.data))
    return found


def check_tiling(found: Exchange, side: Side, size: int) -> None:
    at = 0
    for element in found.elements(side):
        assert element.span.side == side
        assert element.span.start == at
        assert element.span.stop > at
        at = element.span.stop
        for flaw in getattr(element, "flaws", ()):
            assert flaw.span.side == side
            assert element.span.start <= flaw.span.start <= flaw.span.stop <= element.span.stop, (flaw, element)
    assert at == size


def kinds(found: Exchange, side: Side) -> list[type]:
    return [type(element) for element in found.elements(side)]


def test_a_healthy_exchange() -> None:
    found = read(REQUEST + HELLO + CLOSE_MASKED, ACCEPTED + HELLO_PLAIN + CLOSE_PLAIN)
    assert kinds(found, CLIENT) == [Request, Frame, Frame]
    assert kinds(found, SERVER) == [Response, Frame, Frame]
    assert found.upgraded
    assert [frame.payload for frame in found.client[1:]] == [b"Hello", b"\x03\xe8"]  # type: ignore[union-attr]
    assert not any(getattr(element, "flaws", ()) for element in (*found.client, *found.server))


def test_tls_at_a_plain_listener() -> None:
    found = read(tls_hello(), BAD_REQUEST)
    hello = found.client[0]
    assert isinstance(hello, ClientHello)
    assert (hello.server_name, hello.alpn, hello.versions) == ("example.com", ("http/1.1",), (0x304, 0x303))
    assert kinds(found, SERVER) == [Response]


def test_plain_text_at_a_tls_listener() -> None:
    found = read(REQUEST, b"\x15\x03\x03\x00\x02\x02\x46")
    assert found.server == (TlsAlert(found.server[0].span, 2, 70),)


def test_a_server_hello_and_what_follows() -> None:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x13\x01\x00" + b"\x00\x06\x00\x2b\x00\x02\x03\x04"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    record = b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message
    found = read(tls_hello(), record + b"\x14\x03\x03\x00\x01\x01" + b"\x17\x03\x03\x00\x02ab" * 3)
    hello, spec, data = found.server
    assert isinstance(hello, ServerHello)
    assert hello.version == 0x304
    assert isinstance(spec, TlsData)
    assert isinstance(data, TlsData)
    assert (spec.records, spec.encrypted, data.records, data.encrypted) == (1, False, 3, True)


def test_proxy_headers_in_front_of_the_request() -> None:
    v2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x02\xc4\x88\x09\x2a"
    found = read(v2 + REQUEST)
    header = found.client[0]
    assert kinds(found, CLIENT) == [ProxyHeader, Request]
    assert isinstance(header, ProxyHeader)
    assert header.source is not None
    assert (header.version, header.source.host, header.source.port) == (2, "127.0.0.1", 50312)
    found = read(b"PROXY TCP4 10.0.0.1 10.0.0.2 50312 80\r\n" + REQUEST)
    assert kinds(found, CLIENT) == [ProxyHeader, Request]


def test_garbage_in_front_of_the_101() -> None:
    warning = b"\nWarning: Undefined variable $x in /srv/app/start.php on line 9\n"
    for garbage in (b"\xef\xbb\xbf", warning, b"220 welcome\r\n", b"x", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
        found = read(REQUEST + HELLO, garbage + ACCEPTED + HELLO_PLAIN)
        assert kinds(found, SERVER) == [Unknown, Response, Frame], garbage
        assert kinds(found, CLIENT) == [Request, Frame]
        assert found.server[0].span.stop == len(garbage)


def test_frames_in_front_of_the_handshake() -> None:
    found = read(HELLO + REQUEST, HELLO_PLAIN + ACCEPTED + HELLO_PLAIN)
    assert kinds(found, CLIENT) == [Frame, Request]
    assert kinds(found, SERVER) == [Frame, Response, Frame]


def test_frames_with_no_handshake() -> None:
    assert kinds(read(HELLO + HELLO), CLIENT) == [Frame, Frame]
    assert kinds(read(b"", HELLO_PLAIN), SERVER) == [Frame]
    assert kinds(read(REQUEST + HELLO), CLIENT) == [Request, Frame]


def test_other_protocols() -> None:
    mqtt = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd"
    assert read(mqtt).client == (Foreign(read(mqtt).client[0].span, "mqtt", "CONNECT 3.1.1"),)
    assert kinds(read(b"<policy-file-request/>\x00"), CLIENT) == [Foreign]
    assert kinds(read(b"\x05"), CLIENT) == [Unknown]
    assert kinds(read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), CLIENT) == [
        Http2Preface,
        Http2Frames,
    ]


def test_polling_before_the_upgrade() -> None:
    poll = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST /socket.io/?EIO=4&sid=x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40"
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0{"si\r\n3\r\nd"}\r\n0\r\n\r\n'
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    found = read(poll + post + REQUEST + HELLO, chunked + sized + ACCEPTED + HELLO_PLAIN)
    assert kinds(found, CLIENT) == [Request, Request, Request, Frame]
    assert kinds(found, SERVER) == [Response, Response, Response, Frame]
    assert found.upgraded
    first = found.server[0]
    assert isinstance(first, Response)
    assert first.content == b'0{"sid"}'


def test_a_head_request_has_no_body_in_its_answer() -> None:
    head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    assert kinds(read(head + REQUEST, answer + ACCEPTED), SERVER) == [Response, Response]


def test_interim_answers_belong_to_the_same_request() -> None:
    found = read(REQUEST + HELLO, b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED)
    assert kinds(found, CLIENT) == [Request, Frame]
    assert found.upgraded


def test_bytes_after_a_close_frame_are_no_answer() -> None:
    found = read(REQUEST, ACCEPTED + CLOSE_PLAIN + b"HTTP/1.1 200 OK\r\n\r\n")
    assert kinds(found, SERVER) == [Response, Frame, Unknown]


def test_text_after_the_101_is_a_flawed_frame() -> None:
    found = read(REQUEST, ACCEPTED + b"<html><body>It works</body></html>\n" * 4)
    frame = found.server[1]
    assert isinstance(frame, Frame)
    assert "looks-like-text" in [flaw.kind for flaw in frame.flaws]


def test_a_payload_spans_a_gap_of_known_size() -> None:
    frame = b"\x82\x7e\x00\xc8" + bytes(200)
    data = ACCEPTED + frame[:50] + frame[150:] + HELLO_PLAIN
    found = read(REQUEST, Stream(data, gaps=(Gap(len(ACCEPTED) + 50, 100),)))
    cut, whole = found.server[1:]
    assert isinstance(cut, Frame)
    assert isinstance(whole, Frame)
    assert (cut.complete, cut.length, whole.complete, whole.payload) == (False, 200, True, b"Hello")


def test_frames_are_picked_up_behind_a_gap_of_unknown_size() -> None:
    data = ACCEPTED + b"\x82\x7e\x00\xc8" + bytes(50) + HELLO_PLAIN + HELLO_PLAIN
    found = read(REQUEST, Stream(data, gaps=(Gap(len(ACCEPTED) + 54, None),)))
    assert kinds(found, SERVER) == [Response, Frame, Frame, Frame]


def test_a_head_cut_by_a_gap_is_not_complete() -> None:
    found = read(Stream(REQUEST + HELLO, gaps=(Gap(40, 7),)), ACCEPTED)
    request = found.client[0]
    assert isinstance(request, Request)
    assert not request.head.complete
    assert request.span.stop == 40


# --- Rarer ways through ----------------------------------------------------------------------------------------------


def test_a_tunnel_through_a_forward_proxy() -> None:
    connect = b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"
    opened = b"HTTP/1.1 200 Connection established\r\n\r\n"
    found = read(connect + REQUEST + HELLO, opened + ACCEPTED + HELLO_PLAIN)
    assert kinds(found, CLIENT) == [Request, Request, Frame]
    assert kinds(found, SERVER) == [Response, Response, Frame]
    assert found.upgraded
    found = read(connect + tls_hello(), opened + b"\x15\x03\x03\x00\x02\x02\x28")
    assert kinds(found, CLIENT) == [Request, ClientHello]
    assert kinds(found, SERVER) == [Response, TlsAlert]


def test_an_upgrade_to_something_else() -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    h2c = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    found = read(h2c + preface, answer + preface[24:])
    assert kinds(found, CLIENT) == [Request, Http2Preface, Http2Frames]
    assert kinds(found, SERVER) == [Response, Http2Frames]


def test_the_draft_with_three_keys() -> None:
    request = (
        b"GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
        b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n"
        b"Origin: http://example.com\r\n\r\n^n:ds[4U"
    )
    answer = b"HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\n\r\n8jKS'y:G*Co,Wxa-"
    found = read(request + b"\x00hello\xff", answer + b"\x00hello\xff")
    for side, kind in ((CLIENT, Request), (SERVER, Response)):
        assert kinds(found, side) == [kind, Foreign]
        drafted = found.elements(side)[1]
        assert isinstance(drafted, Foreign)
        assert (drafted.protocol, drafted.detail) == ("hixie-frame", "hello")


def test_a_capture_from_the_middle() -> None:
    late = Stream(HELLO * 3, from_start=False)
    found = read(late, Stream(HELLO_PLAIN * 3 + CLOSE_PLAIN, from_start=False))
    assert kinds(found, CLIENT) == [Frame] * 3
    assert kinds(found, SERVER) == [Frame] * 4
    text = Stream(b"lo world, this is the end of a page\n", from_start=False)
    assert kinds(read(b"", text), SERVER) == [Unknown]


def test_text_behind_a_gap_is_no_protocol() -> None:
    data = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nConten" + b"<h1>Welcome to my page</h1>"
    found = read(REQUEST, Stream(data, gaps=(Gap(39, 60),)))
    assert kinds(found, SERVER) == [Response, Unknown]
    response = found.server[0]
    assert isinstance(response, Response)
    assert not response.head.complete


def test_a_body_spans_a_gap_of_known_size() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    data = head + b"a" * 20 + b"b" * 30 + ACCEPTED
    found = read(b"GET / HTTP/1.1\r\n\r\n" + REQUEST, Stream(data, gaps=(Gap(len(head) + 20, 50),)))
    assert kinds(found, SERVER) == [Response, Response]
    assert found.upgraded


def test_compression_is_given_up_behind_a_gap() -> None:
    accepted = ACCEPTED[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    first, second = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xc1\x05\xf2\x00\x11\x00\x00"
    whole = read(REQUEST, accepted + first + second)
    assert not [flaw for frame in whole.server for flaw in getattr(frame, "flaws", ())]
    at = len(accepted) + 5
    cut = read(REQUEST, Stream(accepted + first[:5] + first[7:] + second, gaps=(Gap(at, 2),)))
    assert kinds(cut, SERVER) == [Response, Frame, Frame]
    assert not [flaw for frame in cut.server for flaw in getattr(frame, "flaws", ())]


def test_an_extension_that_is_not_known_may_use_reserved_bits() -> None:
    accepted = ACCEPTED[:-2] + b"Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n\r\n"
    frame = read(REQUEST, accepted + b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00").server[1]
    assert isinstance(frame, Frame)
    assert not frame.flaws


def test_more_frames_than_anybody_reads() -> None:
    count = reading.MAX_FRAMES + 30_000
    found = read(REQUEST + HELLO * count, ACCEPTED + HELLO_PLAIN * (count - 1) + b"\x83\x00" + CLOSE_PLAIN)
    for side, extra in ((CLIENT, 0), (SERVER, 1)):
        frames = [element for element in found.elements(side) if isinstance(element, Frame)]
        assert len(frames) < reading.MAX_FRAMES + 10_000
        assert sum(1 + frame.others for frame in frames) == count + extra
    flawed, closing = found.server[-2:]
    assert isinstance(flawed, Frame)
    assert isinstance(closing, Frame)
    assert ([flaw.kind for flaw in flawed.flaws], closing.opcode) == (["bad-opcode"], 8)


def test_more_requests_than_anybody_reads() -> None:
    found = read(b"GET / HTTP/1.1\r\n\r\n" * (exchange.MAX_ELEMENTS + 5))
    assert len(found.client) == exchange.MAX_ELEMENTS + 1
    assert isinstance(found.client[-1], Unknown)


# --- Invariants ------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        REQUEST,
        ACCEPTED,
        HELLO,
        HELLO_PLAIN,
        CLOSE_MASKED,
        CLOSE_PLAIN,
        BAD_REQUEST,
        tls_hello(),
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"\x17\x03\x03\x00\x02ab",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 50312 80\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x02\xc4\x88\x09\x2a",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost : a\n b\n\n",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd",
        b'{"type":"login"}\n',
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
    ]
)
BYTES = st.lists(PIECES | st.binary(max_size=24), max_size=6).map(b"".join)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    data = bytearray(draw(BYTES))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    offsets = draw(st.lists(st.integers(0, len(data)), max_size=3, unique=True))
    gaps = tuple(Gap(offset, draw(st.none() | st.integers(1, 300))) for offset in sorted(offsets))
    return Stream(bytes(data), gaps=gaps, from_start=draw(st.booleans()))


@settings(max_examples=200, deadline=None)
@given(streams(), streams())
def test_any_bytes_are_tiled(client: Stream, server: Stream) -> None:
    read(client, server)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(REQUEST + HELLO + CLOSE_MASKED)), st.integers(0, len(ACCEPTED + HELLO_PLAIN + CLOSE_PLAIN)))
def test_a_cut_makes_no_fault(client: int, server: int) -> None:
    found = read((REQUEST + HELLO + CLOSE_MASKED)[:client], (ACCEPTED + HELLO_PLAIN + CLOSE_PLAIN)[:server])
    for element in (*found.client, *found.server):
        assert isinstance(element, Request | Response | Frame)
        assert {flaw.kind for flaw in element.flaws} <= {"cut-start-line", "cut-header"}
        if isinstance(element, Response):
            assert element.status in (0, 101)
        if isinstance(element, Request | Response) and element.head.complete:
            assert element.head.headers
        if isinstance(element, Frame):
            assert (element.mask is not None) == (element.span.side == CLIENT)
