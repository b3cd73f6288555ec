"""The pipeline in code: evidence is read into exchanges, judged by the rules, and concluded into one report.

Reading files and packets is left to `intake`, ranking to `verdict`, speaking to `render`.
"""

from collections.abc import Iterable

from wsdiag.model import (
    SERVER,
    Connection,
    ConnectionReport,
    Evidence,
    Exchange,
    Hit,
    Http2Preface,
    LogLine,
    Origin,
    Report,
    Response,
    Span,
)
from wsdiag.rules import judge
from wsdiag.verdict import Verdicts, conclude_connection, conclude_report
from wsdiag.wire.exchange import read

# What a server's refusal may say in its body; a page that was served instead of a refusal quotes all sorts of things.
BODY_STATUSES = range(400, 600)


def diagnose_connection(connection: Connection) -> ConnectionReport:
    """One connection's own report."""
    exchange = read(connection)
    if any(isinstance(element, Http2Preface) for element in exchange.client):
        from wsdiag.wire.h2websocket import show_websockets

        exchange = show_websockets(exchange)
    verdicts: Verdicts = [(rule.cause, rule.certainty, found) for rule, found in judge(exchange)]
    verdicts += _said_in_body(exchange)
    return conclude_connection(exchange, verdicts)


def diagnose_evidence(evidence: Evidence, reports: Iterable[ConnectionReport] | None = None) -> Report:
    """The whole report on everything that the intake found.

    `reports` are the connections' own reports, if the caller has them already (a capture's are made as it is read).
    """
    if reports is None:
        reports = [diagnose_connection(connection) for connection in evidence.connections]
    if not evidence.lines:
        return conclude_report(evidence, tuple(reports), ())
    from wsdiag.rules.reported import find

    return conclude_report(evidence, tuple(reports), tuple(find(evidence.lines)))


def _said_in_body(exchange: Exchange) -> Verdicts:
    """Causes that the refusal's own body names: servers say there what they would say in a log."""
    response = exchange.response
    if not isinstance(response, Response) or response.status not in BODY_STATUSES or not response.content:
        return []
    from wsdiag.rules import catalogue
    from wsdiag.rules.reported import find

    text = response.content.decode("utf-8", "replace")
    lines = [LogLine(line, Origin("", number)) for number, line in enumerate(text.splitlines(), 1)]
    where = response.body or Span(SERVER, response.head.span.stop, response.span.stop)
    causes = catalogue()
    said: Verdicts = []
    for found in find(lines):
        cause = causes.get(found.name)
        if found.kind != "rule" or cause is None or cause.severity == "note" or cause.symptom:
            continue
        hit = Hit((where,), found.hit.values, found.hit.variant, found.hit.certainty or "likely")
        said.append((cause, hit.certainty or "likely", hit))
    return said
