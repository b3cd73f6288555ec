"""Bytes that people paste as text: every notation of them, found inside log lines or given as such; what the bytes mean
is left to `wsdiag.wire`.
"""

from collections.abc import Callable, Sequence

from wsdiag.intake.dump.arrays import read_array, read_sized
from wsdiag.intake.dump.encodings import (
    count_replaced,
    read_base32,
    read_base64,
    read_caret,
    read_glyphs,
    read_quoted_printable,
    read_raw,
    read_url,
    unpacked,
)
from wsdiag.intake.dump.found import Dump, Text
from wsdiag.intake.dump.grid import read_grid
from wsdiag.intake.dump.join import join_calls, join_follow
from wsdiag.intake.dump.lists import read_list
from wsdiag.intake.dump.nodata import read_no_data
from wsdiag.intake.dump.packets import join_packets
from wsdiag.intake.dump.plausible import FRAMES, weight
from wsdiag.intake.dump.quoted import read_escaped, read_quoted, read_whole
from wsdiag.intake.dump.runs import read_introduced, read_prefixed, read_run
from wsdiag.intake.dump.strace import read_call
from wsdiag.model import LogLine, Origin, WsdiagError

__all__ = ["Dump", "decode_dump", "find_dumps"]

Reader = Callable[[Text, int, int, bool], Dump | None]


def _grid(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    return read_grid(text, line, strict) if column == 0 else None


# In the order of preference where two begin at the same place.
_READERS: tuple[Reader, ...] = (
    _grid,
    read_no_data,
    read_list,
    read_array,
    read_sized,
    read_call,
    read_introduced,
    read_quoted,
    read_escaped,
    read_prefixed,
    read_run,
    read_base64,
    read_base32,
    read_url,
    read_quoted_printable,
    read_caret,
    read_glyphs,
    read_raw,
)


def find_dumps(lines: Sequence[LogLine]) -> list[Dump]:
    """All dumps inside arbitrary text, in order."""
    text = Text(lines)
    return _joined(_find(text, range(len(lines)), strict=True), strict=True)


def decode_dump(text: str, source: str) -> list[Dump]:
    """The dumps in a text of which the user says that it is one; raises "no-dump-found" when nothing can be bytes."""
    lines = [LogLine(line, Origin(source, number)) for number, line in enumerate(text.splitlines(), 1)]
    pasted = Text(lines)
    found = _joined(_wanted(pasted, _find(pasted, range(len(lines)), strict=False)), strict=False)
    if not found:
        whole = read_whole(pasted, strict=False)
        if whole is None:
            raise WsdiagError("no-dump-found", source=source)
        found = [whole]
    return found


# In a text with a longer dump, fewer bytes than this are a number in the prose around it.
_FEWEST_BYTES = 4


def _wanted(text: Text, found: list[Dump]) -> list[Dump]:
    """Without the numbers of the prose around a dump: times, sizes and line numbers are hex digits too."""
    sure = [dump for dump in found if not _bare(dump) or weight(dump.data) >= FRAMES or _alone(text, dump)]
    kept = sure or found
    if max((len(dump.data) for dump in kept), default=0) >= _FEWEST_BYTES:
        kept = [dump for dump in kept if len(dump.data) >= _FEWEST_BYTES or not _bare(dump)]
    return kept


def _bare(dump: Dump) -> bool:
    """True for hex that nothing but its digits tells to be bytes."""
    return dump.notation == "hex" or dump.notation.startswith("hex-")


def _alone(text: Text, dump: Dump) -> bool:
    """True when nothing but white space and logging prefixes stands around the dump on its first line."""
    content = text[dump.first]
    stop = dump.stop if dump.last == dump.first else len(content)
    return not content[: dump.start].strip() and not content[stop:].strip(" \t.…")


def _joined(dumps: list[Dump], strict: bool) -> list[Dump]:
    """The dumps with packets, followed streams and system calls put together."""
    dumps = [count_replaced(unpacked(dump)) for dump in dumps]
    if len(dumps) == 1 and len(dumps[0].data) < 40 and dumps[0].notation != "strace":
        return dumps
    return join_follow(join_calls(join_packets(dumps), strict))


def _find(text: Text, candidates: Sequence[int], strict: bool) -> list[Dump]:
    """Run the readers over the candidate lines; a reader's next find on a line is kept until it is passed."""
    dumps: list[Dump] = []
    line = column = 0
    for candidate in candidates:
        if candidate < line:
            continue
        if candidate > line:
            line, column = candidate, 0
        while line == candidate:
            dump = _first(text, line, column, strict)
            if dump is None:
                break
            dumps.append(dump)
            if dump.last == line and dump.stop <= column:
                break
            line, column = dump.last, dump.stop
    return dumps


def _first(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    best: Dump | None = None
    for reader in _READERS:
        found = reader(text, line, column, strict)
        if found is not None and (best is None or found.start < best.start):
            best = found
    return best
