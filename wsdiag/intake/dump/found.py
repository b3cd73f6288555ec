"""What a reader of a notation gives back, and the pasted lines as the readers see them; the notations themselves are
left to the modules beside this one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from wsdiag.intake.dump.clean import body_column, clean
from wsdiag.model import Gap, LogLine, Mark, Note, Side
from wsdiag.record import NamedTuple


class Dump(NamedTuple):
    """Bytes that were written as text.

    `cut`: bytes are known to be missing at the end. `lossy`: bytes in the middle were lost or replaced. `first` and
    `last` index the given lines (inclusive); `start` and `stop` are columns in the first and in the last of them.
    `from_start` is False when the notation's own offsets say that bytes in front are missing; `gaps` holds the holes
    that the offsets show. A dump without data (`[B@32464a14`) has the note "dump-no-data".
    """

    data: bytes
    notation: str
    marks: tuple[Mark, ...]
    side: Side | None
    cut: bool
    lossy: bool
    notes: tuple[Note, ...]
    first: int
    last: int
    start: int = 0
    stop: int = 0
    from_start: bool = True
    gaps: tuple[Gap, ...] = ()
    offset: int = 0  # what the notation's own first offset says
    indent: str = ""  # what stands in front of the offset: the two directions of a followed stream differ in it


class Text:
    """The pasted lines, cleaned as they are asked for: without look-alike characters, columns kept where possible."""

    __slots__ = ("_cleaned", "_columns", "lines", "passed", "refused")

    # Cleaned lines are kept, because several readers look at the same line, but no more than this many.
    KEPT = 4096

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self.lines = lines
        self._cleaned: dict[int, str] = {}
        self._columns: dict[int, int] = {}
        # By reader, the last line of what went on over several lines and is no dump after all: its lines are not tried
        # one by one again.
        self.passed: dict[str, int] = {}
        # The last line that is no row of a dump, and the line after it: the same two are not looked at again.
        self.refused: tuple[str, str] | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> str:
        found = self._cleaned.get(index)
        if found is None:
            if len(self._cleaned) >= self.KEPT:
                self._cleaned.clear()
                self._columns.clear()
            found = self._cleaned[index] = clean(self.lines[index].text)
        return found

    def column(self, index: int) -> int:
        """Where the line begins after the prefixes that loggers, containers and quoting put in front."""
        found = self._columns.get(index)
        if found is None:
            found = self._columns[index] = body_column(self[index])
        return found

    def body(self, index: int) -> str:
        """The line without the prefixes that loggers, containers and quoting put in front."""
        line = self[index]
        return line[self.column(index) :]


@cache
def rx(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """The compiled pattern. Compiled when first used: `decode` needs few of the many, and each costs up to 1 ms."""
    return re.compile(pattern, flags)


def blank(content: str, start: int, stop: int | None = None, besides: str = "") -> bool:
    """True when nothing but white space and the characters `besides` stands between the columns; copies nothing."""
    match = rx(rf"[\s{besides}]*+").match(content, start)
    return match is not None and match.end() >= (len(content) if stop is None else stop)


# Places on one line that a reader tries in vain before it gives the line up: no log line has so many that look right
# and are not, and a forged one may not keep us busy.
MOST_TRIES = 2000


def places(pattern: str, content: str, column: int, stop: int | None = None) -> Iterator[re.Match[str]]:
    """The first matches of the pattern from the column on, at most `MOST_TRIES` of them."""
    return islice(rx(pattern).finditer(content, column, len(content) if stop is None else stop), MOST_TRIES)


def marks_of(text: Text, rows: Iterable[tuple[int, int]]) -> tuple[Mark, ...]:
    """Marks for (offset, line index) pairs; rows that add no bytes are left out."""
    marks: list[Mark] = []
    for offset, index in rows:
        if marks and marks[-1].offset == offset:
            marks.pop()
        marks.append(Mark(offset, text.lines[index].origin))
    return tuple(marks)


def inline(
    text: Text,
    line: int,
    start: int,
    stop: int,
    data: bytes,
    notation: str,
    notes: tuple[Note, ...] = (),
    *,
    cut: bool = False,
    lossy: bool = False,
    last: int | None = None,
    side: Side | None = None,
    rows: Sequence[tuple[int, int]] = (),
) -> Dump:
    """A dump that begins in the middle of a line: one mark, unless `rows` gives more."""
    return Dump(
        data,
        notation,
        marks_of(text, rows or ((0, line),)),
        side,
        cut,
        lossy,
        (Note("dump-form", {"notation": notation, "size": len(data)}), *notes),
        line,
        line if last is None else last,
        start,
        stop,
    )


def cut_note(missing: int | None) -> Note:
    """Says that the end is missing, and how many bytes if that is known."""
    return Note("dump-cut", {"missing": missing}) if missing else Note("dump-cut")
