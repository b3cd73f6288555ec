"""Evidence from several inputs: one connection is counted once, packets outweigh lines, and ports are kept apart."""

import json
from pathlib import Path

import pytest

from wsdiag.inputs import read_all, read_capture
from wsdiag.model import ConnectionReport, Evidence, Finding, Report
from wsdiag.rules import claims, match, ports
from wsdiag.rules.story import Story
from wsdiag.wire.handshake import SAMPLE_KEY

SAMPLES = Path(__file__).parent.parent / "samples"
HEALTHY = SAMPLES / "healthy--ok-ws8-chromium" / "capture.pcap"  # port 21579, path /
PAGE = SAMPLES / "response-200--html200-nginx-spa-nodews" / "capture.pcap"  # port 21420, path /ws, answered 200
CLOSED = SAMPLES / "closed-without-response--close-noresp-nodews" / "capture.pcap"  # port 21490
ENCRYPTED = SAMPLES / "undecided--ned-tls-no-keys" / "capture.pcap"  # port 21717
WORKERMAN = SAMPLES / "listener-ws-scheme--wm4115-ws-listener-chromium"  # port 20103
PROXIED = SAMPLES / "proxy-stripped-upgrade--nginx11-noupgrade-tornado-nodews" / "capture.pcap"  # 21765 to 21766
FAILED = "WebSocket connection to '{}' failed: Error {}"
REFUSED = "in connection establishment: net::ERR_CONNECTION_REFUSED"
STATUS = "during WebSocket handshake: Unexpected response code: {}"
BAD_ACCEPT = "during WebSocket handshake: Incorrect 'Sec-WebSocket-Accept' header value"


def beside(capture: Path, tmp_path: Path, *lines: str) -> Report:
    """The report on a capture with a log of these lines beside it."""
    log = tmp_path / "client.log"
    log.write_text("\n".join(lines) + "\n")
    return read_all([str(capture), str(log)])


def named(report: Report, name: str) -> Finding:
    (found,) = [each for each in report.findings if each.name == name]
    return found


@pytest.mark.parametrize(
    ("what", "name", "got"),
    [
        (REFUSED, "connection-refused", "101"),
        (STATUS.format(200), "response-200", "101"),
        (STATUS.format(404), "response-404", "101"),
        ("during WebSocket handshake: net::ERR_CONNECTION_RESET", "reset-after-request", "101"),
        ("during WebSocket handshake: net::ERR_INVALID_HTTP_RESPONSE", "response-not-http", "101"),
    ],
)
def test_a_line_that_the_packets_deny_is_only_a_warning(tmp_path: Path, what: str, name: str, got: str) -> None:
    report = beside(HEALTHY, tmp_path, FAILED.format("ws://127.0.0.1:21579/", what))
    found = named(report, name)
    assert (found.severity, found.variant, found.values["got"]) == ("warning", claims.CONTRADICTED, got)
    assert report.verdict == "healthy"
    assert not [each for each in report.findings if each.severity == "error"]


@pytest.mark.parametrize(
    "url",
    ["ws://127.0.0.1:9000/", "ws://127.0.0.1:21579/other", "ws://10.1.2.3:21579/"],
    ids=["port", "path", "address"],
)
def test_a_line_about_another_connection_stands(tmp_path: Path, url: str) -> None:
    report = beside(HEALTHY, tmp_path, FAILED.format(url, STATUS.format(404)))
    found = named(report, "response-404")
    assert (found.severity, found.variant) == ("error", "")
    assert report.primary == "response-404"


def test_packets_that_show_nothing_deny_nothing(tmp_path: Path) -> None:
    report = beside(ENCRYPTED, tmp_path, FAILED.format("wss://127.0.0.1:21717/", STATUS.format(404)))
    assert report.primary == "response-404"


