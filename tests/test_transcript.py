"""HTTP heads quoted in text: every way in which people and programs print them gives the bytes; nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.intake.command_line import request_of
from wsdiag.intake.encoding import lines_of
from wsdiag.intake.transcript import Transcript, find_exchanges
from wsdiag.model import Stream

REQUEST = """GET /ws HTTP/1.1
Host: 127.0.0.1:2346
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Version: 13"""
RESPONSE = """HTTP/1.1 101 Switching Protocols
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="""


def found(text: str) -> list[Transcript]:
    """What is found in the text."""
    return find_exchanges(lines_of(text, "paste"))


def wire(head: str) -> bytes:
    """The head as it was sent."""
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n"


def data(stream: Stream | None) -> bytes:
    """A side's bytes."""
    return stream.data if stream else b""


def prefixed(prefix: str, text: str) -> str:
    """The text with that in front of each line."""
    return "\n".join(prefix + line for line in text.split("\n"))


PREFIXES = [
    "",
    "web_1  | ",
    "0|app  | ",
    "2024-01-30T10:00:00.123456789Z stdout F ",
    "Jan 30 10:00:00 host app[123]: ",
    "2024-01-30 10:00:00 ",
    "2024-01-30 10:00:00,123 DEBUG websockets.client ",
    "[2024-01-30 10:00:00] [debug] ",
    "  ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_pasted_heads(prefix: str) -> None:
    """Behind the prefixes of docker, pm2, Kubernetes, journald and loggers."""
    (only,) = found(prefixed(prefix, f"{REQUEST}\n\n{RESPONSE}\n\n"))
    assert data(only.client) == wire(REQUEST)
    assert data(only.server) == wire(RESPONSE)
    assert only.client is not None
    assert only.client.ending == "open"
    assert [note.name for note in only.notes] == ["line-ends-restored"]


def test_every_byte_knows_its_line() -> None:
    """Marks lead back to the text."""
    (only,) = found(f"what I see:\n{REQUEST}\n\n")
    assert only.client is not None
    place = only.client.data.index(b"Sec-WebSocket-Key")
    origin = only.client.origin_at(place)
    assert origin is not None
    assert origin.line == 6


def test_a_head_without_its_end_is_cut() -> None:
    """Nothing may be said to be missing from it."""
    (only,) = found(REQUEST)
    assert only.client is not None
    assert only.client.ending == "cut"
    assert not only.client.data.endswith(b"\r\n\r\n")


def test_curl_v() -> None:
    """Marked lines, remarks between them, and the body behind."""
    text = (
        "*   Trying 127.0.0.1:2346...\n* Connected to localhost (127.0.0.1) port 2346 (#0)\n"
        + prefixed("> ", REQUEST)
        + "\n> \n* Mark bundle as not supporting multiuse\n"
        + prefixed("< ", "HTTP/1.1 403 Forbidden\nServer: nginx\nContent-Length: 7")
        + "\n< \nno way\n* Connection #0 to host localhost left intact"
    )
    (only,) = found(text)
    assert data(only.client) == wire(REQUEST)
    assert data(only.server) == wire("HTTP/1.1 403 Forbidden\nServer: nginx\nContent-Length: 7") + b"no way\n"


def test_python_websockets_debug_log() -> None:
    """It prints no empty line behind a head, but the whole head."""
    logger = "DEBUG:websockets.client:"
    text = "\n".join(
        (
            f"{logger}= connection is CONNECTING",
            prefixed(f"{logger}> ", REQUEST),
            prefixed(f"{logger}< ", RESPONSE),
            f"{logger}= connection is OPEN",
        )
    )
    (only,) = found(text)
    assert data(only.client) == wire(REQUEST)
    assert data(only.server) == wire(RESPONSE)


def test_the_next_line_of_a_log_is_no_body() -> None:
    """Here the body is not printed at all."""
    logger = "web_1  | 2024-01-30 10:00:00,123 DEBUG websockets.server "
    text = (
        prefixed(f"{logger}< ", "GET / HTTP/1.1\nHost: h")
        + "\n"
        + prefixed(f"{logger}> ", "HTTP/1.1 426 Upgrade Required\nUpgrade: websocket")
        + "\nweb_1  | 2024-01-30 10:00:00,124 INFO websockets.server connection rejected (426 Upgrade Required)"
    )
    (only,) = found(text)
    assert data(only.client) == wire("GET / HTTP/1.1\nHost: h")
    assert data(only.server) == wire("HTTP/1.1 426 Upgrade Required\nUpgrade: websocket")
    assert only.server is not None
    assert only.server.ending == "cut"


def test_tcpdump_in_ascii() -> None:
    """`tcpdump -A`: the packet's own headers stand in front as junk."""
    text = (
        "10:55:46.1 IP 127.0.0.1.50312 > 127.0.0.1.2346: Flags [P.], seq 1:225, ack 1, win 512, length 224\n"
        f"E..|..@.@..........*...P.......{REQUEST}\n\n"
        "10:55:46.2 IP 127.0.0.1.2346 > 127.0.0.1.50312: Flags [P.], seq 1:100, ack 225, win 512, length 99\n"
        f"E..|..@.@..........*...P.......{RESPONSE}\n\n"
    )
    (only,) = found(text)
    assert data(only.client) == wire(REQUEST)
    assert data(only.server) == wire(RESPONSE)


def test_nginx_debug_log() -> None:
    """What it sends upstream, between quotes."""
    head = REQUEST.replace("HTTP/1.1", "HTTP/1.0")
    text = f'2026/11/22 11:16:52 [debug] 7#7: *1 http proxy header:\n"{head}\n\n"\n2026/11/22 11:16:52 [debug] 7#7: x'
    (only,) = found(text)
    assert data(only.client) == wire(head)


def test_websocket_client_trace() -> None:
    """`enableTrace(True)`."""
    text = (
        f"--- request header ---\n{REQUEST}\n\n-----------------------\n"
        f"--- response header ---\n{RESPONSE}\n-----------------------\n"
    )
    (only,) = found(text)
    assert data(only.client) == wire(REQUEST)
    assert data(only.server) == wire(RESPONSE)


@pytest.mark.parametrize(
    "start", ["Sec-WebSocket-Accept not found. Header:\n", "Sec-WebSocket-Accept not match. Header:"]
)
def test_workerman_client(start: str) -> None:
    """It prints the head to its end, and nothing of the body."""
    (only,) = found(f"connected\n{start}HTTP/1.1 200 OK\nServer: nginx\nContent-Length: 18\nclosed\n")
    assert only.client is None
    assert data(only.server) == wire("HTTP/1.1 200 OK\nServer: nginx\nContent-Length: 18")
    assert only.server is not None
    assert only.server.ending == "cut"


def test_curl_i_knows_the_request_from_the_command() -> None:
    """Its address, method and headers."""
    (only,) = found(
        "$ curl -i -N -H 'Connection: Upgrade' \\\n  -H 'Upgrade: websocket' http://example.com:8080/ws?x=1\n"
        "HTTP/1.1 400 Bad Request\n\nnope"
    )
    assert data(only.client) == (
        b"GET /ws?x=1 HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: curl\r\nAccept: */*\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert data(only.server) == b"HTTP/1.1 400 Bad Request\r\n\r\nnope"
    assert "request-from-command" in {note.name for note in only.notes}


@pytest.mark.parametrize(
    ("command", "start"),
    [
        ("-d a=1 http://x/api", b"POST /api HTTP/1.1\r\nHost: x\r\n"),
        ("-I x:81", b"HEAD / HTTP/1.1\r\nHost: x:81\r\n"),
        ("-XPUT --url=http://x/", b"PUT / HTTP/1.1\r\n"),
        ("-H 'Host: other' http://x/", b"GET / HTTP/1.1\r\nUser-Agent: curl\r\nAccept: */*\r\nHost: other\r\n"),
        ("http://x/ | head -1", b"GET / HTTP/1.1\r\nHost: x\r\n"),
        ("https://u:p@x/", b"GET / HTTP/1.1\r\nHost: x\r\n"),
        ("--http2-prior-knowledge http://x/", None),
        ("-H 'unclosed http://x/", None),
        ("ws://x/", None),
        ("-H", None),
        ("", None),
    ],
)
def test_what_a_curl_command_sends(command: str, start: bytes | None) -> None:
    """Or that it cannot be told."""
    request = request_of(command)
    assert (request is None) if start is None else (request is not None and request.startswith(start))


CHROME = """Request URL: wss://example.com/ws?token=1
Request Method: GET
Status Code: 101 Switching Protocols
Response Headers
Connection: Upgrade
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
Upgrade: websocket
Request Headers
Host: example.com
Upgrade: websocket
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="""


@pytest.mark.parametrize(
    "text",
    [
        CHROME,
        CHROME.replace(": ", ":\n"),
        CHROME.replace("Request URL", "请求网址")
        .replace("Request Method", "请求方法")
        .replace("Status Code", "状态代码")
        .replace("Response Headers", "响应标头")
        .replace("Request Headers", "请求标头"),
        "General\n\n" + CHROME.replace("Response Headers", "\nResponse Headers (5)\nView source"),
    ],
)
def test_network_tab(text: str) -> None:
    """One line or two for each header, in English or Chinese."""
    (only,) = found(text)
    assert data(only.client) == (
        b"GET /ws?token=1 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert data(only.server) == (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nUpgrade: websocket\r\n\r\n"
    )


def test_a_provisional_network_tab_is_cut() -> None:
    """The browser does not show what was really sent."""
    (only,) = found(
        "Request URL: ws://h/\nRequest Method: GET\nRequest Headers\nProvisional headers are shown\nOrigin: http://h"
    )
    assert only.client is not None
    assert only.client.ending == "cut"


@pytest.mark.parametrize(
    "text",
    [
        '127.0.0.1 - - [22/Nov/2026:11:16:52 +0000] "GET /ws HTTP/1.1" 404 559 "-" "curl"',
        'INFO:     127.0.0.1:41232 - "GET /ws HTTP/1.1" 404 Not Found',
        "Bad request for Register service. Request info(IP:127.0.0.1, Request Buffer:GET / HTTP/1.1). See x",
        'upstream: "http://127.0.0.1:20435/", request: "GET / HTTP/1.1", host: "a"',
        "Traceback (most recent call last):\nValueError: unsupported protocol; expected HTTP/1.1: GET / HTTP/1.0",
        "GET /ws HTTP/1.1",
        "> GET /ws HTTP/2\n> Host: h\n> Upgrade: websocket\n> \n< HTTP/2 400 \n< server: x\n< ",
        "it says HTTP/1.1 101 Switching Protocols and then nothing",
        "The status line is: HTTP/1.1 403 Forbidden",
    ],
)
def test_what_is_no_head(text: str) -> None:
    """Access logs, sentences, traces."""
    assert not found(text)


def test_a_stack_trace_behind_a_head_is_not_part_of_it() -> None:
    """Nor is an error line, though it looks like a header field."""
    (only,) = found("HTTP/1.1 502 Bad Gateway\nServer: nginx\nError: socket hang up\n    at Socket.x (y:1:2)")
    assert data(only.server) == b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx\r\n"


def test_two_conversations_and_a_lone_request() -> None:
    """Each answer belongs to the request in front of it."""
    text = f"{REQUEST}\n\n{RESPONSE}\n\nthen\n\n{REQUEST}\n\n{REQUEST}\n\nHTTP/1.1 404 Not Found\nServer: x\n\n"
    one, two, three = found(text)
    assert data(one.server) == wire(RESPONSE)
    assert two.server is None
    assert data(three.server).startswith(b"HTTP/1.1 404")


@given(
    st.lists(
        st.sampled_from(
            [*REQUEST.split("\n"), *RESPONSE.split("\n"), "", "> ", "* x", "Request URL: ws://h/", "$ curl x"]
        )
    )
)
@settings(max_examples=200, deadline=None)
def test_any_mixture_gives_bytes_that_come_from_its_lines(lines: list[str]) -> None:
    """Nothing raises; marks are in order and inside the bytes."""
    for each in found("\n".join(lines)):
        assert 0 <= each.first <= each.last < len(lines)
        for stream in (each.client, each.server):
            if stream is not None:
                offsets = [mark.offset for mark in stream.marks]
                assert offsets == sorted(offsets)
                assert offsets[0] == 0
                assert stream.total == len(stream.data)
