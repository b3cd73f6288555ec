"""Concluding: one connection's verdict, and one ranked story from all connections and lines.

How hits become findings is in `findings`, in what order they are told in `ranking`; what they are called is for
`render`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsdiag.findings import candidates_of, finding_of, merged, place_of, with_second_problem
from wsdiag.model import (
    NO_VALUES,
    Candidate,
    Certainty,
    ConnectionReport,
    Evidence,
    Exchange,
    Finding,
    Hit,
    NextStep,
    Report,
    Values,
    Verdict,
)
from wsdiag.ranking import STRAYS, SYMPTOM, explained, part, primary_of, rank, verdict_of
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import Cause, catalogue, is_cause
from wsdiag.rules.situation import accepted, alone_in_hex
from wsdiag.rules.story import Story, contradictions, retell
from wsdiag.steps import step

if TYPE_CHECKING:
    from typing import TypeAlias

    from wsdiag.rules.reported import Reported  # at run time only where there are lines

# A hit with the cause it was found for and the certainty that the rule gives it.
Verdicts: TypeAlias = list[tuple[Cause, Certainty, Hit]]
# A symptom that asks for its causes: the finding's name, and the hit with its candidates.
Question: TypeAlias = tuple[str, Hit]

ESTABLISHED = "connection-established"
DEFAULT_STEPS = ("ask-server-log", "curl-upgrade")


# --- One connection --------------------------------------------------------------------------------------------------


def conclude_connection(exchange: Exchange, verdicts: Verdicts) -> ConnectionReport:
    """One connection's findings in the order an expert would tell them, its verdict and its root cause."""
    verdicts = contradictions(exchange, verdicts)
    findings = explained(merged(_weighed(exchange, *each) for each in verdicts))
    findings += candidates_of(findings, [(cause.name, hit) for cause, _, hit in verdicts])
    findings.sort(key=rank)
    verdict = verdict_of(findings, established=_has(findings, ESTABLISHED))
    return ConnectionReport(exchange, verdict, primary_of(findings, verdict), tuple(findings))


def _weighed(exchange: Exchange, cause: Cause, certainty: Certainty, hit: Hit) -> Finding:
    """The finding, weaker where the server forgave the fault, or may still forgive it."""
    found = finding_of(cause, certainty, hit, exchange, "warning" if cause.forgiven and accepted(exchange) else None)
    transport, response = exchange.connection.transport, exchange.response
    whole = response is not None and response.head.complete
    unanswered = transport is not None and transport.closer is None and not whole
    # Bare hexadecimal does not tell what it reached: what is at the wrong door is a question, not a finding.
    homeless = alone_in_hex(exchange) and found.code[2] == "2"
    return found._replace(certainty="possible") if homeless or (cause.forgiven and unanswered) else found


def _has(findings: Iterable[Finding], name: str) -> bool:
    return any(found.name == name for found in findings)


# --- The whole -------------------------------------------------------------------------------------------------------


def conclude_report(evidence: Evidence, reports: tuple[ConnectionReport, ...], reported: Sequence[Reported]) -> Report:
    """One ranked story from all connections and all lines."""
    story = Story(evidence, reports, tuple(each for each in reported if each.kind == "fact"))
    told, asked, doubts = _told_by_lines(reported)
    views = reports
    several = len(evidence.inputs) > 1  # pieces of one connection are matched only where there are several pieces
    if several:
        from wsdiag.rules import claims, match, ports

        packets = claims.Packets(reports)
        told, asked = claims.beside_packets(told, asked, packets)
        told += [finding_of(*found, None, None) for found in match.lost_between_inputs(reports)]
        doubts = claims.open_doubts(doubts, packets)
        views = match.counted_once(reports)
    told += [finding_of(cause, certainty, hit, None, None) for cause, certainty, hit in retell(story, told)]
    from_connections = [found for found in _told_by_connections(views) if not _denied(found, told)]
    findings = explained([story.filled(found) for found in merged((*told, *from_connections))])
    if several:
        findings = ports.told_apart(findings, ports.Ports(story, findings), explained)
    # Bytes know more of their candidates than a line does, so theirs come first.
    added = candidates_of(findings, [*_asked_by_connections(views), *asked])
    doubts = _open_doubts(doubts, findings)
    known = {found.name for found in (*findings, *added)}
    added += [found for found in _doubted(doubts) if found.name not in known]
    findings = sorted([*with_second_problem(findings), *map(story.filled, added)], key=rank)
    verdict = verdict_of(findings, established=_has(findings, ESTABLISHED))
    return Report(
        evidence.inputs,
        verdict,
        primary_of(findings, verdict),
        tuple(findings),
        _next_steps(findings, doubts, verdict, story),
        tuple(_with_lines(report, findings) for report in reports),
        evidence.capture,
    )


def _told_by_lines(reported: Sequence[Reported]) -> tuple[list[Finding], list[Question], list[Hit]]:
    """What lines say: findings, the questions of their symptoms, and doubts (lines that only offer candidates)."""
    causes = catalogue()
    told: list[Finding] = []
    asked: list[Question] = []
    doubts: list[Hit] = []
    for each in reported:
        if each.kind == "candidates" or (each.kind == "fact" and each.hit.next_steps):
            doubts.append(each.hit)  # a fact may tell where to look (a daemon's log holds none of the messages)
        elif each.kind != "fact" and each.name in causes:
            hit = each.hit
            if each.name == ESTABLISHED and not hit.variant:
                hit = hit._replace(variant="log")  # a program said so; the answer itself was not seen
            told.append(finding_of(causes[each.name], hit.certainty or "likely", hit, None, None))
            asked.append((each.name, each.hit))
    return told, asked, doubts


