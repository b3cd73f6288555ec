"""Evidence of one connection from several inputs: which pieces are the same one, what packets say against a log, and
which ports belong together.

Clocks and zones of logs differ, so nothing is matched by the hour: keys, bytes, ports and paths are compared. What a
finding means is left to the rules, the ranking to those who call this.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from wsdiag.model import ConnectionReport, Finding, Hit, Request, Value, Values, wants_upgrade
from wsdiag.rules import catalogue
from wsdiag.rules.situation import accepted, attempt
from wsdiag.rules.status import cause_of_status
from wsdiag.rules.story import HANDSHAKE_HEADERS, Story, legs
from wsdiag.wire.handshake import SAMPLE_KEY

Q = TypeVar("Q")

# --- One connection, seen twice --------------------------------------------------------------------------------------

# Requests of fewer bytes than this are all alike ("GET / HTTP/1.1" and an end).
ENOUGH_BYTES = 64
# Kinds of evidence that saw what went over the wire.
PACKETS = ("capture", "probe")


def same_connection(first: ConnectionReport, second: ConnectionReport) -> bool:
    """True for two views of one connection from different inputs: the same key, or the very same request.

    A proxy hands the key on. Two views whose requests carry other headers of the handshake, or that lead to other
    servers, are its two legs and not the same connection.
    """
    if source_of(first) == source_of(second) or not _same_server(first, second):
        return False
    one, other = attempt(first.exchange), attempt(second.exchange)
    if one is None or other is None or not _same_headers(one, other):
        return False
    key = one.head.value("sec-websocket-key")
    if key and key != SAMPLE_KEY and key == other.head.value("sec-websocket-key"):
        return True
    mine, theirs = first.exchange.connection.client.data, second.exchange.connection.client.data
    size = min(one.span.stop, other.span.stop)
    return size >= ENOUGH_BYTES and mine[:size] == theirs[:size]


def source_of(report: ConnectionReport) -> str:
    """The name of the input that the connection was read from."""
    connection = report.exchange.connection
    for stream in (connection.client, connection.server):
        if stream.marks:
            return stream.marks[0].origin.source
    return ""


def _same_server(first: ConnectionReport, second: ConnectionReport) -> bool:
    one, other = first.exchange.connection, second.exchange.connection
    if one.kind not in PACKETS or other.kind not in PACKETS:
        return True  # names, mapped ports and proxies settings make other addresses of the same server
    return one.server_endpoint == other.server_endpoint


def _same_headers(one: Request, other: Request) -> bool:
    if not one.head.complete or not other.head.complete:
        return True
    return all((one.head.first(name) is None) == (other.head.first(name) is None) for name in HANDSHAKE_HEADERS)


def counted_once(reports: tuple[ConnectionReport, ...]) -> tuple[ConnectionReport, ...]:
    """The reports for telling: what was seen twice is told by the view that shows more.

    Of the other view only causes are kept that the richer one does not know (it may have been cut).
    """
    if len(reports) < 2 or len({source_of(each) for each in reports}) < 2:
        return reports
    views: dict[str, list[int]] = {}
    for index, report in enumerate(reports):
        request = attempt(report.exchange)
        if request is not None:
            views.setdefault(request.head.value("sec-websocket-key"), []).append(index)
    told = list(reports)
    for indexes in views.values():
        _absorb(told, sorted(indexes, key=lambda index: richness(reports[index]), reverse=True))
    return tuple(told)


def _absorb(told: list[ConnectionReport], indexes: Sequence[int]) -> None:
    """Let each view, the richest first, speak for one view of every other input."""
    absorbed: set[int] = set()
    for position, richer in enumerate(indexes[:MAX_VIEWS]):
        if richer in absorbed:
            continue
        sources: set[str] = set()
        for poorer in indexes[position + 1 : MAX_VIEWS]:
            source = source_of(told[poorer])
            if poorer not in absorbed and source not in sources and same_connection(told[richer], told[poorer]):
                absorbed.add(poorer)
                sources.add(source)
                told[poorer] = _beside(told[poorer], told[richer])


MAX_VIEWS = 64  # connections with one key that are compared; a fixed key in a loop may make thousands


def richness(report: ConnectionReport) -> tuple[bool, bool, bool, int]:
    """How much a view shows: the whole answer, any answer, packets, bytes."""
    connection, response = report.exchange.connection, report.exchange.response
    whole = response is not None and response.head.complete
    size = len(connection.client.data) + len(connection.server.data)
    return whole, connection.server.seen, connection.kind in PACKETS, size


def _beside(poorer: ConnectionReport, richer: ConnectionReport) -> ConnectionReport:
    known = {found.name for found in richer.findings}
    causes = catalogue()
    kept = [
        found
        for found in poorer.findings
        if found.name not in known
        and found.severity == "error"
        and found.certainty != "possible"
        and not causes[found.name].symptom
    ]
    return poorer._replace(findings=tuple(kept))


# --- Packets against lines -------------------------------------------------------------------------------------------

CONTRADICTED = "contradicted"
# What a line may claim and packets disprove: that the server was not reached, that it said nothing, what it said.
UNREACHED = frozenset({"connection-refused", "connect-timeout"})
SILENT = frozenset({"closed-without-response", "reset-after-request", "no-response"})
STATUSES = frozenset(
    {
        *(f"response-{name}" for name in ("200", "400", "404", "426", "429")),
        *(f"response-{name}" for name in ("redirect", "auth", "unexpected-status", "5xx-upstream")),
    }
)
FAULTY_ANSWERS = frozenset(
    {
        *(f"response-{name}" for name in ("bad-accept", "missing-accept", "missing-upgrade", "missing-connection")),
        "response-not-http",
    }
)
CLAIMS = UNREACHED | SILENT | STATUSES | FAULTY_ANSWERS
# Variants that speak of another connection than the client's: a proxy's or a handler's own.
OF_OTHERS = frozenset({"upstream", "backing-service", "broadcast", "unix-socket", "firewall", "address"})
AFTER_HANDSHAKE = "6"  # the third character of the codes of causes that come after it
_ADDRESS = re.compile(r"[0-9.]{7,15}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def beside_packets(
    told: Sequence[Finding], asked: Sequence[Q], reports: Sequence[ConnectionReport]
) -> tuple[list[Finding], list[Q]]:
    """What lines told, with their questions (one for each): a claim that packets disprove becomes a warning.

    It is left out altogether where another attempt shows the same fault, and its question goes in either case.
    """
    against = [_disproof(found, reports) for found in told]
    if not any(against):
        return list(told), list(asked)
    standing = {found.name for found, got in zip(told, against, strict=True) if not got}
    standing |= {found.name for report in reports for found in report.findings if found.certainty != "possible"}
    findings: list[Finding] = []
    questions: list[Q] = []
    for found, question, got in zip(told, asked, against, strict=True):
        if not got:
            findings.append(found)
            questions.append(question)
        elif found.name not in standing:
            values: Values = {**found.values, "got": got}
            findings.append(
                found._replace(severity="warning", variant=CONTRADICTED, values=values, next_steps=(), blame="nobody")
            )
    return findings, questions


def open_doubts(doubts: Sequence[Hit], reports: Sequence[ConnectionReport]) -> list[Hit]:
    """The lines that only say that something failed, without those whose handshake the packets show to succeed."""
    causes = catalogue()
    return [
        doubt
        for doubt in doubts
        if any(each.name in causes and causes[each.name].code[2] == AFTER_HANDSHAKE for each in doubt.candidates)
        or not _all_accepted(_attempts(doubt.values, reports))
    ]


def _all_accepted(attempts: Sequence[ConnectionReport]) -> bool:
    return bool(attempts) and all(each.verdict == "healthy" and accepted(each.exchange) for each in attempts)


def _disproof(found: Finding, reports: Sequence[ConnectionReport]) -> str:
    """What the packets show of the very connection in place of the line's claim; empty where they do not deny it."""
    if (
        found.name not in CLAIMS
        or found.variant in OF_OTHERS
        or found.severity != "error"
        or "upstream" in found.values
    ):
        return ""
    if found.name in UNREACHED:
        if not isinstance(found.values.get("port"), int):
            return ""
        reached = [each for each in reports if _is_packets(each) and _at(found.values, each)]
        shown = [_reached(each) for each in reached]
    else:
        shown = [_answered(found, each) for each in _attempts(found.values, reports)]
    return shown[0] if shown and all(shown) else ""


