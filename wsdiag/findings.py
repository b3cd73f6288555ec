"""From hits to findings: each hit gets its places, findings of one name become one, open symptoms get their candidates.

Which finding explains which, and in what order they are told, is left to `ranking`.
"""

from collections.abc import Iterable, Sequence

from wsdiag.model import (
    Candidate,
    Certainty,
    Exchange,
    Finding,
    Hit,
    LineSpan,
    Place,
    Severity,
    Span,
    Values,
)
from wsdiag.ranking import weight
from wsdiag.rules import Cause, catalogue, is_cause

MAX_PLACES = 20  # of one finding; a capture may hold thousands, and `occurrences` counts them all
# What a symptom knows that is also true of its causes.
SHARED_VALUES = ("host", "port", "path", "url", "scheme", "address", "framework", "program")


def finding_of(
    cause: Cause, certainty: Certainty, hit: Hit, exchange: Exchange | None, severity: Severity | None
) -> Finding:
    """The finding that a hit makes. `severity` overrides the hit's and the cause's; lines have no exchange."""
    return Finding(
        cause.name,
        cause.code,
        severity or hit.severity or cause.severity,
        hit.certainty or certainty,
        hit.blame or cause.blame,
        cause.reference,
        hit.values,
        hit.variant,
        tuple(place_of(span, exchange) for span in hit.spans),
        next_steps=hit.next_steps or cause.next_steps,
    )


def place_of(span: Span | LineSpan, exchange: Exchange | None) -> Place:
    """Where a span stands: in which line or packet, in which connection."""
    if isinstance(span, LineSpan):
        return Place(
            span.origin.source, span.origin.line, span.origin.packet, None, None, span.start, span.stop, span.text
        )
    assert exchange is not None
    origin = exchange.connection.stream(span.side).origin_at(span.start)
    source, line, packet = (origin.source, origin.line, origin.packet) if origin else ("", None, None)
    return Place(source, line, packet, exchange.connection.id, span.side, span.start, span.stop)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one name become one: the surest speaks, the places and values of all are kept."""
    merged: dict[str, Finding] = {}
    for found in findings:
        known = merged.get(found.name)
        if known is None:
            merged[found.name] = found
            continue
        first, second = (known, found) if weight(known) <= weight(found) else (found, known)
        merged[found.name] = first._replace(
            values={**second.values, **first.values},
            variant=first.variant or second.variant,
            places=_united(first.places, second.places),
            occurrences=known.occurrences + found.occurrences,
        )
    return list(merged.values())


# What is wrong with the bytes themselves that a listener of the wrong scheme printed: it remains after the fix.
SECOND_PROBLEMS = {
    "tls-to-plaintext": "also-tls",
    "http2-to-http1": "also-http2",
    "proxy-protocol-header": "also-proxy",
    "plain-http-request": "also-plain-http",
    "flash-policy-request": "also-flash-policy",
    "not-a-websocket-client": "also-other",
}


def with_second_problem(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, where `listener-ws-scheme` speaks of what else is wrong, unless a right request came as well."""
    if any(found.name == "correct-request" for found in findings):
        return list(findings)
    sure = {found.name: found for found in findings if found.certainty != "possible"}
    second = next((sure[name] for name in SECOND_PROBLEMS if name in sure), None)
    if second is None:
        return list(findings)
    protocol = str(second.values.get("protocol", ""))
    variant = "also-mqtt" if protocol == "mqtt" else SECOND_PROBLEMS[second.name]
    return [
        found._replace(variant=variant, values={**found.values, **({"protocol": protocol} if protocol else {})})
        if found.name == "listener-ws-scheme"
        else found
        for found in findings
    ]


def _united(first: tuple[Place, ...], second: tuple[Place, ...]) -> tuple[Place, ...]:
    united = dict.fromkeys((*first, *second))
    return tuple(united)[:MAX_PLACES]


def candidates_of(findings: Sequence[Finding], questions: Iterable[tuple[str, Hit]]) -> list[Finding]:
    """The possible causes of every symptom that nothing explains, in the order an expert would check them."""
    causes = catalogue()
    # A warning is no question: what succeeded all the same needs no cause.
    open_names = {found.name for found in findings if found.consequence_of is None and found.severity != "warning"}
    known = {found.name for found in findings}
    settled = any(is_cause(found, causes) for found in findings)
    added: dict[str, Finding] = {}
    for name, hit in questions:
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


def _places_only(values: Values) -> Values:
    return {name: values[name] for name in SHARED_VALUES if name in values}