def _told_by_connections(reports: Sequence[ConnectionReport]) -> list[Finding]:
    """The connections' own findings, without the candidates (the whole may know better) and what a success excuses."""
    healthy = any(report.verdict == "healthy" for report in reports)
    reached = {
        report.exchange.connection.server_endpoint.port
        for report in reports
        if report.verdict == "healthy" and report.exchange.connection.server_endpoint is not None
    }
    told = []
    for report in reports:
        for found in report.findings:
            candidate = found.certainty == "possible" and not found.places
            if not candidate and not (healthy and _excused(found, report)):
                told.append(_late(found, reached)._replace(consequence_of=None))
    return told


def _denied(found: Finding, told: Sequence[Finding]) -> bool:
    """A 101 whose accept could not be checked, while a line says that something is wrong with this very answer."""
    unchecked = found.name == ESTABLISHED and found.variant == "unchecked"
    return unchecked and any(each.code[2] == "4" and each.severity == "error" for each in told)


def _excused(found: Finding, report: ConnectionReport) -> bool:
    """Beside a WebSocket that works: a visitor who said nothing, or a page that nobody asked as a WebSocket."""
    page = report.exchange.request is None and catalogue()[found.name].symptom
    return page or (found.certainty == "possible" and found.name in STRAYS)


def _late(found: Finding, reached: set[int]) -> Finding:
    """A refusal at a port that another connection reached (IPv6 first, then IPv4; a restart) is only a warning."""
    if found.name in ("connection-refused", "connect-timeout") and found.values.get("port") in reached:
        return found._replace(severity="warning")
    return found


def _asked_by_connections(reports: Sequence[ConnectionReport]) -> list[Question]:
    """The connections' symptoms as questions again: their candidates are the possible findings beside them."""
    causes = catalogue()
    questions = []
    for report in reports:
        candidates = tuple(
            Candidate(each.name, each.variant, each.values)
            for each in report.findings
            if each.certainty == "possible" and not each.places
        )
        questions += [
            (found.name, Hit((), found.values, found.variant, candidates=candidates))
            for found in report.findings
            if causes[found.name].candidates or causes[found.name].symptom
        ]
    return questions


def _open_doubts(doubts: Sequence[Hit], findings: Sequence[Finding]) -> list[Hit]:
    """The doubts that what is known leaves: none beside a fault, only the later ones beside a handshake."""
    causes = catalogue()
    established = _has(findings, ESTABLISHED)
    if verdict_of(findings, established=established) == "faulty":
        return []
    if not established:
        return list(doubts)
    left = []
    for hit in doubts:
        later = tuple(each for each in hit.candidates if each.name in causes and causes[each.name].code[2] == "6")
        left.append(hit._replace(candidates=later or hit.candidates))
    return left


def _doubted(doubts: Iterable[Hit]) -> list[Finding]:
    """The candidates of lines that tell nothing by themselves, with the line as their place."""
    causes = catalogue()
    added: dict[str, Finding] = {}
    for hit in doubts:
        places = tuple(place_of(span, None) for span in hit.spans)
        for each in hit.candidates:
            cause = causes.get(each.name)
            if cause is not None and cause.name not in added:
                values: Values = {**hit.values, **each.values}
                added[cause.name] = Finding(
                    cause.name,
                    cause.code,
                    "error",
                    "possible",
                    cause.blame,
                    cause.reference,
                    values,
                    each.variant,
                    places,
                )
    return list(added.values())


def _with_lines(report: ConnectionReport, findings: Sequence[Finding]) -> ConnectionReport:
    """A dump's own verdict, when the very line that it stands in names the cause (Workerman prints both at once)."""
    marks = report.exchange.connection.client.marks
    if report.exchange.connection.kind != "dump" or not marks:
        return report
    line = (marks[0].origin.source, marks[0].origin.line)
    for found in findings:
        here = any(place.connection is None and (place.source, place.line) == line for place in found.places)
        if here and is_cause(found, catalogue()) and found.consequence_of is None:
            return report._replace(verdict="faulty", primary=found.name)
    return report


def _next_steps(
    findings: Sequence[Finding], doubts: Iterable[Hit], verdict: Verdict, story: Story
) -> tuple[NextStep, ...]:
    """What to do next: the steps of every open question; something always when nothing is decided."""
    causes = catalogue()
    settled = any(is_cause(found, causes) and found.consequence_of is None for found in findings)
    names: dict[str, Values] = {}
    for found in findings:
        open_symptom = part(found) == SYMPTOM
        if found.consequence_of is None and found.severity != "warning" and (open_symptom or not settled):
            for each in found.next_steps:
                names.setdefault(each, found.values)
    for hit in () if settled else doubts:
        for each in hit.next_steps:
            names.setdefault(each, hit.values)
    symptom = any(part(found) == SYMPTOM for found in findings)
    if not names and (verdict == "undecided" or (symptom and not settled)):
        names = dict.fromkeys(DEFAULT_STEPS, NO_VALUES)
    return tuple(step(name, story.values_for_step(values)) for name, values in names.items())
