"""What first bytes are taken for, and that a few bytes are never taken for anything certain."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.model import CLIENT, SERVER, Side
from wsdiag.wire.identify import four_bytes, identify

MYSQL = b"\x0a10.11.19-MariaDB\x00" + bytes(60)
MYSQL_ERROR = b"\xff\x6a\x04Host '10.0.0.9' is not allowed to connect to this MySQL server"
KAFKA = b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x03abc\x00\x00"
GATEWAY = b"\xc9" + bytes(23)

# (bytes, side, kind, a part of the detail)
KNOWN: list[tuple[bytes, Side | None, str, str]] = [
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", CLIENT, "request", "GET"),
    (b"get /chat http/1.1\r\n", CLIENT, "request", "get"),
    (b"BREW /pot HTTP/1.1\r\n", CLIENT, "request", "BREW"),
    (b"GET /my room HTTP/1.1\n", None, "request", "GET"),
    (b"GET /\r\n", CLIENT, "request", "GET"),
    (b"CONNECT example.com:443 HTTP/1.1\r\n", CLIENT, "request", "CONNECT"),
    (b"\r\nGET / HTTP/1.1\r\n", CLIENT, "request", "GET"),
    (b"HTTP/1.1 101 Switching Protocols\r\n", SERVER, "response", "HTTP/1.1 101"),
    (b"HTTP/1.0 200", None, "response", "HTTP/1.0 200"),
    (b"ICY 200 OK\r\n", SERVER, "response", "ICY 200"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", CLIENT, "tls", "ClientHello"),
    (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76", SERVER, "tls", "ServerHello"),
    (b"\x15\x03\x03\x00\x02\x02\x28", SERVER, "tls", "handshake_failure"),
    (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37), CLIENT, "tls", "SSLv2"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", CLIENT, "proxy-v1", ""),
    (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c", CLIENT, "proxy-v2", ""),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", CLIENT, "http2", ""),
    (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64", SERVER, "http2", "SETTINGS"),
    (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", CLIENT, "frame", "text"),
    (b"\x81\x05Hello", SERVER, "frame", "text"),
    (b"\x88\x02\x03\xe8", SERVER, "frame", "close"),
    (b"\x89\x80abcd", CLIENT, "frame", "ping"),
    (b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", CLIENT, "mqtt", "3.1.1"),
    (b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc", CLIENT, "mqtt", "CONNECT 5"),
    (b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03abc", CLIENT, "mqtt", "3.1"),
    (b"\x20\x02\x00\x05", SERVER, "mqtt", "CONNACK"),
    (b"*1\r\n$4\r\nPING\r\n", CLIENT, "redis", "PING"),
    (b"PING\r\n", CLIENT, "redis", "PING"),
    (b"-ERR unknown command 'GET'\r\n", SERVER, "redis", "unknown command"),
    (b"-NOAUTH Authentication required.\r\n", SERVER, "redis", "NOAUTH"),
    (b"SSH-2.0-dropbear_2022.83\r\n", SERVER, "ssh", "dropbear"),
    (len(MYSQL).to_bytes(3, "little") + b"\x00" + MYSQL, SERVER, "mysql", "10.11.19"),
    (len(MYSQL_ERROR).to_bytes(3, "little") + b"\x00" + MYSQL_ERROR, SERVER, "mysql", "1130 Host"),
    (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", CLIENT, "postgres", "SSLRequest"),
    (b"\x00\x00\x00\x17\x00\x03\x00\x00user\x00postgres\x00\x00", CLIENT, "postgres", "StartupMessage"),
    (b"E\x00\x00\x00\x50SFATAL\x00C28000\x00", SERVER, "postgres", "ErrorResponse"),
    (b"\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00Cookie: mstshash=hello\r\n", CLIENT, "rdp", "mstshash"),
    (b"JRMI\x00\x02K", CLIENT, "rmi", ""),
    (b"220 mail.example.com ESMTP Postfix\r\n", SERVER, "smtp", "Postfix"),
    (b"220 ProFTPD Server ready.\r\n", SERVER, "ftp", "ProFTPD"),
    (b"+OK Dovecot ready.\r\n", SERVER, "pop3", "Dovecot"),
    (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", SERVER, "imap", "IMAP4"),
    (b"<policy-file-request/>\x00", CLIENT, "flash-policy", ""),
    (b"VERSION 1.6.18\r\n", SERVER, "memcached", "1.6.18"),
    (b"stats\r\n", CLIENT, "memcached", "stats"),
    (
        b"\x33" + bytes(3) + b"\x01" + bytes(7) + b"\xdd\x07" + bytes(7) + b"\x1e\0\0\0\x10isMaster\0\1\0\0\0",
        CLIENT,
        "mongodb",
        "OP_MSG",
    ),
    (b"AMQP\x00\x00\x09\x01", CLIENT, "amqp", ""),
    (len(KAFKA).to_bytes(4, "big") + KAFKA, CLIENT, "kafka", "ApiVersions"),
    (b"CONNECT\naccept-version:1.2\n\n\x00", CLIENT, "stomp", "CONNECT"),
    (b"\xff\xfd\x18\xff\xfd\x20", SERVER, "telnet", ""),
    (b"\x04\x01\x00\x50\x7f\x00\x00\x01root\x00", CLIENT, "socks4", ""),
    (b"\x05\x02\x00\x02", CLIENT, "socks5", ""),
    (b"\x00\x00\x00\x54\xffSMBr\x00", CLIENT, "smb", ""),
    (b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", CLIENT, "ldap", "bind"),
    (
        b"\x00\x1e\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03",
        CLIENT,
        "dns",
        "",
    ),
    (b"\x13BitTorrent protocol" + bytes(8), CLIENT, "bittorrent", ""),
    (b"OPTIONS rtsp://a/b RTSP/1.0\r\n", CLIENT, "rtsp", "RTSP"),
    (b"RTSP/1.0 400 Bad Request\r\n", SERVER, "rtsp", ""),
    (b"OPTIONS sip:nm SIP/2.0\r\n", CLIENT, "sip", "SIP"),
    (b'0{"sid":"abc","upgrades":[]}', SERVER, "engine.io", "sid"),
    (b'96:0{"sid":"abc"}', SERVER, "engine.io", "sid"),
    ((len(GATEWAY) + 4).to_bytes(4, "big") + GATEWAY, CLIENT, "gatewayworker", "ping"),
    (b"\x00hello\xff", CLIENT, "hixie-frame", "hello"),
    (b"RFB 003.008\n", SERVER, "rfb", ""),
    (b'{"type":"login"}\n', CLIENT, "json", "login"),
    (b"hello server\r\n", CLIENT, "text", "hello server"),
    ("你好，服务器\n".encode(), CLIENT, "text", "你好"),
    (b"<!DOCTYPE html>\n<html>", SERVER, "text", "DOCTYPE"),
    (b"\x00\x01\x02\x03\x04\x05", None, "unknown", ""),
    (bytes(64), None, "unknown", ""),
    (b"\xff" * 64, None, "unknown", ""),
    (b"", None, "empty", ""),
]


@pytest.mark.parametrize(("data", "side", "kind", "detail"), KNOWN)
def test_known_bytes(data: bytes, side: Side | None, kind: str, detail: str) -> None:
    found = identify(data, side)
    assert (found.kind, detail in found.detail) == (kind, True), found
    if side is not None and kind not in ("text", "json", "unknown", "empty"):
        assert identify(data, None).kind == kind


@pytest.mark.parametrize(("data", "side", "kind", "detail"), KNOWN)
def test_one_or_two_bytes_are_never_certain(data: bytes, side: Side | None, kind: str, detail: str) -> None:
    for size in (1, 2):
        assert identify(data[:size], side).sure == "partial" or len(data) < size, data[:size]


def test_cut_requests_and_responses_are_partial() -> None:
    request, response = b"GET /chat HTTP/1.1\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"
    assert {identify(request[:size], CLIENT).kind for size in range(1, len(request))} == {"request"}
    assert {identify(response[:size], SERVER).kind for size in range(1, len(response))} == {"response"}
    assert identify(request[:3], CLIENT).sure == "partial"


def test_random_bytes_are_seldom_frames() -> None:
    dice = random.Random(6455)
    taken = {"frame": 0, "certain": 0}
    for _ in range(3000):
        data = dice.randbytes(dice.randint(5, 60))
        found = identify(data, dice.choice([CLIENT, SERVER, None]))
        taken["frame"] += found.kind == "frame"
        taken["certain"] += found.sure == "certain"
    assert taken["frame"] < 30
    assert taken["certain"] < 3


def test_text_is_never_a_frame() -> None:
    for line in ("hello", "A", "BOOM", "{}", "你好你好", "é", "login alice secret", "\n\n", "1"):
        for encoding in ("utf-8", "gbk"):
            if encoding == "gbk" and "é" in line:
                continue
            for side in (CLIENT, SERVER, None):
                assert identify(line.encode(encoding), side).kind != "frame", line


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | st.sampled_from([each[0] for each in KNOWN]), st.sampled_from([CLIENT, SERVER, None]))
def test_any_bytes_are_something(data: bytes, side: Side | None) -> None:
    found = identify(data, side)
    assert found.kind
    assert found.sure in ("certain", "likely", "partial")


@pytest.mark.parametrize(
    ("number", "four", "what"),
    [
        (1195725856, b"GET ", "request"),
        (1347375956, b"POST", "request"),
        (1213486160, b"HTTP", "response"),
        (1330664521, b"OPTI", "request"),
        (1347569952, b"PRI ", "http2"),
        (1347571544, b"PROX", "proxy-v1"),
        (218762506, b"\r\n\r\n", "proxy-v2"),
        (369295617, b"\x16\x03\x01\x01", "tls"),
        (369295616, b"\x16\x03\x01\x00", "tls"),
        (-2119565312, b"\x81\xaa\x00\x00", ""),
        (10485761, b"\x00\xa0\x00\x01", ""),
        (2**32, b"", ""),
    ],
)
def test_numbers_that_were_text(number: int, four: bytes, what: str) -> None:
    assert four_bytes(number) == (four, what)
