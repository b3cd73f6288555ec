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
from wsdiag.rules.status import cause_of_status
from wsdiag.rules.tables import ANY_CAUSE, Kind, Signature, index, signature_at

# Up to this many characters the literals are looked for with `in`, one after the other (30 ms for 600 of them in 256
# KiB); beyond that all at once with RE2, whose import and compilation cost 15 ms.
FEW_CHARACTERS = 128 * 1024
# Patterns look at no more of a line than this from the literal on (and LEAD before it); no wording is that long.
REACH = 64 * 1024
LEAD = 4 * 1024
# How often one signature may match in one line: a line of 20 MB that repeats one message is told often enough.
MATCHES_PER_LINE = 200
# RE2's automaton for all literals at once; it is thrown away and built anew when it grows beyond this.
AUTOMATON_BYTES = 32 << 20

# A text of more lines says something else than the wording that must stand alone.
MOST_LINES_ALONE = 8
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
def _compile(pattern: str) -> Any:
    """The pattern as an RE2 automaton, which no hostile line can make slow; `re` where RE2 is not installed."""
    try:
        import re2 as engine
    except ImportError:  # pragma: no cover - a system without the wheel
        import re as engine
    return engine.compile(pattern)


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
    text = _Text(lines)
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


class _Text:
    """The lines, and what `near` and `unless` found in them: no line is searched twice for the same pattern."""

    __slots__ = ("behind", "known", "lines")

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self.lines = lines
        self.known: dict[tuple[str, int], dict[str, str] | None] = {}
        self.behind: dict[tuple[str, int], tuple[int, dict[str, str] | None, int]] = {}

    def allows(self, signature: Signature, position: int, start: int) -> dict[str, str] | None:
        """What `near` captures; None when `near` or `unless` forbids the match at the character `start`."""
        if signature.alone and not self.says_nothing_else(signature, position):
            return None
        if not signature.near and not signature.unless:
            return {}
        if signature.unless and self.first(signature, signature.unless, position, start) is not None:
            return None
        return self.first(signature, signature.near, position, start) if signature.near else {}

    def says_nothing_else(self, signature: Signature, position: int) -> bool:
        """True when this line, and those that `near` is found in, are all that the text has."""
        if len(self.lines) > MOST_LINES_ALONE:
            return False
        return not any(
            text.strip() and not (signature.near and _captures(signature.near, text) is not None)
            for other, (text, _) in enumerate(self.lines)
            if other != position
        )

    def around(self, signature: Signature, position: int) -> range:
        """The neighbours that `within` reaches, the next one first, up to a line that holds the same literal.

        They are counted by line number, because of a big log only the interesting lines are kept.
        """
        here = self.lines[position].origin
        step = 1 if signature.within > 0 else -1
        reach = abs(signature.within)
        last = min(max(position + step * reach, 0), len(self.lines) - 1)
        while last != position:
            origin = self.lines[last].origin
            distance = abs(origin.line - here.line) if origin.line and here.line else 0
            if origin.source == here.source and distance <= reach:
                break
            last -= step
        found = range(position + step, last + step, step)
        if step > 0:
            for other in found:
                if signature.literal in self.lines[other].text:
                    return range(position + 1, other)
        return found

    def first(self, signature: Signature, pattern: str, position: int, start: int) -> dict[str, str] | None:
        """The captures of the first of the lines that the pattern is found in; None when it is in none."""
        here = _captures(pattern, self.lines[position].text[max(0, start - LEAD) : start + REACH])
        if here is not None:
            return here
        around = self.around(signature, position)
        if around.step < 0:
            return self.last_before(pattern, position, around)
        for other in around:
            key = pattern, other
            if key not in self.known:
                self.known[key] = _captures(pattern, self.lines[other].text[:REACH])
            captured = self.known[key]
            if captured is not None:
                return captured
        return None

    def last_before(self, pattern: str, position: int, around: range) -> dict[str, str] | None:
        """What the pattern captures in the last line in front of `position` that holds it and belongs to `around`.

        Asked for ascending positions, so that what was searched is remembered as the last find and how far it went.
        """
        lowest = around[-1] if around else position
        key = pattern, len(around)
        place, captured, searched = self.behind.get(key, (-1, None, 0))
        for other in range(max(searched, lowest), position):
            found = _captures(pattern, self.lines[other].text[:REACH])
            if found is not None:
                place, captured = other, found
        self.behind[key] = place, captured, position
        return captured if lowest <= place < position else None


def _captures(pattern: str, text: str) -> dict[str, str] | None:
    """What the pattern captures where it is found first; None when it is not found."""
    match = _compile(pattern).search(text)
    if match is None:
        return None
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _matches(order: int, text: _Text, position: int) -> Iterator[_Match]:
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
            pattern = _compile(signature.pattern)
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
