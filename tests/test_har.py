"""HAR files: which entries are told, what is made of them, and what an export leaves out is never taken for missing."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.diagnosis import diagnose_evidence
from wsdiag.inputs import read_all
from wsdiag.intake import har
from wsdiag.intake.har import read_har
from wsdiag.model import Evidence, Report, WsdiagError
from wsdiag.wire.handshake import accept_for

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = {
    "Host": "chat.example:2346",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Origin": "http://chat.example:2346",
    "User-Agent": "Mozilla/5.0 Chrome/156.0.0.0",
}
RESPONSE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_for(KEY)}


def fields(headers: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers.items()]


def entry(
    url: str = "ws://chat.example:2346/chat",
    request: dict[str, str] | None = None,
    status: int = 101,
    response: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": status, "headers": fields(RESPONSE if response is None else response)}
    answer.update(more.pop("answer", {}))
    return {
        "startedDateTime": "2026-11-22T13:33:44.444Z",
        "time": 5,
        "request": {
            "method": "GET",
            "url": url,
            "httpVersion": "HTTP/1.1",
            "headers": fields(REQUEST if request is None else request),
        },
        "response": answer,
        "timings": {"connect": 1, "send": 0, "wait": 2, "receive": 0},
        **more,
    }


def evidence(*entries: Any, creator: str = "WebInspector") -> Evidence:
    log = {"log": {"version": "1.2", "creator": {"name": creator}, "entries": list(entries)}}
    return read_har(io.BytesIO(json.dumps(log).encode()), "x.har")


def report(*entries: Any, creator: str = "WebInspector") -> Report:
    return diagnose_evidence(evidence(*entries, creator=creator))


def errors(found: Report) -> list[str]:
    return [each.name for each in found.findings if each.severity == "error" and each.certainty != "possible"]


def test_a_websocket_with_messages_is_healthy() -> None:
    messages = [
        {"type": "send", "time": 1795354424.4, "opcode": 1, "data": "hi"},
        {"type": "receive", "time": 1795354424.5, "opcode": 2, "data": "AQID"},
    ]
    found = evidence(entry(_resourceType="websocket", _webSocketMessages=messages))
    (connection,) = found.connections
    assert connection.kind == "har"
    assert connection.server_endpoint is not None
    assert connection.server_endpoint.port == 2346
    assert connection.tally is not None
    assert (connection.tally.client_frames, connection.tally.server_frames) == (1, 1)
    assert (connection.tally.client_bytes, connection.tally.server_bytes) == (2, 3)
    assert diagnose_evidence(found).verdict == "healthy"


def test_the_wrong_accept_is_found() -> None:
    found = report(entry(response={**RESPONSE, "Sec-WebSocket-Accept": accept_for("another")}))
    assert found.primary == "response-bad-accept"


@pytest.mark.parametrize("status", [101, 400])
@pytest.mark.parametrize("left_out", [*REQUEST])
def test_a_browser_that_leaves_out_a_header_is_not_accused(left_out: str, status: int) -> None:
    request = {name: value for name, value in REQUEST.items() if name != left_out}
    found = report(entry(request=request, status=status, _resourceType="websocket"))
    assert not [each.name for each in found.findings if each.name.startswith("request-") and each.places]
    assert errors(found) == ([] if status == 101 else ["response-400"])


@pytest.mark.parametrize("left_out", [*RESPONSE])
def test_an_answer_without_its_headers_is_not_accused(left_out: str) -> None:
    response = {name: value for name, value in RESPONSE.items() if name != left_out}
    assert errors(report(entry(response=response, _resourceType="websocket"))) == []


def test_a_proxy_that_keeps_all_sees_what_the_answer_lacks() -> None:
    response = {name: value for name, value in RESPONSE.items() if name != "Sec-WebSocket-Accept"}
    assert report(entry(response=response), creator="Charles Proxy").primary == "response-missing-accept"


def test_a_proxy_that_keeps_all_tells_what_is_missing() -> None:
    request = {name: value for name, value in REQUEST.items() if name != "Sec-WebSocket-Key"}
    refused = entry("http://chat.example:2346/chat", request, 400, {"Connection": "close"})
    assert report(refused, creator="mitmproxy").primary == "request-missing-key"
    assert "request-missing-key" not in errors(report(refused))


def test_redacted_values_are_told_and_not_judged() -> None:
    found = evidence(entry(request={**REQUEST, "Sec-WebSocket-Key": "[redacted]", "Cookie": "***"}))
    assert errors(diagnose_evidence(found)) == []
    (note,) = [note for note in found.inputs[0].notes if note.name == "har-redacted"]
    assert note.values["header"] == "Sec-WebSocket-Key, Cookie"
    assert b"redacted" not in found.connections[0].client.data


def test_lower_case_names_and_http2_without_websocket_are_no_fault() -> None:
    lower = {name.lower(): value for name, value in REQUEST.items()}
    assert report(entry(request=lower)).verdict == "healthy"


@pytest.mark.parametrize(("status", "verdict"), [(200, "healthy"), (403, "faulty")])
def test_a_websocket_inside_http2(status: int, verdict: str) -> None:
    pytest.importorskip("hpack")
    pseudo = {
        ":authority": "chat.example",
        ":method": "CONNECT",
        ":path": "/chat",
        ":protocol": "websocket",
        ":scheme": "https",
        "sec-websocket-version": "13",
        "origin": "https://chat.example",
        "cookie": "session=" + "x" * 3000,
    }
    each = entry("wss://chat.example/chat", pseudo, status, {"server": "nginx"}, _resourceType="websocket")
    each["request"]["httpVersion"] = "h2"
    found = report(each)
    request = found.connections[0].exchange.request
    assert request is not None
    assert request.head.value("cookie") == pseudo["cookie"]
    assert found.verdict == verdict
    assert found.primary == (None if status == 200 else "response-auth")


@pytest.mark.parametrize(
    ("error", "request_seen", "cause"),
    [
        ("net::ERR_CONNECTION_REFUSED", False, "connection-refused"),
        ("net::ERR_NAME_NOT_RESOLVED", False, "dns-failure"),
        ("net::ERR_CONNECTION_RESET", True, "reset-after-request"),
        ("Error during WebSocket handshake: Unexpected response code: 502", True, "response-5xx-upstream"),
    ],
)
def test_errors_are_judged_like_a_consoles_lines(error: str, request_seen: bool, cause: str) -> None:
    request = REQUEST if request_seen else {}
    failed = entry(request=request, status=0, response={}, answer={"_error": error}, _resourceType="websocket")
    assert report(failed).primary == cause
    told = entry(request=request, status=0, response={}, _resourceType="websocket")
    told["_webSocketMessages"] = [{"type": "error", "time": 1, "opcode": -1, "data": error}]
    assert report(told).primary == cause


def test_a_password_in_the_url_is_no_obstacle() -> None:
    failed = entry("wss://me:secret@chat.example/ws", {}, 0, {}, answer={"_error": "net::ERR_CONNECTION_REFUSED"})
    found = evidence(failed)
    assert "secret" not in found.lines[0].text
    assert diagnose_evidence(found).primary == "connection-refused"


def test_a_status_is_not_told_twice() -> None:
    error = "Error during WebSocket handshake: Unexpected response code: 404"
    failed = entry(status=404, response={"Server": "nginx"}, answer={"_error": error}, _resourceType="websocket")
    (found,) = [each for each in report(failed).findings if each.name == "response-404"]
    assert found.occurrences == 1
    assert found.values["server"] == "nginx"


def test_an_attempt_without_status_or_error_is_a_question() -> None:
    found = report(entry(request={}, status=0, response={}, _resourceType="websocket"))
    assert found.verdict == "undecided"
    assert found.findings
    assert found.next_steps


def test_ordinary_pages_are_not_told() -> None:
    page = entry("http://chat.example/", {"Host": "chat.example"}, 404, {"Server": "nginx"})
    poll = entry("http://chat.example/socket.io/?EIO=4&transport=polling", {"Host": "chat.example"}, 200, {})
    found = evidence(page, poll)
    assert not found.connections
    assert not found.lines
    assert found.inputs[0].notes[0].values == {"count": 0, "total": 2, "program": "WebInspector"}


def test_refused_polling_is_told() -> None:
    poll = entry(
        "http://chat.example/socket.io/?EIO=4&transport=polling&sid=x",
        {"Host": "chat.example", "Connection": "keep-alive"},
        400,
        {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        answer={"content": {"text": '{"code":1,"message":"Session ID unknown"}'}},
    )
    assert report(poll).primary == "socketio-sticky-session"


def test_the_body_of_a_refusal_is_read_as_exported() -> None:
    """The content is decoded already, whatever the headers say of its coding."""
    refused = entry(
        status=403,
        response={"Content-Encoding": "gzip", "Transfer-Encoding": "chunked", "Server": "x"},
        answer={"content": {"text": "b3JpZ2luIG5vdCBhbGxvd2Vk", "encoding": "base64"}},
    )
    assert report(refused).primary == "origin-rejected"


def test_close_frames_keep_their_codes() -> None:
    messages = [{"type": "receive", "time": 2, "opcode": 8, "data": "A/NvdmVy"}]  # 1011 "over"
    found = evidence(entry(_webSocketMessages=messages))
    (frame,) = found.connections[0].frames
    assert frame.span.side == "server"
    assert frame.payload == b"\x03\xf3over"
    assert "server-error-close" in errors(diagnose_evidence(found))


def test_places_lead_to_lines_of_the_file() -> None:
    log = {"log": {"entries": [entry("http://a/"), entry("ws://b/chat", startedDateTime="2026-11-22T13:33:45Z")]}}
    text = json.dumps(log, indent=2)
    found = read_har(io.BytesIO(text.encode()), "x.har")
    origin = found.connections[-1].client.origin_at(0)
    assert origin is not None
    assert origin.line is not None
    assert "ws://b/chat" in text.splitlines()[origin.line - 1]


def test_hostile_values_break_no_line() -> None:
    evil = {**REQUEST, "X": "a\r\nSec-WebSocket-Version: 8", "Y\r\nZ": "1", "": "2", "é": "3"}
    (connection,) = evidence(entry("ws://chat.example/a b\u00e9", evil)).connections
    head = connection.client.data
    assert head.startswith(b"GET /a%20b%C3%A9 HTTP/1.1\r\n")
    assert b"\r\nZ" not in head
    assert b"\xc3" not in head


@pytest.mark.parametrize("text", ['{"log": {', '{"log": {"entries": [}}', '{"log":{"a":' + "[" * 200_000])
def test_broken_json_is_one_clear_error(text: str) -> None:
    with pytest.raises(WsdiagError) as raised:
        read_har(io.BytesIO(text.encode()), "x.har")
    assert raised.value.name == "bad-har"


def test_a_file_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "MAX_HAR", 100)
    with pytest.raises(WsdiagError) as raised:
        read_har(io.BytesIO(b'{"log": {' + b" " * 200), "x.har")
    assert raised.value.name == "har-too-large"


def test_entries_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(har, "MAX_ENTRIES", 2)
    found = evidence(*[entry()] * 5)
    assert len(found.connections) == 2
    assert found.inputs[0].notes[-1].values == {"count": 3}


def test_a_har_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "anything.txt"
    path.write_text("\ufeff" + json.dumps({"log": {"entries": [entry()]}}), encoding="utf-8")
    found = read_all([str(path)])
    assert found.inputs[0].kind == "har"
    assert found.verdict == "healthy"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["ws://a/", "send"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        *(("request", name) for name in ("url", "method", "httpVersion", "headers")),
        *(("response", name) for name in ("status", "statusText", "headers", "content", "_error")),
        *((name,) for name in ("startedDateTime", "timings", "serverIPAddress", "_webSocketMessages", "request")),
        ("timings", "wait"),
    ]
)


@given(st.lists(st.tuples(PLACES, JSON), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_wrong_types_never_raise(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    each = entry(_resourceType="websocket")
    for path, value in changes:
        where: Any = each
        for name in path[:-1]:
            where = where[name] if isinstance(where, dict) and name in where else {}
        if isinstance(where, dict):
            where[path[-1]] = value
    diagnose_evidence(evidence(each))
