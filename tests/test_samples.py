"""Every folder in samples/ is a case: its inputs, read as a user would give them, make the report it expects.

`pytest --bless` rewrites the expected reports; the diff is then to be reviewed. What is compared are the facts of the
report; its words are tested in test_words.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from wsdiag.inputs import read_all
from wsdiag.model import Report
from wsdiag.rules import catalogue

SAMPLES = Path(__file__).parent.parent / "samples"
FOLDERS = sorted(path.parent for path in SAMPLES.glob("*/case.json"))


def facts(report: Report) -> dict[str, Any]:
    """The report without its prose."""
    return {
        "verdict": report.verdict,
        "primary": report.primary,
        "findings": [
            {
                "name": found.name,
                "variant": found.variant,
                "severity": found.severity,
                "certainty": found.certainty,
                "blame": found.blame,
                "consequence_of": found.consequence_of,
                "occurrences": found.occurrences,
                "values": {name: found.values[name] for name in sorted(found.values)},
                "places": [
                    [place.source, place.line, place.packet, place.connection, place.side, place.start, place.stop]
                    for place in found.places
                ],
            }
            for found in report.findings
        ],
        "next_steps": [[step.name, step.command] for step in report.next_steps],
        "connections": [[each.verdict, each.primary] for each in report.connections],
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_sample(folder: Path, bless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = json.loads((folder / "case.json").read_text())
    monkeypatch.chdir(folder)
    found = facts(read_all(case["inputs"]))
    expected = folder / "expected.json"
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=False) + "\n"
    if bless:
        expected.write_text(text)
    assert json.loads(text) == json.loads(expected.read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_sample_keeps_its_name(folder: Path) -> None:
    """The folder's name promises the verdict; what it expects must keep the promise."""
    name = folder.name.split("--", 1)[0]
    expected = json.loads((folder / "expected.json").read_text())
    if name in ("healthy", "undecided"):
        assert expected["verdict"] == name
    else:
        assert name in catalogue()
        symptom_of = [found["name"] for found in expected["findings"] if found["certainty"] == "possible"]
        assert expected["primary"] == name or name in symptom_of or expected["verdict"] == "undecided"


def test_every_cause_that_bytes_show_has_a_sample() -> None:
    from wsdiag import rules

    catalogue()
    shown = {
        found["name"] for folder in FOLDERS for found in json.loads((folder / "expected.json").read_text())["findings"]
    }
    missing = {each.cause.name for each in rules._rules} - shown
    assert not missing, f"no sample shows {sorted(missing)}"


def test_healthy_samples_accuse_nobody() -> None:
    for folder in FOLDERS:
        if folder.name.startswith("healthy--"):
            expected = json.loads((folder / "expected.json").read_text())
            assert not [found for found in expected["findings"] if found["severity"] == "error"], folder.name
