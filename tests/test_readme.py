"""The README tells the truth: every transcript in it is what the program prints, and its commands exist.

`pytest --bless` writes the transcripts anew; the diff is the review.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: str) -> str:
    """The output of a shell command in which `wsdiag` is this checkout's."""
    environ = {
        **os.environ,
        "WSDIAG_LANG": "en",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    script = f'wsdiag() {{ "{sys.executable}" -m wsdiag "$@"; }}\n{command}\n'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def retold(block: str) -> str:
    """The block with every command's output made anew."""
    told = []
    command = ""
    for line in block.splitlines():
        if line.startswith("$ "):
            command = line[2:]
        elif command.endswith("\\") and line.startswith("> "):
            command = command[:-1] + line[2:]
        else:
            continue
        told.append(line)
        if not command.endswith("\\"):
            told += [each.rstrip() for each in run(command).rstrip("\n").splitlines()]
    return "\n".join(told) + "\n"


BLOCKS = [found[1] for found in _BLOCK.finditer(README.read_text())] if README.exists() else []


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_transcript(number: int, bless: bool) -> None:
    block = BLOCKS[number]
    now = retold(block)
    if bless and now != block:
        README.write_text(README.read_text().replace(f"```console\n{block}```", f"```console\n{now}```", 1))
        return
    assert now == block


def test_every_command_is_shown_by_example() -> None:
    from wsdiag.cli import cli

    text = README.read_text()
    for name in cli.commands:
        assert f"wsdiag {name}" in text, f"the README has no example of `wsdiag {name}`"


def test_first_screen_holds_the_two_commands() -> None:
    first = README.read_text().splitlines()[:24]
    assert sum(line.startswith("```") for line in first) >= 4


def test_every_named_file_exists() -> None:
    for name in re.findall(r"\b(?:samples|tests|wsdiag)/[\w./-]*\w", README.read_text()):
        assert (ROOT / name).exists(), name
