"""A growing log: its lines as they come, once each, through rotation and truncation."""

from collections.abc import Callable, Iterator
from pathlib import Path

from wsdiag.intake import tail
from wsdiag.model import LogLine


def texts(steps: list[Callable[[], object]], path: Path, from_start: bool = True) -> list[tuple[int | None, str]]:
    """Number and text of the lines; each time nothing comes, the next step happens; the last one ends it."""
    remaining = list(steps)

    def wait(seconds: float) -> None:
        assert seconds > 0
        if not remaining:
            raise KeyboardInterrupt
        remaining.pop(0)()

    got: list[tuple[int | None, str]] = []
    batches: Iterator[list[LogLine]] = tail.follow(path, wait, from_start)
    try:
        for batch in batches:
            got += [(line.origin.line, line.text) for line in batch]
    except KeyboardInterrupt:
        pass
    return got


def nothing() -> None:
    """A look without news."""


def append(path: Path, text: str) -> Callable[[], object]:
    """A step that writes."""
    return lambda: path.open("a").write(text)


def test_lines_come_whole_and_numbered(tmp_path: Path) -> None:
    """A line is given out when its end was written."""
    path = tmp_path / "log"
    path.write_text("one\n")
    assert texts([append(path, "tw"), append(path, "o\nthree\n")], path) == [(1, "one"), (2, "two"), (3, "three")]


def test_a_line_without_end_is_given_out_after_a_while(tmp_path: Path) -> None:
    """Workerman prints some messages without a line end."""
    path = tmp_path / "log"
    path.write_text("Error package. package_length=false")
    assert texts([nothing] * 6, path) == [(1, "Error package. package_length=false")]


def test_rotation(tmp_path: Path) -> None:
    """The old file is read to its end, the new one from its start."""
    path = tmp_path / "log"
    path.write_text("old\n")

    def rotate() -> None:
        with path.open("a") as file:
            file.write("last of old\n")
        path.rename(tmp_path / "log.1")

    steps = [rotate, nothing, append(path, "new\n"), nothing]
    assert texts(steps, path) == [(1, "old"), (2, "last of old"), (1, "new")]


def test_truncation(tmp_path: Path) -> None:
    """copytruncate."""
    path = tmp_path / "log"
    path.write_text("a long first line\n")
    assert texts([lambda: path.write_text("b\n"), nothing], path) == [(1, "a long first line"), (1, "b")]


def test_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    """It is waited for."""
    path = tmp_path / "log"
    assert texts([nothing, append(path, "first\n"), nothing], path) == [(1, "first")]


def test_what_is_there_already_is_not_told_again(tmp_path: Path) -> None:
    """But for the last few lines, whose numbers are right."""
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(1, 10_001)))
    got = texts([append(path, "new\n")], path, from_start=False)
    assert len(got) < 3000
    assert got[-1] == (10_001, "new")
    assert all(text == f"line {number}" for number, text in got[:-1])
