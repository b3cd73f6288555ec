"""Views of one connection from several inputs: which of them are the same connection, and which are a proxy's two legs.

Clocks and zones of logs differ, so nothing is matched by the hour: keys, bytes, ports and paths are compared. What
packets say against a log is left to `claims`, which ports belong together to `ports`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wsdiag.model import Certainty, ConnectionReport, Hit, Request
from wsdiag.rules import Cause, catalogue, hit
from wsdiag.rules.situation import accepted, attempt
from wsdiag.rules.story import HANDSHAKE_HEADERS
from wsdiag.wire.handshake import SAMPLE_KEY

# Requests of fewer bytes than this are all alike ("GET / HTTP/1.1" and an end).
ENOUGH_BYTES = 64
# Kinds of evidence that saw what went over the wire, at known addresses.
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


# --- A proxy's two legs ----------------------------------------------------------------------------------------------


def lost_between_inputs(reports: Sequence[ConnectionReport]) -> Iterator[tuple[Cause, Certainty, Hit]]:
    """The same key in two inputs, and what reached the second lacks the upgrade: a proxy between them dropped it."""
    views: dict[str, list[ConnectionReport]] = {}
    for report in reports:
        request = attempt(report.exchange)
        key = request.head.value("sec-websocket-key") if request is not None else ""
        if key and key != SAMPLE_KEY:
            views.setdefault(key, []).append(report)
    for each in views.values():
        for outer in each[:MAX_VIEWS]:
            for inner in each[:MAX_VIEWS]:
                lost = _lost(outer, inner)
                if lost:
                    version = inner.exchange.request.version.text if inner.exchange.request is not None else ""
                    yield (
                        catalogue()["proxy-stripped-upgrade"],
                        "certain",
                        hit(variant="both-inputs", header=", ".join(lost), version=version),
                    )
                    return


def _lost(outer: ConnectionReport, inner: ConnectionReport) -> list[str]:
    """The headers of the upgrade that the request has in the outer view and lacks in the inner one."""
    asked, passed = attempt(outer.exchange), attempt(inner.exchange)
    if asked is None or passed is None or source_of(outer) == source_of(inner) or accepted(outer.exchange):
        return []
    if "websocket" not in asked.head.tokens("upgrade") or not passed.head.lacks("upgrade"):
        return []
    return [name for name in HANDSHAKE_HEADERS if asked.head.first(name) is not None and passed.head.lacks(name)]
