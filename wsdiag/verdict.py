"""Concluding: hits become findings, the root cause comes first, its consequences and candidates under it.

What the hits are is for `rules`, what they are called for `render`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from wsdiag.model import (
    NO_VALUES,
    Candidate,
    Certainty,
    ConnectionReport,
    Evidence,
    Exchange,
    Finding,
    Hit,
    LineSpan,
    NextStep,
    Place,
    Report,
    Severity,
    Span,
    Values,
    Verdict,
)
from wsdiag.rules import Cause, catalogue
from wsdiag.rules.situation import accepted
from wsdiag.rules.story import Story, contradictions, retell
from wsdiag.steps import step

if TYPE_CHECKING:
    from wsdiag.rules.reported import Reported  # at run time only where there are lines

# A hit with the cause it was found for and the certainty that the rule gives it.
Verdicts: TypeAlias = list[tuple[Cause, Certainty, Hit]]

CERTAINTIES: dict[Certainty, int] = {"certain": 0, "likely": 1, "possible": 2}
SEVERITIES: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
# Visitors at the wrong door: they matter less than any connection that really tried a WebSocket.
STRAYS = frozenset({"plain-http-request", "not-a-websocket-client", "flash-policy-request"})
# A server that does not start, or whose listener is of the wrong kind, is to be mended before all else.
FOREMOST = {
    "listener-ws-scheme": 0,
    "port-in-use": 1,
    "client-websocket-scheme": 1,
    "client-bad-url": 1,
    "mixed-content": 1,
}
MAX_PLACES = 20  # of one finding; a capture may hold thousands, and `occurrences` counts them all
DEFAULT_STEPS = ("ask-server-log", "curl-upgrade")


# --- One connection --------------------------------------------------------------------------------------------------


def conclude_connection(exchange: Exchange, verdicts: Verdicts) -> ConnectionReport:
    """One connection's findings in the order an expert would tell them, its verdict and its root cause."""
    verdicts = contradictions(exchange, verdicts)
    forgiven = accepted(exchange)
    findings = []
    for cause, certainty, hit in verdicts:
        found = _finding(cause, certainty, hit, exchange, "warning" if forgiven and cause.forgiven else None)
        # A server may still forgive what it has not answered yet.
        findings.append(found._replace(certainty="possible") if cause.forgiven and _unanswered_yet(exchange) else found)
    findings = _merged(findings)
    wanted = [(cause.name, hit) for cause, _, hit in verdicts]
    findings = _explained(findings)
    findings = [*findings, *_candidates(findings, wanted, catalogue())]
    findings = sorted(findings, key=_rank)
    verdict = _verdict(findings, established=any(each.name == "connection-established" for each in findings))
    return ConnectionReport(exchange, verdict, _primary(findings, verdict), tuple(findings))


def _unanswered_yet(exchange: Exchange) -> bool:
    """True when the capture ends before the server said anything or anybody closed."""
    transport = exchange.connection.transport
    return transport is not None and transport.closer is None and exchange.response is None


def _finding(
    cause: Cause, certainty: Certainty, hit: Hit, exchange: Exchange | None, severity: Severity | None
) -> Finding:
    return Finding(
        cause.name,
        cause.code,
        severity or hit.severity or cause.severity,
        hit.certainty or certainty,
        hit.blame or cause.blame,
        cause.reference,
        hit.values,
        hit.variant,
        tuple(_place(span, exchange) for span in hit.spans),
        next_steps=hit.next_steps or cause.next_steps,
    )


def _place(span: Span | LineSpan, exchange: Exchange | None) -> Place:
    if isinstance(span, LineSpan):
        return Place(
            span.origin.source, span.origin.line, span.origin.packet, None, None, span.start, span.stop, span.text
        )
    assert exchange is not None
    origin = exchange.connection.stream(span.side).origin_at(span.start)
    source, line, packet = (origin.source, origin.line, origin.packet) if origin else ("", None, None)
    return Place(source, line, packet, exchange.connection.id, span.side, span.start, span.stop)


