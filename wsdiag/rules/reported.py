"""What programs and people reported: finds the wordings of `signatures/*.toml` in lines of text and turns each into a
hit on a cause; reading the text is left to the intake, ranking the hits to `diagnose`.

The tables are data (their format is told in signatures/README.md). Start-up is kept cheap: a table's text is only
split at its signatures, and a signature is parsed when its literal occurs in the evidence.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from wsdiag.model import NO_VALUES, Candidate, Certainty, Hit, LineSpan, LogLine, Value, Values
from wsdiag.rules.decide import DECISIONS
from wsdiag.rules.status import cause_of_status

Kind: TypeAlias = Literal["rule", "candidates", "symptom", "fact"]

FOLDER = Path(__file__).parent.parent / "signatures"
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
# `near` and `unless` look at this many lines when the table does not say.
WITHIN = 8
ANY_CAUSE = "*"  # in `weaker_than`: every other signature is stronger

_NUMBERS = frozenset(
    {"port", "status", "code", "size", "number", "limit", "opcode", "alert", "count", "line", "pid", "version_number"}
)


class Signature(NamedTuple):
    """One wording, as its table says it.

    `name` is the cause, the fact, "status" where the captured status decides, or empty where `decide` calculates it.
    """

    program: str
    kind: Kind
    name: str
    literal: str
    pattern: str = ""
    near: str = ""
    unless: str = ""
    within: int = WITHIN
    decide: str = ""
    certainty: Certainty | None = None
    variant: str = ""
    values: Values = NO_VALUES
    candidates: tuple[Candidate, ...] = ()
    next_steps: tuple[str, ...] = ()
    weaker_than: tuple[str, ...] = ()
    source: str = ""
    examples: tuple[str, ...] = ()
    counterexamples: tuple[str, ...] = ()


class Reported(NamedTuple):
    """A wording that was found: the signature, the cause (or fact) it names and the hit with place and values."""

    signature: Signature
    hit: Hit
    name: str
    kind: Kind


class _Entry(NamedTuple):
    """A signature that is not parsed yet: the table's program line, the block's text and its literal."""

    table: str
    block: str
    literal: str


class _Match(NamedTuple):
    """A signature's match in a line, before it is known whether a stronger one stands at the same place.

    `order` is the signature's place in the index: of two that know as much, the first one is told.
    """

    start: int
    stop: int
    order: int
    found: Reported


# --- The tables ------------------------------------------------------------------------------------------------------


@cache
def _index() -> tuple[_Entry, ...]:
    """Every signature of every table, unparsed, in the order of the files' names."""
    entries = []
    for path in sorted(FOLDER.glob("*.toml")):
        head, *blocks = path.read_text(encoding="utf-8").split("[[signature]]\n")
        entries += [_Entry(head, block, _literal_of(block)) for block in blocks]
    return tuple(entries)


def _literal_of(block: str) -> str:
    """The literal of a signature's block, read without parsing the rest: `literal = ` and a string on one line.

    Importing tomllib costs as much as reading all tables so; it is needed for rare escapes only.
    """
    start = 0 if block.startswith("literal = ") else block.index("\nliteral = ") + 1
    line = block[start : block.index("\n", start)].removeprefix("literal = ")
    quotes = line[0] * 3 if line.startswith(line[0] * 3) else line[0]
    size = len(quotes)
    if quotes[0] == "'" or "\\" not in line:
        return line[size : line.index(quotes, size)]
    text = line[size : line.rindex(quotes)]
    if not text.replace("\\\\", "").replace('\\"', "").count("\\"):
        return text.replace('\\"', '"').replace("\\\\", "\\")
    import tomllib

    return str(tomllib.loads(f"literal = {line}")["literal"])


@cache
def _signature(position: int) -> Signature:
    """The signature at that place of the index, parsed."""
    import tomllib

    entry = _index()[position]
    table = tomllib.loads(f"{entry.table}\n[signature]\n{entry.block}")
    return _read(str(table.get("program", "")), table["signature"])


def _read(program: str, row: Mapping[str, Any]) -> Signature:
    """A table's row as a record."""
    kind: Kind = next(
        (each for each in ("fact", "symptom", "rule") if each in row),
        "candidates",
    )
    candidates = tuple(
        Candidate(each)
        if isinstance(each, str)
        else Candidate(each["name"], each.get("variant", ""), each.get("values", NO_VALUES))
        for each in row.get("candidates", ())
    )
    name = row.get(kind, "") if kind != "candidates" else candidates[0].name if candidates else ""
    return Signature(
        program,
        "rule" if "decide" in row else kind,
        name,
        row["literal"],
        row.get("pattern", ""),
        row.get("near", ""),
        row.get("unless", ""),
        row.get("within", WITHIN),
        row.get("decide", ""),
        row.get("certainty"),
        row.get("variant", ""),
        row.get("values", NO_VALUES),
        candidates,
        tuple(row.get("next", ())),
        tuple(row.get("weaker_than", ())),
        row.get("source", ""),
        tuple(row.get("examples", ())),
        tuple(row.get("counterexamples", ())),
    )


