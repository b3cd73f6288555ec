"""Which finding explains which, the order in which they are told, and the verdict that follows from it.

How hits become findings is left to `findings`, the whole story to `verdict`.
"""

from collections.abc import Sequence

from wsdiag.model import Certainty, Finding, Severity, Verdict
from wsdiag.rules import Cause, catalogue, is_cause

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
# The parts of a story, in the order of telling.
CAUSE, SYMPTOM, CANDIDATE, WARNING, CONSEQUENCE, NOTE = range(6)


def weight(found: Finding) -> tuple[int, int]:
    """How much a finding weighs; the smaller, the more."""
    return SEVERITIES[found.severity], CERTAINTIES[found.certainty]


def explained(findings: Sequence[Finding]) -> list[Finding]:
    """Mark what another finding explains: by its list of consequences, or as a symptom gives way to a cause."""
    causes = catalogue()
    ranked = sorted(findings, key=rank)
    result = []
    for found in findings:
        by = found.consequence_of
        if by is None and found.severity != "note":
            for other in ranked:
                if other.name == found.name or other.severity != "error" or other.certainty == "possible":
                    continue
                surer = CERTAINTIES[other.certainty] <= CERTAINTIES[found.certainty] or causes[found.name].symptom
                if surer and found.name in causes[other.name].masks and not _masked_back(other, found, causes):
                    by = other.name
                    break
        if by is None and causes[found.name].symptom:
            by = next((each.name for each in ranked if _explains(each, found, causes)), None)
        result.append(found._replace(consequence_of=by) if by else found)
    return _without_rings(result)


def _masked_back(other: Finding, found: Finding, causes: dict[str, Cause]) -> bool:
    """True when the two explain each other and `found` is the better known of them."""
    return other.name in causes[found.name].masks and rank(found) <= rank(other)


def _explains(other: Finding, found: Finding, causes: dict[str, Cause]) -> bool:
    return other.name != found.name and is_cause(other, causes) and other.name not in causes[found.name].masks


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


def part(found: Finding) -> int:
    """The part of the story that the finding belongs to: CAUSE, SYMPTOM, CANDIDATE …"""
    if found.severity == "note":
        return NOTE
    if found.consequence_of is not None:
        return CONSEQUENCE
    if found.severity == "warning":
        return WARNING
    if found.certainty == "possible":
        return CANDIDATE
    return SYMPTOM if catalogue()[found.name].symptom else CAUSE


def rank(found: Finding) -> tuple[int, ...]:
    """The order of telling. Candidates keep the order in which an expert would check them (sorting is stable)."""
    where = part(found)
    if where == CANDIDATE:
        return (where,)
    return (
        where,
        int(found.name in STRAYS),
        FOREMOST.get(found.name, len(FOREMOST)),
        CERTAINTIES[found.certainty],
        -found.occurrences,
        _depth(found.code),
    )


def _depth(code: str) -> int:
    """Causes nearer to the start of a connection come first: transport, listener, proxy, request, response, frames."""
    return {"5": 0, "2": 1, "7": 2, "3": 3, "4": 4, "6": 5}.get(code[2:3], 6)


def verdict_of(findings: Sequence[Finding], *, established: bool) -> Verdict:
    """The verdict on these findings; `established` when a handshake was seen to succeed."""
    errors = [found for found in findings if found.severity == "error" and found.consequence_of is None]
    if any(found.certainty != "possible" for found in errors):
        return "faulty"
    return "healthy" if established and not errors else "undecided"


def primary_of(findings: Sequence[Finding], verdict: Verdict) -> str | None:
    """The root cause among findings that are in the order of telling; None unless the verdict is faulty."""
    if verdict != "faulty":
        return None
    for found in findings:
        if found.severity == "error" and found.consequence_of is None and found.certainty != "possible":
            return found.name
    return None