def test_another_status_in_the_packets_wins(tmp_path: Path) -> None:
    report = beside(PAGE, tmp_path, FAILED.format("ws://127.0.0.1:21420/ws", STATUS.format(404)))
    assert report.primary == "response-200"
    denied = named(report, "response-404")
    assert (denied.severity, denied.values["got"]) == ("warning", "200")
    assert "200" in str(named(report, "response-200").values["status"])


def test_the_same_status_agrees(tmp_path: Path) -> None:
    report = beside(PAGE, tmp_path, FAILED.format("ws://127.0.0.1:21420/ws", STATUS.format(200)))
    found = named(report, "response-200")
    assert (found.severity, found.variant, found.occurrences) == ("error", "", 2)


def test_a_refusal_beside_the_same_refusal_in_the_packets_stands(tmp_path: Path) -> None:
    capture = SAMPLES / "connection-refused--refused-localhost-ipv6-nodews" / "capture.pcap"
    report = beside(capture, tmp_path, FAILED.format("ws://[::1]:21085/", REFUSED))
    assert report.primary == "connection-refused"
    assert named(report, "connection-refused").severity == "error"


def test_a_right_accept_turns_the_blame_to_the_client(tmp_path: Path) -> None:
    report = beside(HEALTHY, tmp_path, FAILED.format("ws://127.0.0.1:21579/", BAD_ACCEPT))
    assert report.primary == "client-accept-check-wrong"
    assert named(report, "response-bad-accept").variant == claims.CONTRADICTED


def test_a_line_that_says_nothing_is_no_doubt_beside_packets(tmp_path: Path) -> None:
    report = beside(HEALTHY, tmp_path, "TypeError: Received network error or non-101 status code.")
    assert report.verdict == "healthy"


def test_what_a_client_invents_is_no_answer(tmp_path: Path) -> None:
    line = 'aiohttp.http_exceptions.BadStatusLine: 400, message="Bad status line:\\n  Expected HTTP/, RTSP/ or ICE/:"'
    assert beside(HEALTHY, tmp_path, line).verdict == "healthy"
    assert beside(PAGE, tmp_path, line).primary in ("response-200", "response-not-http")


# --- Ports -----------------------------------------------------------------------------------------------------------


def test_a_cause_at_one_port_explains_no_symptom_at_another() -> None:
    apart = read_all([str(CLOSED), str(WORKERMAN / "server.log")])
    assert named(apart, "listener-ws-scheme").values["port"] == 20103
    assert named(apart, "closed-without-response").values["port"] == 21490
    assert named(apart, "closed-without-response").consequence_of is None
    together = read_all([str(WORKERMAN / "capture.pcap"), str(WORKERMAN / "server.log")])
    assert named(together, "closed-without-response").consequence_of == "listener-ws-scheme"


def finding(name: str, **values: str | int) -> Finding:
    return Finding(name, "WS500", "error", "certain", "server", "", values)


def test_a_proxys_two_ports_belong_together() -> None:
    report = read_all([str(PROXIED)])
    with PROXIED.open("rb") as stream:
        evidence = read_capture(stream, "capture.pcap", ())
    known = ports.Ports(Story(evidence, report.connections, ()), ())
    assert not known.apart(finding("a", port=21766), finding("b", port=21765))
    assert known.apart(finding("a", port=9000), finding("b", port=21765))


def test_a_line_that_names_both_ports_links_them() -> None:
    story = Story(Evidence(), (), ())
    known = ports.Ports(story, [finding("x", port=80, upstream="http://127.0.0.1:9000/ws")])
    assert not known.apart(finding("a", port=9000), finding("b", port=80))
    assert known.apart(finding("a", port=9001), finding("b", port=80))
    assert not known.apart(finding("a"), finding("b", port=80))


def test_what_a_proxy_answers_may_be_caused_at_any_port() -> None:
    known = ports.Ports(Story(Evidence(), (), ()), ())
    assert not known.apart(finding("a", port=9000), finding("response-404", port=80, server="nginx/1.22"))
    assert not known.apart(finding("a", port=9000), finding("response-5xx-upstream", port=80))
    assert known.apart(finding("a", port=9000), finding("response-404", port=80, server="Workerman"))


