"""TLS, HTTP/2, the PROXY protocol and the handshake's arithmetic."""

import ssl

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.headers import parse_extension
from websockets.utils import accept_key

from wsdiag.model import CLIENT, SERVER, ClientHello, ServerHello, TlsAlert
from wsdiag.wire import http1, http2, proxy_protocol, tls
from wsdiag.wire.handshake import (
    SAMPLE_ACCEPT,
    SAMPLE_KEY,
    DeflateParameters,
    accept_for,
    decoded_size,
    deflate_parameters,
    extensions,
)


def client_hello() -> bytes:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="ws.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def test_the_hello_of_openssl() -> None:
    data = client_hello()
    (hello,) = tls.read(data, 0, len(data), CLIENT)
    assert isinstance(hello, ClientHello)
    assert (hello.server_name, hello.alpn, hello.complete) == ("ws.example.com", ("h2", "http/1.1"), True)
    assert 0x304 in hello.versions
    assert hello.span.stop == len(data)


def test_a_hello_in_several_records() -> None:
    data = client_hello()
    message = data[5:]
    parts = [message[at : at + 50] for at in range(0, len(message), 50)]
    split = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
    (hello,) = tls.read(split, 0, len(split), CLIENT)
    (whole,) = tls.read(data, 0, len(data), CLIENT)
    assert isinstance(hello, ClientHello)
    assert hello[1:] == whole[1:]
    assert hello.span.stop == len(split)


def test_a_cut_hello_says_what_was_seen() -> None:
    data = client_hello()
    for size in range(3, len(data)):
        for element in tls.read(data, 0, size, CLIENT):
            assert not (isinstance(element, ClientHello) and element.complete)
            assert element.span.stop == size


def test_alerts() -> None:
    data = b"\x15\x03\x01\x00\x02\x02\x46\x15\x03\x03\x00\x02\x01\x00"
    found = tls.read(data, 0, len(data), SERVER)
    assert [(each.level, tls.ALERTS[each.description]) for each in found if isinstance(each, TlsAlert)] == [
        (2, "protocol_version"),
        (1, "close_notify"),
    ]
    encrypted = b"\x15\x03\x03\x00\x1a" + bytes(26)
    assert not isinstance(tls.read(encrypted, 0, len(encrypted), SERVER)[0], TlsAlert)


def test_sslv2_hello() -> None:
    data = b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37)
    (hello,) = tls.read(data, 0, len(data), CLIENT)
    assert isinstance(hello, ClientHello)
    assert (hello.record_version, hello.versions, hello.complete) == (2, (0x301,), True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200).map(lambda data: b"\x16\x03\x01\x00\xc0\x01\x00\x00\xbc\x03\x03" + data))
def test_hostile_hellos(data: bytes) -> None:
    found = tls.read(data, 0, len(data), CLIENT)
    assert isinstance(found[0], ClientHello | ServerHello)


def test_http2_frames() -> None:
    block = Encoder().encode([(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat")])
    settings_frame = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01"
    padded = b"\x02" + b"\x00\x00\x00\x00\x10" + block[:4]
    headers = (len(padded) + 2).to_bytes(3, "big") + b"\x01\x28\x00\x00\x00\x01" + padded + b"\x00\x00"
    rest = block[4:]
    more = len(rest).to_bytes(3, "big") + b"\x09\x04\x00\x00\x00\x01" + rest
    goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0d"
    data = settings_frame + headers + more + goaway + b"\x00\x00\x00\x03"
    found = http2.read_frames(data, 0, len(data), CLIENT)
    assert found is not None
    assert (found.frames, found.settings, found.errors) == (4, ((8, 1),), (13,))
    assert found.headers == (((":method", "CONNECT"), (":protocol", "websocket"), (":path", "/chat")),)
    assert found.span.stop == len(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 255), st.binary(max_size=20)), max_size=6))
def test_hostile_http2(frames: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + b"\x00\x00\x00\x01" + payload
        for kind, flags, payload in frames
    )
    found = http2.read_frames(data, 0, len(data), CLIENT)
    assert found is None or 0 < found.span.stop <= len(data)


def test_proxy_headers() -> None:
    v6 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + bytes(15) + b"\x01" + bytes(15) + b"\x02" + b"\x30\x39\x00\x50"
    found = proxy_protocol.read(v6, 0, len(v6), CLIENT)
    assert found is not None
    assert (found.source, found.destination, found.complete) == (("::1", 12345), ("::2", 80), True)
    for size in range(12, len(v6)):
        cut = proxy_protocol.read(v6, 0, size, CLIENT)
        assert cut is not None
        assert not cut.complete
    unknown = proxy_protocol.read(b"PROXY UNKNOWN\r\nGET", 0, 18, CLIENT)
    assert unknown is not None
    assert (unknown.source, unknown.complete, unknown.span.stop) == (None, True, 15)
    junk = proxy_protocol.read(b"PROXY TCP4 a b 99999999 x\r\n", 0, 27, CLIENT)
    assert junk is not None
    assert junk.source is None
    assert proxy_protocol.read(b"GET /", 0, 5, CLIENT) is None


def test_keys_and_accepts() -> None:
    assert accept_for(SAMPLE_KEY) == SAMPLE_ACCEPT == accept_key(SAMPLE_KEY)
    sizes = {SAMPLE_KEY: 16, "": 0, "aGVsbG8=": 5, "not base64!": None, "abc": None, "dGhlIHNhbXBsZSBub25jZQ": None}
    assert {key: decoded_size(key) for key in sizes} == sizes


def test_extension_lists() -> None:
    value = 'permessage-deflate; client_max_window_bits; server_max_window_bits="10", x-foo;a="b,c;d" , '
    assert [(each.name, each.parameters) for each in extensions(value)] == [
        ("permessage-deflate", (("client_max_window_bits", ""), ("server_max_window_bits", "10"))),
        ("x-foo", (("a", "b,c;d"),)),
    ]
    simple = "permessage-deflate; server_no_context_takeover; client_max_window_bits=12, foo"
    oracle = [
        (name, tuple((key, text or "") for key, text in parameters)) for name, parameters in parse_extension(simple)
    ]
    assert [tuple(each) for each in extensions(simple)] == oracle


def test_agreed_compression() -> None:
    data = (
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;"
        b" client_max_window_bits=9\r\n\r\n"
    )
    response = http1.read_response(data, 0, len(data), SERVER)
    assert deflate_parameters(None, response) == DeflateParameters(True, False, 15, 9)
    assert deflate_parameters(None, None) is None


@settings(max_examples=200, deadline=None)
@given(st.text('a=;," \\', max_size=40))
def test_any_extension_list_is_read(value: str) -> None:
    assert all(each.name for each in extensions(value))