# --- From hits to findings -------------------------------------------------------------------------------------------


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one name become one: the surest speaks, the places and values of all are kept."""
    merged: dict[str, Finding] = {}
    for found in findings:
        known = merged.get(found.name)
        if known is None:
            merged[found.name] = found
            continue
        first, second = (known, found) if _weight(known) <= _weight(found) else (found, known)
        merged[found.name] = first._replace(
            values={**second.values, **first.values},
            variant=first.variant or second.variant,
            places=_united(first.places, second.places),
            occurrences=known.occurrences + found.occurrences,
        )
    return list(merged.values())


def _united(first: tuple[Place, ...], second: tuple[Place, ...]) -> tuple[Place, ...]:
    united = dict.fromkeys((*first, *second))
    return tuple(united)[:MAX_PLACES]


def _weight(found: Finding) -> tuple[int, int]:
    return SEVERITIES[found.severity], CERTAINTIES[found.certainty]


def _is_cause(found: Finding, causes: dict[str, Cause]) -> bool:
    """True for a root cause that may explain others: an error that is at least likely and no mere symptom."""
    return found.severity == "error" and found.certainty != "possible" and not causes[found.name].symptom


def _explained(findings: Sequence[Finding]) -> list[Finding]:
    """Mark what another finding explains: by its list of consequences, or as a symptom gives way to a cause."""
    causes = catalogue()
    explained = []
    for found in findings:
        by = found.consequence_of
        if by is None and found.severity != "note":
            for other in sorted(findings, key=_rank):
                if other.name == found.name or other.severity != "error" or other.certainty == "possible":
                    continue
                surer = CERTAINTIES[other.certainty] <= CERTAINTIES[found.certainty] or causes[found.name].symptom
                if surer and found.name in causes[other.name].masks and not _masked_back(other, found, causes):
                    by = other.name
                    break
        if by is None and causes[found.name].symptom:
            by = next((each.name for each in sorted(findings, key=_rank) if _explains(each, found, causes)), None)
        explained.append(found._replace(consequence_of=by) if by else found)
    return _without_rings(explained)


def _masked_back(other: Finding, found: Finding, causes: dict[str, Cause]) -> bool:
    """True when the two explain each other and `found` is the better known of them."""
    return other.name in causes[found.name].masks and _rank(found) <= _rank(other)


def _explains(other: Finding, found: Finding, causes: dict[str, Cause]) -> bool:
    return other.name != found.name and _is_cause(other, causes) and other.name not in causes[found.name].masks


def _without_rings(findings: list[Finding]) -> list[Finding]:
    """Let every chain of consequences end at a finding that is none: a ring would leave nothing to tell."""
    by_name = {found.name: found for found in findings}
    result = []
    for found in findings:
        seen = {found.name}
        other = found.consequence_of
        while other is not None and other in by_name and other not in seen:
            seen.add(other)
            other = by_name[other].consequence_of
        result.append(found._replace(consequence_of=None) if other == found.name else found)
    return result


def _candidates(
    findings: Sequence[Finding], wanted: Iterable[tuple[str, Hit]], causes: dict[str, Cause]
) -> list[Finding]:
    """The possible causes of every symptom that nothing explains, in the order an expert would check them."""
    open_names = {found.name for found in findings if found.consequence_of is None}
    known = {found.name for found in findings}
    settled = any(_is_cause(found, causes) for found in findings)
    added: dict[str, Finding] = {}
    for name, hit in wanted:
        if name not in open_names or (settled and not causes[name].symptom):
            continue
        for candidate in hit.candidates or tuple(Candidate(each) for each in causes[name].candidates):
            cause = causes.get(candidate.name)
            if cause is None or cause.name in known or cause.name in added:
                continue
            values: Values = {**_places_only(hit.values), **candidate.values}
            added[cause.name] = Finding(
                cause.name, cause.code, "error", "possible", cause.blame, cause.reference, values, candidate.variant
            )
    return list(added.values())


# What a symptom knows that is also true of its causes.
SHARED_VALUES = ("host", "port", "path", "url", "scheme", "address", "framework", "program")


def _places_only(values: Values) -> Values:
    return {name: values[name] for name in SHARED_VALUES if name in values}


# --- Order, verdict, primary -----------------------------------------------------------------------------------------


def _rank(found: Finding) -> tuple[int, int, int, int, int, int, int]:
    """The order of telling: root causes, symptoms, warnings, candidates, consequences, notes."""
    causes = catalogue()
    if found.severity == "note":
        kind = 5
    elif found.consequence_of is not None:
        kind = 4
    elif found.severity == "warning":
        kind = 3
    elif found.certainty == "possible":
        kind = 2
    else:
        kind = 1 if causes[found.name].symptom else 0
    candidate = kind == 2
    return (
        kind,
        0 if candidate else int(found.name in STRAYS),
        0 if candidate else FOREMOST.get(found.name, 9),
        0 if candidate else CERTAINTIES[found.certainty],
        0 if candidate else -found.occurrences,
        0 if candidate else _depth(found.code),
        0,
    )


def _depth(code: str) -> int:
    """Causes nearer to the start of a connection come first: transport, listener, proxy, request, response, frames."""
    return {"5": 0, "2": 1, "7": 2, "3": 3, "4": 4, "6": 5}.get(code[2:3], 6)


def _verdict(findings: Sequence[Finding], *, established: bool) -> Verdict:
    errors = [found for found in findings if found.severity == "error" and found.consequence_of is None]
    if any(found.certainty != "possible" for found in errors):
        return "faulty"
    return "healthy" if established and not errors else "undecided"


def _primary(findings: Sequence[Finding], verdict: Verdict) -> str | None:
    if verdict != "faulty":
        return None
    for found in findings:
        if found.severity == "error" and found.consequence_of is None and found.certainty != "possible":
            return found.name
    return None


# --- The whole -------------------------------------------------------------------------------------------------------


def conclude_report(
    evidence: Evidence, reports: tuple[ConnectionReport, ...], reported: Sequence["Reported"]
) -> Report:
    """One ranked story from all connections and all lines."""
    causes = catalogue()
    story = Story(evidence, reports, tuple(each for each in reported if each.kind == "fact"))
    wanted: list[tuple[str, Hit]] = []
    told: list[Finding] = []
    for each in reported:
        if each.kind == "fact":
            continue
        if each.kind == "candidates":
            wanted.append(("", each.hit))
            continue
        cause = causes.get(each.name)
        if cause is not None:
            told.append(_finding(cause, each.hit.certainty or "likely", each.hit, None, None))
            wanted.append((cause.name, each.hit))
    for cause, certainty, hit in retell(story, told):
        told.append(_finding(cause, certainty, hit, None, None))
    from_connections = [
        found._replace(consequence_of=None)
        for report in reports
        for found in report.findings
        if found.certainty != "possible" or found.places
    ]
    if any(report.verdict == "healthy" for report in reports):
        # Beside a WebSocket that works, a visitor who said nothing is nobody to ask about.
        from_connections = [
            each for each in from_connections if each.certainty != "possible" or each.name not in STRAYS
        ]
        from_connections = _reached_in_the_end(from_connections, reports)
        # A page quoted beside the 101, with no request that asks for a WebSocket, is just a page.
        pages = {found for report in reports if report.exchange.request is None for found in _ids(report)}
        from_connections = [
            each for each in from_connections if not causes[each.name].symptom or _id(each) not in pages
        ]
    findings = [story.filled(found) for found in _merged((*told, *from_connections))]
    findings = _explained(findings)
    # Bytes know more of their candidates than a line does, so theirs come first.
    asked: list[tuple[str, Hit]] = []
    for report in reports:
        asked += [
            (found.name, _as_hit(found, report))
            for found in report.findings
            if causes[found.name].candidates or causes[found.name].symptom
        ]
    known = {found.name for found in findings}
    open_questions = [*asked, *((name, hit) for name, hit in wanted if name)]
    established = any(found.name == "connection-established" for found in findings)
    doubts = (
        [] if _verdict(findings, established=established) == "faulty" else [hit for name, hit in wanted if not name]
    )
    if established:
        doubts = [_after_handshake(hit, causes) for hit in doubts]
    added = _candidates(findings, open_questions, causes)
    added += [
        each for each in _doubts(doubts, causes) if each.name not in known and each.name not in {a.name for a in added}
    ]
    findings = sorted([*findings, *(story.filled(each) for each in added)], key=_rank)
    verdict = _verdict(findings, established=established)
    steps = _next_steps(findings, doubts, verdict, story)
    return Report(
        evidence.inputs, verdict, _primary(findings, verdict), tuple(findings), steps, reports, evidence.capture
    )


def _with_lines(report: ConnectionReport, findings: Sequence[Finding]) -> ConnectionReport:
    """A dump's own verdict, when the very line that it stands in names the cause (Workerman prints both at once)."""
    marks = report.exchange.connection.client.marks
    if report.exchange.connection.kind != "dump" or not marks:
        return report
    origin = marks[0].origin
    for found in findings:
        told = any(
            place.connection is None and (place.source, place.line) == (origin.source, origin.line)
            for place in found.places
        )
        if told and found.severity == "error" and found.certainty != "possible" and found.consequence_of is None:
            return report._replace(verdict="faulty", primary=found.name)
    return report


