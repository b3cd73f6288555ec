"""The tables of wordings, `signatures/*.toml`: what each program prints and which cause it names. Searching text for
them is left to `reported`; their format is told in signatures/README.md.

Start-up is kept cheap: a table's text is only split at its signatures, and a signature is parsed when its literal
occurs in the evidence.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from wsdiag.model import NO_VALUES, Candidate, Certainty, Values
from wsdiag.record import NamedTuple

Kind: TypeAlias = Literal["rule", "candidates", "symptom", "fact"]

FOLDER = Path(__file__).parent.parent / "signatures"
# `near` and `unless` look at this many lines when the table does not say.
WITHIN = 8
ANY_CAUSE = "*"  # in `weaker_than`: every other signature is stronger


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
    alone: bool = False


class Entry(NamedTuple):
    """A signature that is not parsed yet: the table's program line, the block's text and its literal."""

    table: str
    block: str
    literal: str


@cache
def index() -> tuple[Entry, ...]:
    """Every signature of every table, unparsed, in the order of the files' names."""
    entries = []
    for path in sorted(FOLDER.glob("*.toml")):
        head, *blocks = path.read_text(encoding="utf-8").split("[[signature]]\n")
        entries += [Entry(head, block, _literal_of(block)) for block in blocks]
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
def signature_at(position: int) -> Signature:
    """The signature at that place of the index, parsed."""
    import tomllib

    entry = index()[position]
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
        row.get("alone", False),
    )


def load() -> tuple[Signature, ...]:
    """Every signature of every table, parsed; `find` does not need that, it parses what it meets."""
    return tuple(signature_at(position) for position in range(len(index())))


@cache
def literals() -> tuple[str, ...]:
    """What a big log is searched for: the literals of all signatures, each once, but of those that must stand alone."""
    return tuple(dict.fromkeys(entry.literal for entry in index() if "\nalone = true\n" not in entry.block))


@cache
def reaches() -> Mapping[str, tuple[int, int]]:
    """Each literal with how many lines before and after it its signatures look (`near`, `unless`).

    A literal reaches as far as any that it contains or that contains it: of two at one place only one is found first.
    """
    own: dict[str, tuple[int, int]] = {}
    for entry in index():
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