# --- One connection, seen twice --------------------------------------------------------------------------------------


def har_of(report: ConnectionReport, path: Path, left_out: str = "") -> Path:
    """The connection as a browser would export it."""
    request, response = report.exchange.request, report.exchange.response
    assert request is not None
    assert response is not None

    def fields(headers: object) -> list[dict[str, str]]:
        return [
            {"name": each.name.text, "value": each.value.text}
            for each in headers  # type: ignore[attr-defined]
            if each.name.text.lower() != left_out
        ]

    entry = {
        "startedDateTime": "2001-01-01T00:00:00+09:00",  # the clocks need not agree
        "request": {
            "method": "GET",
            "url": "ws://localhost:21579/",
            "httpVersion": "HTTP/1.1",
            "headers": fields(request.head.headers),
        },
        "response": {"status": response.status, "headers": fields(response.head.headers)},
    }
    path.write_text(json.dumps({"log": {"creator": {"name": "mitmproxy"}, "entries": [entry]}}))
    return path


def test_a_connection_in_a_capture_and_in_a_har_is_counted_once(tmp_path: Path) -> None:
    (seen,) = read_all([str(HEALTHY)]).connections
    har = har_of(seen, tmp_path / "x.har")
    report = read_all([str(har), str(HEALTHY)])
    assert match.same_connection(*report.connections)
    established = named(report, "connection-established")
    assert established.occurrences == 1
    assert {place.source for place in established.places} == {str(HEALTHY)}


def test_a_request_in_a_log_does_not_ask_for_an_answer_that_was_captured() -> None:
    report = read_all([str(WORKERMAN / "server.log"), str(WORKERMAN / "capture.pcap")])
    assert report.primary == "listener-ws-scheme"
    assert not [each for each in report.findings if each.name == "correct-request"]


def test_two_legs_of_a_proxy_are_two_connections(tmp_path: Path) -> None:
    (seen,) = read_all([str(HEALTHY)]).connections
    har = har_of(seen, tmp_path / "x.har", left_out="upgrade")
    (other,) = read_all([str(har)]).connections
    assert not match.same_connection(seen, other)


def test_connections_of_one_input_are_never_the_same() -> None:
    report = read_all([str(PROXIED)])
    assert len(report.connections) == 2
    assert not match.same_connection(*report.connections)
    assert match.counted_once(report.connections) == report.connections


def test_the_samples_key_alone_is_nobodys(tmp_path: Path) -> None:
    """Everybody sends RFC 6455's sample key with curl; only the same bytes are then the same request."""
    heads = [
        f"GET /chat HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {SAMPLE_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        for agent in ("curl/8.5", "curl/8.5", "curl/8.6")
    ]
    seen = []
    for number, head in enumerate(heads):
        path = tmp_path / f"{number}.log"
        path.write_text(head.encode().hex() + "\n")
        seen += read_all([str(path)]).connections
    assert match.same_connection(seen[0], seen[1])
    assert not match.same_connection(seen[1], seen[2])


def test_headers_lost_between_two_inputs_name_the_proxy(tmp_path: Path) -> None:
    """The browser's export has the upgrade, the bytes in the server's log have the same key and no upgrade."""
    key = "T9XgknwT1KkQtLQv3bJ+jQ=="
    sent = f"Host: a.example\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    logs = []
    for name, more in (("client", upgrade), ("server", "X-Request-Id: 7\r\n")):
        logs.append(tmp_path / f"{name}.log")
        logs[-1].write_text(f"GET /chat HTTP/1.1\r\n{sent}{more}\r\n".encode().hex() + "\n")
    report = read_all([str(each) for each in logs])
    found = named(report, "proxy-stripped-upgrade")
    assert report.primary == "proxy-stripped-upgrade"
    assert (found.variant, found.certainty, found.values["header"]) == ("both-inputs", "certain", "upgrade")
