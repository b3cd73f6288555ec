"""HTTP/1 heads: each flaw has an example, spans lead to the very bytes, h11 agrees on healthy ones."""

import gzip

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.model import CLIENT, SERVER, Request, Response
from wsdiag.wire import body, http1


def request(data: bytes) -> Request:
    return http1.read_request(data, 0, len(data), CLIENT)


def response(data: bytes) -> Response:
    return http1.read_response(data, 0, len(data), SERVER)


def kinds(message: Request | Response) -> list[str]:
    return [flaw.kind for flaw in message.flaws]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", []),
        (b"GET / HTTP/1.1\r\n\r\n", []),
        (b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ["leading-crlf"]),
        (b"GET / HTTP/1.1\nHost: a\nX: b\n\n", ["bare-lf"]),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", ["bare-cr"]),
        (b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", ["control-character"]),
        ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(), ["non-ascii"]),
        ("GET / HTTP/1.1\r\nHost： a\r\n\r\n".encode(), ["no-colon"]),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", ["space-in-target"]),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ["extra-space"]),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", ["extra-space"]),
        (b"G(T / HTTP/1.1\r\n\r\n", ["bad-method"]),
        (b"get / HTTP/1.1\r\n\r\n", ["lower-case-method"]),
        (b"GET HTTP/1.1\r\n\r\n", ["missing-target"]),
        (b"GET /\r\n\r\n", ["missing-version"]),
        (b"GET / HTTP/11\r\n\r\n", ["bad-version"]),
        (b"GET / http/1.1\r\n\r\n", ["bad-version"]),
        (b"GET / HTT", ["cut-start-line"]),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", ["no-colon"]),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", ["empty-name"]),
        (b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", ["bad-name"]),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", ["space-before-colon"]),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", ["leading-space"]),
        (b"GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", ["obs-fold"]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgr", ["cut-header"]),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", []),
    ],
)
def test_flaws_of_requests(data: bytes, expected: list[str]) -> None:
    assert kinds(request(data)) == expected


@pytest.mark.parametrize(
    ("data", "status", "expected"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, []),
        (b"HTTP/1.1 101\r\n\r\n", 101, []),
        (b"HTTP/1.1 20 OK\r\n\r\n", 0, ["bad-status"]),
        (b"HTTP/1.1 abc\r\n\r\n", 0, ["bad-status"]),
        (b"HTTP/1.1 10", 0, ["cut-start-line"]),
        (b"HTTP/1.1 101", 101, ["cut-start-line"]),
        (b"HTTP", 0, ["cut-start-line"]),
        (b"http/1.1 200 OK\r\n\r\n", 200, ["bad-version"]),
        (b"ICY 200 OK\r\n\r\n", 200, ["bad-version"]),
        (b"HTTP/1.1  200 OK\r\n\r\n", 200, ["extra-space"]),
    ],
)
def test_flaws_of_responses(data: bytes, status: int, expected: list[str]) -> None:
    found = response(data)
    assert (found.status, kinds(found)) == (status, expected)


def test_pieces_and_their_places() -> None:
    data = b"GET /my room HTTP/1.1\r\nHost :\t example.com  \r\nX:\r\n\r\nrest"
    found = request(data)
    assert (found.method.text, found.target.text, found.version.text) == ("GET", "/my room", "HTTP/1.1")
    assert found.span.stop == len(data) - 4
    pieces = [found.method, found.target, found.version]
    for header in found.head.headers:
        pieces += [header.name, header.value]
    for piece in pieces:
        assert data[piece.span.start : piece.span.stop].decode("latin-1") == piece.text
    assert [(header.name.text, header.value.text) for header in found.head.headers] == [
        ("Host", "example.com"),
        ("X", ""),
    ]


def test_absence_is_claimed_of_whole_heads_only() -> None:
    assert request(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").head.lacks("upgrade")
    assert not request(b"GET / HTTP/1.1\r\nHost: a\r\n").head.lacks("upgrade")
    many = request(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (http1.MAX_HEADERS + 1) + b"Upgrade: x\r\n\r\n")
    assert kinds(many) == ["too-many-headers"]
    assert not many.head.lacks("upgrade")
    long = request(b"GET / HTTP/1.1\r\nA: " + b"b" * http1.MAX_HEAD + b"\r\nUpgrade: x\r\n\r\n")
    assert kinds(long) == ["head-too-long"]
    assert not long.head.lacks("upgrade")


def test_a_fold_joins_the_value() -> None:
    header = request(b"GET / HTTP/1.1\r\nX: a\r\n  b\r\n\tc\r\n\r\n").head.headers[0]
    assert header.value.text == "a b c"


def test_bodies() -> None:
    chunked = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: a\r\n\r\nrest"
    joined = body.read_chunked(chunked, 0, len(chunked), SERVER)
    assert (joined.content, joined.stop, joined.flaws) == (b"hello world", len(chunked) - 4, ())
    for data, kind in ((b"5\r\nhel", "cut-body"), (b"xyz\r\n", "bad-chunk"), (b"-5\r\nhello\r\n", "bad-chunk")):
        assert [flaw.kind for flaw in body.read_chunked(data, 0, len(data), SERVER).flaws] == [kind]
    sized = body.read_sized(b"hello", 0, 5, 9, SERVER)
    assert (sized.stop, sized.missing, sized.flaws[0].kind) == (5, 4, "cut-body")
    head = request(b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n").head
    assert [flaw.kind for flaw in body.content_length(head, CLIENT)[1]] == ["bad-length"]
    page = gzip.compress(b"<h1>404</h1>")
    zipped = response(b"HTTP/1.1 404 x\r\nContent-Encoding: gzip\r\n\r\n")
    assert body.decoded(page, zipped.head) == b"<h1>404</h1>"
    assert body.decoded(b"no gzip", zipped.head) == b"no gzip"


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@settings(max_examples=100, deadline=None)
@given(TOKEN, VALUE.filter(bool), st.lists(st.tuples(TOKEN, VALUE), max_size=6))
def test_h11_reads_the_same(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    data = f"{method} {target} HTTP/1.1\r\nHost: a\r\n".encode()
    headers = [each for each in headers if each[0].lower() not in ("host", "content-length", "transfer-encoding")]
    data += b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n"
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(data)
    event = oracle.next_event()
    assert isinstance(event, h11.Request)
    found = request(data)
    assert found.head.complete
    assert set(kinds(found)) <= {"lower-case-method"}
    assert (found.method.text.encode(), found.target.text.encode()) == (event.method, event.target)
    sent = [(each.name.text.lower().encode(), each.value.text.encode()) for each in found.head.headers]
    assert sent == list(event.headers)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text("GET /HTP1.\r\n :\t", max_size=60).map(str.encode))
def test_any_bytes_make_a_head(data: bytes) -> None:
    for message in (request(data), response(data)):
        assert message.span.start == 0
        assert message.span.stop <= len(data)
        for flaw in message.flaws:
            assert 0 <= flaw.span.start <= flaw.span.stop <= len(data)
        for header in message.head.headers:
            assert data[header.name.span.start : header.name.span.stop].decode("latin-1") == header.name.text