def _attempts(values: Values, reports: Sequence[ConnectionReport]) -> list[ConnectionReport]:
    """The connections that a line with these values may be about; none where that cannot be told.

    A connection whose request was not seen, or is encrypted, may be the one, and then nothing is disproved.
    """
    found = []
    path = str(values.get("path", "")).split("?")[0]
    for report in reports:
        request = report.exchange.request
        if not _is_packets(report) or not _at(values, report) or (request and not wants_upgrade(request)):
            continue
        if path and request is not None and request.target.text.split("?")[0] != path:
            continue
        found.append(report)
    ports = {each.exchange.connection.server_endpoint for each in found}
    return found if isinstance(values.get("port"), int) or len(ports) == 1 else []


def _is_packets(report: ConnectionReport) -> bool:
    return report.exchange.connection.kind in PACKETS


def _at(values: Values, report: ConnectionReport) -> bool:
    """True where the line's port, and its address if it is a number, are those of the connection's server."""
    server = report.exchange.connection.server_endpoint
    if server is None:
        return False
    host = str(values.get("host", "")).strip("[]")
    if host and _ADDRESS.fullmatch(host) and host != server.host:
        return False
    return values.get("port", server.port) == server.port


def _reached(report: ConnectionReport) -> str:
    transport = report.exchange.connection.transport
    if transport is None or transport.opening not in ("established", "middle"):
        return ""
    response = report.exchange.response
    return str(response.status) if response is not None and response.status else "SYN, ACK"