def _as_hit(found: Finding, report: ConnectionReport) -> Hit:
    """A connection's symptom as a question again: its candidates are the possible findings beside it."""
    candidates = tuple(
        Candidate(each.name, each.variant, each.values)
        for each in report.findings
        if each.certainty == "possible" and not each.places
    )
    return Hit((), found.values, found.variant, candidates=candidates)


def _id(found: Finding) -> tuple[str, tuple[Place, ...]]:
    return found.name, found.places


def _ids(report: ConnectionReport) -> list[tuple[str, tuple[Place, ...]]]:
    return [_id(found) for found in report.findings]


def _reached_in_the_end(findings: list[Finding], reports: Sequence[ConnectionReport]) -> list[Finding]:
    """A refusal at a port that another connection reached (IPv6 first, then IPv4; a restart) is only a warning."""
    reached = {
        report.exchange.connection.server_endpoint.port
        for report in reports
        if report.verdict == "healthy" and report.exchange.connection.server_endpoint is not None
    }
    return [
        each._replace(severity="warning")
        if each.name in ("connection-refused", "connect-timeout") and each.values.get("port") in reached
        else each
        for each in findings
    ]


def _after_handshake(hit: Hit, causes: dict[str, Cause]) -> Hit:
    """The line's candidates without those that a handshake which succeeded rules out."""
    later = tuple(each for each in hit.candidates if each.name in causes and causes[each.name].code[2] == "6")
    return hit._replace(candidates=later or hit.candidates)