def load() -> tuple[Signature, ...]:
    """Every signature of every table, parsed; `find` does not need that, it parses what it meets."""
    return tuple(_signature(position) for position in range(len(_index())))


@cache
def literals() -> tuple[str, ...]:
    """The literals of all signatures, each once: what a big log is searched for."""
    return tuple(dict.fromkeys(entry.literal for entry in _index()))


@cache
def reaches() -> Mapping[str, tuple[int, int]]:
    """Each literal with how many lines before and after it its signatures look (`near`, `unless`).

    A literal reaches as far as any that it contains or that contains it: of two at one place only one is found first.
    """
    own: dict[str, tuple[int, int]] = {}
    for entry in _index():
        before = after = 0
        if "\nnear = " in entry.block or "\nunless = " in entry.block:
            _, found, rest = entry.block.partition("\nwithin = ")
            within = int(rest.split(None, 1)[0]) if found else WITHIN
            before, after = (0, within) if within > 0 else (-within, 0)
        known = own.get(entry.literal, (0, 0))
        own[entry.literal] = max(known[0], before), max(known[1], after)
    far = {literal: reach for literal, reach in own.items() if reach != (0, 0)}
    for literal, (before, after) in far.items():
        for other in own:
            if other in literal or literal in other:
                own[other] = max(own[other][0], before), max(own[other][1], after)
    return own


# --- Searching -------------------------------------------------------------------------------------------------------


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
    for entry in _index():
        found.Add(re2.escape(entry.literal))
    found.Compile()
    return found, tuple(range(len(_index())))


def find(lines: Sequence[LogLine]) -> Iterator[Reported]:
    """Every known wording in these lines, in their order. Several in one line are all found, glued or not.

    Lines whose numbers are consecutive are neighbours for `near` and `unless`; a stronger signature hides the weaker
    ones that match the same characters.
    """
    for position, entries in _occurrences(lines):
        matches: list[_Match] = []
        for entry in entries:
            matches += _matches(entry, lines, position)
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
    for number, entry in enumerate(_index()):
        start = text.find(entry.literal)
        while start >= 0:
            position = bisect_right(starts, start) - 1
            by_line.setdefault(position, []).append(number)
            start = text.find(entry.literal, starts[position + 1])
    for position in sorted(by_line):
        yield position, by_line[position]


def _matches(order: int, lines: Sequence[LogLine], position: int) -> Iterator[_Match]:
    """The places of the line where the signature at that place of the index holds."""
    signature, line = _signature(order), lines[position]
    groups: dict[str, str] = {}
    for start, stop, captured in _places(signature, line.text):
        if signature.near or signature.unless:
            around = _around(signature, lines, position)
            if signature.unless and _search(signature.unless, around) is not None:
                return
            if signature.near:
                near = _search(signature.near, around)
                if near is None:
                    return
                groups = near
        found = _reported(signature, LineSpan(line.origin, start, stop, line.text), {**groups, **captured})
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
            for match in _compile(signature.pattern).finditer(text[begin:end]):
                captured = {name: value for name, value in match.groupdict().items() if value is not None}
                yield begin + match.start(), begin + match.end(), captured
                count += 1
                if count >= MATCHES_PER_LINE:
                    return
            done = end
        else:
            done = literal + len(signature.literal)
            yield literal, done, {}
            count += 1
        literal = text.find(signature.literal, done)


def _around(signature: Signature, lines: Sequence[LogLine], position: int) -> list[str]:
    """The line and its neighbours that `within` reaches, up to the next line that holds the same literal.

    Neighbours are counted by line number, because of a big log only the interesting lines are kept.
    """
    here = lines[position].origin
    texts = [lines[position].text[:REACH]]
    step = 1 if signature.within > 0 else -1
    reach = abs(signature.within)
    other = position + step
    while 0 <= other < len(lines):
        origin = lines[other].origin
        distance = abs(origin.line - here.line) if origin.line and here.line else abs(other - position)
        text = lines[other].text
        if origin.source != here.source or distance > reach or (step > 0 and signature.literal in text):
            break
        texts.append(text[:REACH])
        other += step
    return texts


def _search(pattern: str, texts: Iterable[str]) -> dict[str, str] | None:
    """The captures of the first text that the pattern is found in; None when it is in none."""
    compiled = _compile(pattern)
    for text in texts:
        match = compiled.search(text)
        if match is not None:
            return {name: value for name, value in match.groupdict().items() if value is not None}
    return None


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
