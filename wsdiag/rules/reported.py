"""What programs and people reported: finds the wordings of the tables in lines of text and turns each into a hit on a
cause. The tables are read by `tables`, the text by the intake; ranking the hits is left to `diagnose`.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from wsdiag.model import Hit, LineSpan, LogLine, Value
from wsdiag.record import NamedTuple
from wsdiag.rules.decide import DECISIONS
from wsdiag.rules.neighbours import LEAD, REACH, Text, compiled
from wsdiag.rules.status import cause_of_status
from wsdiag.rules.tables import ANY_CAUSE, Kind, Signature, index, signature_at

# Up to this many characters the literals are looked for with `in`, one after the other (30 ms for 600 of them in 256
# KiB); beyond that all at once with RE2, whose import and compilation cost 15 ms.
FEW_CHARACTERS = 128 * 1024
# How often one signature may match in one line: a line of 20 MB that repeats one message is told often enough.
MATCHES_PER_LINE = 200
# RE2's automaton for all literals at once; it is thrown away and built anew when it grows beyond this.
AUTOMATON_BYTES = 32 << 20

# The group of a pattern that is the telling part, where that is not all that it matches.
HERE = "here"
_NUMBERS = frozenset(
    {"port", "status", "code", "size", "number", "limit", "opcode", "alert", "count", "line", "pid", "version_number"}
)


class Reported(NamedTuple):
    """A wording that was found: the signature, the cause (or fact) it names and the hit with place and values."""

    signature: Signature
    hit: Hit
    name: str
    kind: Kind


class _Match(NamedTuple):
    """A signature's match in a line, before it is known whether a stronger one stands at the same place.

    `order` is the signature's place in the index: of two that know as much, the first one is told.
    """

    start: int
    stop: int
    order: int
    found: Reported


@cache
def _automaton() -> tuple[Any, tuple[int, ...]] | None:
    """All literals as one RE2 set; None where RE2 is not installed. The set's members are places of the index."""
    try:
        import re2
    except ImportError:  # pragma: no cover
        return None
    options = re2.Options()
    options.max_mem = AUTOMATON_BYTES
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for entry in index():
        found.Add(re2.escape(entry.literal))
    found.Compile()
    return found, tuple(range(len(index())))


def find(lines: Sequence[LogLine]) -> Iterator[Reported]:
    """Every known wording in these lines, in their order. Several in one line are all found, glued or not.

    Lines whose numbers are consecutive are neighbours for `near` and `unless`; a stronger signature hides the weaker
    ones that match the same characters.
    """
    text = Text(lines)
    for position, entries in _occurrences(lines):
        matches: list[_Match] = []
        for entry in entries:
            matches += _matches(entry, text, position)
        yield from (match.found for match in _strongest(matches))


def _occurrences(lines: Sequence[LogLine]) -> Iterator[tuple[int, list[int]]]:
    """The lines that hold literals: the line's place and the places of these literals' signatures in the index."""
    total = sum(len(line.text) for line in lines) + len(lines)
    automaton = _automaton() if total > FEW_CHARACTERS else None
    if automaton is not None:
        members, places = automaton
        for position, line in enumerate(lines):
            found = members.Match(line.text)
            if found:
                yield position, sorted(places[each] for each in found)
        return
    text = "\n".join(line.text for line in lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.text) + 1)
    by_line: dict[int, list[int]] = {}
    for number, entry in enumerate(index()):
        start = text.find(entry.literal)
        while start >= 0:
            position = bisect_right(starts, start) - 1
            by_line.setdefault(position, []).append(number)
            start = text.find(entry.literal, starts[position + 1])
    for position in sorted(by_line):
        yield position, by_line[position]


def _matches(order: int, text: Text, position: int) -> Iterator[_Match]:
    """The places of the line where the signature at that place of the index holds."""
    signature, line = signature_at(order), text.lines[position]
    around: dict[str, str] | None = None
    for start, stop, captured in _places(signature, line.text):
        if around is None:  # the same for all of them
            around = text.allows(signature, position, start)
            if around is None:
                return
        found = _reported(signature, LineSpan(line.origin, start, stop, line.text), {**around, **captured})
        if found is not None:
            yield _Match(start, stop, order, found)


def _places(signature: Signature, text: str) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Where the signature's pattern (or its literal, if it has none) stands in the line, and what it captures."""
    count = 0
    done = 0
    literal = text.find(signature.literal)
    while literal >= 0 and count < MATCHES_PER_LINE:
        if signature.pattern:
            begin, end = max(done, literal - LEAD), literal + REACH
            pattern = compiled(signature.pattern)
            for match in pattern.finditer(text[begin:end]):
                captured = {name: value for name, value in match.groupdict().items() if value is not None}
                start, stop = match.span(pattern.groupindex[HERE] if captured.pop(HERE, None) is not None else 0)
                yield begin + start, begin + stop, captured
                count += 1
                if count >= MATCHES_PER_LINE:
                    return
            done = end
        else:
            done = literal + len(signature.literal)
            yield literal, done, {}
            count += 1
        literal = text.find(signature.literal, done)


def _reported(signature: Signature, span: LineSpan, captured: Mapping[str, str]) -> Reported | None:
    """What the match says; None when its values show that it is not meant (a status that is no number)."""
    values: dict[str, Value] = {**signature.values, **{name: _value(name, text) for name, text in captured.items()}}
    name, variant = signature.name, signature.variant
    if signature.decide:
        decision = DECISIONS[signature.decide](values)
        if decision is None:
            return None
        name, variant = decision.name, decision.variant or variant
        values.update(decision.values)
    elif name == "status":
        status = values.get("status")
        if not isinstance(status, int):
            return None
        name = cause_of_status(status)
    hit = Hit((span,), values, variant, signature.certainty, None, signature.candidates, signature.next_steps)
    return Reported(signature, hit, name, signature.kind)


def _value(name: str, text: str) -> Value:
    """A captured text as the value that the words expect."""
    if name in _NUMBERS and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    if name == "scheme":  # a class name gives it back with a capital letter: Websocket, Wss
        return text if text[1:].lower() != text[1:] else text.lower()
    if name == "seconds":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _strongest(matches: list[_Match]) -> list[_Match]:
    """The matches without those that a stronger one at the same characters hides, in the order of the line.

    Of two that say the same of the same characters, the one that knows more stays.
    """
    if len(matches) < 2:
        return matches
    kept = []
    for match in matches:
        if not any(_hides(other, match) for other in matches if other is not match):
            kept.append(match)
    return sorted(kept, key=lambda match: match.start)


def _hides(other: _Match, match: _Match) -> bool:
    """True when `match` need not be told because of `other`."""
    if other.start >= match.stop or match.start >= other.stop:
        return False
    mine, theirs = match.found, other.found
    if (mine.kind == "fact") != (theirs.kind == "fact"):
        return False
    weaker = mine.signature.weaker_than
    if mine.signature is not theirs.signature and (theirs.name in weaker or ANY_CAUSE in weaker):
        return ANY_CAUSE not in theirs.signature.weaker_than or ANY_CAUSE not in weaker
    if mine.name != theirs.name or mine.kind != theirs.kind:
        return False
    return (len(theirs.hit.values), other.stop - other.start, -other.order) > (
        len(mine.hit.values),
        match.stop - match.start,
        -match.order,
    )