def _doubts(hits: Iterable[Hit], causes: dict[str, Cause]) -> list[Finding]:
    """The candidates of lines that tell nothing by themselves, with the line as their place."""
    added: dict[str, Finding] = {}
    for hit in hits:
        for candidate in hit.candidates:
            cause = causes.get(candidate.name)
            if cause is not None and cause.name not in added:
                added[cause.name] = Finding(
                    cause.name, cause.code, "error", "possible", cause.blame, cause.reference,
                    {**hit.values, **candidate.values}, candidate.variant,
                    tuple(_place(span, None) for span in hit.spans),
                )  # fmt: skip
    return list(added.values())


def _next_steps(
    findings: Sequence[Finding], doubts: Iterable[Hit], verdict: Verdict, story: Story
) -> tuple[NextStep, ...]:
    """What to do next: the steps of every open question; something always when nothing is decided."""
    causes = catalogue()
    settled = any(_is_cause(found, causes) and found.consequence_of is None for found in findings)
    names: dict[str, Values] = {}
    for found in findings:
        open_symptom = causes[found.name].symptom and _rank(found)[0] <= 1
        if found.consequence_of is None and (open_symptom or not settled) and found.severity != "warning":
            for each in found.next_steps:
                names.setdefault(each, found.values)
    for hit in () if settled else doubts:
        for each in hit.next_steps:
            names.setdefault(each, hit.values)
    symptom = any(found.name in causes and causes[found.name].symptom for found in findings if _rank(found)[0] == 1)
    if not names and (verdict == "undecided" or (symptom and not settled)):
        names = dict.fromkeys(DEFAULT_STEPS, NO_VALUES)
    return tuple(step(name, story.values_for_step(values)) for name, values in names.items())