def _answered(found: Finding, report: ConnectionReport) -> str:
    """The status that the packets show, where the line claims something else."""
    response = report.exchange.response
    if response is None or not response.status:
        return ""
    if found.name in SILENT:
        return str(response.status)
    if found.name in FAULTY_ANSWERS:
        return "101" if _all_accepted((report,)) else ""
    claimed = found.values.get("status")
    other = response.status != claimed if isinstance(claimed, int) else cause_of_status(response.status) != found.name
    return str(response.status) if other else ""


# --- Ports that belong together --------------------------------------------------------------------------------------

_PORT = re.compile(r":(\d{1,5})(?:[/?\"']|$)")
# Programs that answer for a server at another port.
PROXIES = (
    "nginx",
    "openresty",
    "tengine",
    "haproxy",
    "caddy",
    "traefik",
    "envoy",
    "apache",
    "cloudflare",
    "awselb",
    "iis",
    "varnish",
    "kong",
    "vercel",
    "cloudfront",
)


class Ports:
    """Which ports belong to one way from client to server: a proxy's front and back are linked by what shows both."""

    def __init__(self, story: Story, findings: Iterable[Finding]) -> None:
        self._group: dict[int, int] = {}
        for values in (*(fact.hit.values for fact in story.facts), *(found.values for found in findings)):
            self._link(ports_in(values))
        servers = [each.exchange.connection.server_endpoint for each in story.reports]
        by_id = {each.exchange.connection.id: server for each, server in zip(story.reports, servers, strict=True)}
        pairs = [(by_id.get(pair.outer), by_id.get(pair.inner)) for pair in story.evidence.pairings]
        pairs += [
            (outer.exchange.connection.server_endpoint, inner.exchange.connection.server_endpoint)
            for outer, inner in legs(story)
        ]
        for outer, inner in pairs:
            if outer is not None and inner is not None:
                self._link([outer.port, inner.port])

    def _link(self, ports: Sequence[int]) -> None:
        for port in ports[1:]:
            self._group[self._root(port)] = self._root(ports[0])

    def _root(self, port: int) -> int:
        while self._group.get(port, port) != port:
            port = self._group[port]
        return port

    def apart(self, cause: Finding, found: Finding) -> bool:
        """True when both ports are known, are different ones, and nothing shows a way from one to the other."""
        one, other = cause.values.get("port"), found.values.get("port")
        if not isinstance(one, int) or not isinstance(other, int) or one == other:
            return False
        return self._root(one) != self._root(other) and not _of_proxy(cause) and not _of_proxy(found)


def ports_in(values: Values) -> list[int]:
    """The ports that one line or finding names: its own, and those in addresses beside it."""
    ports = [value for value in (values.get("port"),) if isinstance(value, int)]
    for name in ("upstream", "address", "url"):
        match = _PORT.search(str(values.get(name, "")))
        if match:
            ports.append(int(match[1]))
    return ports


def _of_proxy(found: Finding) -> bool:
    """True where what was found is (or may well be) a proxy's word about a server at another port."""
    if found.blame == "proxy" or found.name == "response-5xx-upstream":
        return True
    said: Value = found.values.get("server", "")
    return any(name in str(said).lower() for name in PROXIES)


def told_apart(
    findings: list[Finding], ports: Ports, explained: Callable[[Sequence[Finding]], list[Finding]]
) -> list[Finding]:
    """The findings, none of which is explained by a cause at a port that has nothing to do with it.

    `explained` is asked again, with the causes that may explain the finding.
    """
    by_name = {found.name: found for found in findings}
    result = []
    for found in findings:
        cause = by_name.get(found.consequence_of or "")
        if cause is not None and ports.apart(cause, found):
            alone = found._replace(consequence_of=None)
            others = [each for each in findings if each is not found and not ports.apart(each, found)]
            found = next(each for each in explained([alone, *others]) if each.name == found.name)
        result.append(found)
    return result
