"""Every table of wordings holds what it promises: each example is found by its signature, no counterexample is."""

import tomllib
from pathlib import Path

import pytest

from wsdiag.model import LogLine, Origin
from wsdiag.rules import catalogue, reported, tables
from wsdiag.rules.decide import DECISIONS
from wsdiag.rules.neighbours import Text
from wsdiag.rules.reported import Reported
from wsdiag.rules.tables import Signature

SIGNATURES = tables.load()
CERTAINTIES = ("certain", "likely", "possible", None)
KEYS = {
    "rule", "candidates", "symptom", "fact", "decide", "literal", "pattern", "near", "unless", "within", "certainty",
    "variant", "values", "alone", "next", "weaker_than", "source", "examples", "counterexamples",
}  # fmt: skip


def lines_of(text: str) -> list[LogLine]:
    """The text as lines of one source."""
    return [LogLine(line, Origin("test", number)) for number, line in enumerate(text.split("\n"), 1)]


def found_in(text: str) -> list[Reported]:
    """What is reported of the text."""
    return list(reported.find(lines_of(text)))


def name_of(signature: Signature) -> str:
    """A name for the test's title."""
    return f"{signature.program}:{signature.kind}:{signature.name}:{signature.literal[:30]}"


each_signature = pytest.mark.parametrize("signature", SIGNATURES, ids=name_of)


def whole_tables() -> list[tuple[Path, dict[str, object]]]:
    """Every table, read as a whole."""
    return [(path, tomllib.loads(path.read_text(encoding="utf-8"))) for path in sorted(tables.FOLDER.glob("*.toml"))]


def test_the_index_reads_the_same_literals_as_a_toml_reader() -> None:
    """The tables are split as text, to spare parsing them; that must not lose or change a signature."""
    whole = [(table["program"], row["literal"]) for _, table in whole_tables() for row in table["signature"]]  # type: ignore[attr-defined]
    assert [(signature.program, signature.literal) for signature in SIGNATURES] == whole
    assert [entry.literal for entry in tables.index()] == [literal for _, literal in whole]


@pytest.mark.parametrize(
    ("path", "table"), whole_tables(), ids=lambda each: each.stem if isinstance(each, Path) else ""
)
def test_no_key_is_misspelt(path: Path, table: dict[str, object]) -> None:
    """A key that nobody reads is a mistake."""
    rows = table["signature"]
    assert isinstance(rows, list)
    for row in rows:
        assert set(row) <= KEYS, set(row) - KEYS
        assert sum(key in row for key in ("rule", "symptom", "fact", "decide")) <= 1
        assert {"rule", "symptom", "fact", "decide", "candidates"} & set(row)


@each_signature
def test_a_signature_is_complete(signature: Signature) -> None:
    """Source, example and literal are there; names exist."""
    assert signature.source
    assert signature.examples
    assert len(signature.literal) >= 3
    assert "\n" not in signature.literal
    assert signature.certainty in CERTAINTIES
    assert not signature.decide or signature.decide in DECISIONS
    names = {candidate.name for candidate in signature.candidates}
    if signature.kind in ("rule", "symptom") and signature.name not in ("status", ""):
        names.add(signature.name)
    unknown = names - set(catalogue())
    assert not unknown, f"no such cause: {unknown}"
    if signature.kind == "candidates":
        assert signature.candidates
        assert signature.next_steps, "candidates need the step that separates them"


@each_signature
def test_patterns_compile_in_re2(signature: Signature) -> None:
    """RE2 is what searches; it has no look-around and no back-references."""
    re2 = pytest.importorskip("re2")
    for pattern in (signature.pattern, signature.near, signature.unless):
        if pattern:
            re2.compile(pattern)


@pytest.mark.parametrize("order", range(len(SIGNATURES)), ids=lambda order: name_of(SIGNATURES[order]))
def test_every_example_is_found_by_its_signature(order: int) -> None:
    """Even where a stronger one hides it in a report."""
    signature = SIGNATURES[order]
    for example in signature.examples:
        assert signature.literal in example
        lines = lines_of(example)
        assert any(list(reported._matches(order, Text(lines), position)) for position in range(len(lines))), example


@each_signature
def test_no_counterexample_is_found(signature: Signature) -> None:
    """What looks alike and is something else."""
    for example in signature.counterexamples:
        assert not [found for found in found_in(example) if found.signature == signature], example


def may_stand_beside(mine: Signature, other: Reported) -> bool:
    """True when `other` may be told of an example of `mine`: the same cause, a fact, a candidate or declared weaker."""
    if other.kind == "fact" or mine.kind == "fact":
        return True
    weaker = other.signature.weaker_than
    if tables.ANY_CAUSE in weaker or mine.name in weaker or other.name in mine.weaker_than:
        return True
    same = {mine.name, *(candidate.name for candidate in mine.candidates)}
    theirs = {other.name, *(candidate.name for candidate in other.hit.candidates)}
    return bool(same & theirs) or tables.ANY_CAUSE in mine.weaker_than


@each_signature
def test_no_example_is_claimed_for_another_cause(signature: Signature) -> None:
    """Unless the other signature is declared to be weaker."""
    for example in signature.examples:
        found = found_in(example)
        mine = {each.name for each in found if each.signature == signature}
        for other in found:
            if other.signature == signature or other.name in mine or may_stand_beside(signature, other):
                continue
            pytest.fail(f"{example!r} is also {other.name} by {name_of(other.signature)}")
