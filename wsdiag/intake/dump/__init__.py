"""Bytes that people paste as text: every notation of them, found inside log lines or given as such; what the bytes mean
is left to `wsdiag.wire`.
"""

from collections.abc import Callable, Iterable, Sequence

from wsdiag.intake.dump.arrays import read_array, read_sized
from wsdiag.intake.dump.clean import is_hex
from wsdiag.intake.dump.dissection import only_payloads, read_dissection
from wsdiag.intake.dump.encodings import (
    count_replaced,
    read_base32,
    read_base64,
    read_quoted_printable,
    read_url,
    unpacked,
)
from wsdiag.intake.dump.found import Dump, Text
from wsdiag.intake.dump.grid import read_grid
from wsdiag.intake.dump.join import join_calls, join_follow
from wsdiag.intake.dump.lists import read_list
from wsdiag.intake.dump.nodata import read_no_data
from wsdiag.intake.dump.packets import join_packets
from wsdiag.intake.dump.plausible import FRAMES, KNOWN, weight
from wsdiag.intake.dump.prefilter import candidates
from wsdiag.intake.dump.quoted import read_escaped, read_quoted, read_whole
from wsdiag.intake.dump.runs import read_introduced, read_prefixed, read_run
from wsdiag.intake.dump.strace import read_call
from wsdiag.intake.dump.terminal import read_caret, read_glyphs, read_raw
from wsdiag.model import LogLine, Note, Origin, WsdiagError

__all__ = ["Dump", "decode_dump", "find_dumps"]

Reader = Callable[[Text, int, int, bool], Dump | None]


def _grid(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    return read_grid(text, line, strict)


# In the order of preference where two begin at the same place.
_NOTATIONS: tuple[Reader, ...] = (
    read_dissection,
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
)
# Readers to which much that is no dump looks like one; a given dump is theirs only when the others find less in it.
_ENCODINGS: tuple[Reader, ...] = (
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
    found = _joined(_find(text, candidates(lines), _NOTATIONS + _ENCODINGS, strict=True), strict=True)
    return found or _nothing_else(text)


# A paste that is a dump and nothing else is short; a long one is a log.
_SHORT_PASTE = 200


def _nothing_else(text: Text) -> list[Dump]:
    """The dumps of a paste in which nothing else stands: no other reading of it is left, so any bytes will do."""
    if not 0 < len(text) <= _SHORT_PASTE or sum(len(line.text) for line in text.lines) > 1 << 16:
        return []
    found = _find(text, range(len(text)), _NOTATIONS, strict=False)
    size = sum(len(text[index].strip()) for index in range(len(text)))
    if not found or min(len(dump.data) for dump in found) < _FEWEST_BYTES or _covered(text, found) < 0.9 * size:
        return []
    return _joined(found, strict=False)


def decode_dump(text: str, source: str) -> list[Dump]:
    """The dumps in a text of which the user says that it is one; raises "no-dump-found" when nothing can be bytes."""
    # str.splitlines() would take U+0085 and form feeds for line ends, which are bytes here.
    split = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [LogLine(line, Origin(source, number)) for number, line in enumerate(split, 1)]
    pasted = Text(lines)
    everything = range(len(lines))
    certain = [
        dump
        for dump in _find(pasted, everything, _NOTATIONS + _ENCODINGS, strict=True)
        if dump.data and (weight(dump.data) == KNOWN or not dump.notation.endswith("-escapes"))
    ]
    found = _wanted(pasted, _find(pasted, everything, _NOTATIONS, strict=False))
    if certain and all(_overlaps(dump, certain) or (_bare(dump) and not _alone(pasted, dump)) for dump in found):
        found = certain
    if _may_be_longer(pasted, found, bool(certain)):
        whole = read_whole(pasted)
        readings = [found, [whole] if whole else [], _find(pasted, everything, _ENCODINGS, strict=False)]
        found = max(readings, key=lambda reading: (_covered(pasted, reading), -len(reading)))
    if not found:
        raise WsdiagError("no-dump-found", source=source)
    left = _left_over(pasted, found)
    joined = _joined(found, strict=False)
    if left:
        note = Note("dump-dropped", {"characters": len(left), "text": left[:MOST_QUOTED]})
        joined[0] = joined[0]._replace(notes=(*joined[0].notes, note))
    return joined


# Characters of dropped text that are quoted.
MOST_QUOTED = 60


def _left_over(text: Text, dumps: list[Dump]) -> str:
    """The text around the dumps that was not read as bytes, white space and punctuation apart."""
    pieces: list[str] = []
    line = column = 0
    for dump in sorted(dumps, key=lambda each: (each.first, each.start)):
        if (dump.first, dump.start) >= (line, column):
            pieces += _between(text, line, column, dump.first, dump.start)
        if (dump.last, dump.stop) > (line, column):
            line, column = dump.last, dump.stop
    if line < len(text):
        pieces += _between(text, line, column, len(text) - 1, len(text[len(text) - 1]))
    left = " ".join(piece for piece in pieces if any(char.isalnum() for char in piece))
    return left.strip()


def _between(text: Text, line: int, column: int, last: int, stop: int) -> list[str]:
    if line == last:
        return [text[line][column:stop].strip()]
    middle = [text[index].strip() for index in range(line + 1, last)]
    return [text[line][column:].strip(), *middle, text[last][:stop].strip()]


def _may_be_longer(text: Text, found: list[Dump], certain: bool) -> bool:
    """True when only pieces of one dump may have been found: hex digits in base64, escapes up to a blank."""
    if found and _unquoted(text, found[0]) and len(text[found[0].first][: found[0].start].split()) < 2:
        return True
    if certain:
        return False
    size = sum(len(text[index]) for index in range(len(text)))
    small = 2 * _covered(text, found) < size  # a literal that is not closed, in the middle of something else
    return all(_bare(dump) or _unquoted(text, dump) or (dump.cut and small) for dump in found)


def _overlaps(dump: Dump, others: list[Dump]) -> bool:
    return any(
        (other.first, other.start) < (dump.last, dump.stop) and (dump.first, dump.start) < (other.last, other.stop)
        for other in others
    )


def _covered(text: Text, dumps: list[Dump]) -> int:
    """How many characters the dumps were read from."""
    return sum(dump.stop - dump.start + sum(len(text[line]) for line in range(dump.first, dump.last)) for dump in dumps)


# In a text with a longer dump, fewer bytes than this are a number in the prose around it.
_FEWEST_BYTES = 4


def _wanted(text: Text, found: list[Dump]) -> list[Dump]:
    """Without the numbers of the prose around a dump: times, sizes and line numbers are hex digits too."""
    sure = [dump for dump in found if not _bare(dump) or weight(dump.data) >= FRAMES or _alone(text, dump)]
    kept = sure or found
    if max((len(dump.data) for dump in kept), default=0) >= _FEWEST_BYTES:
        return [dump for dump in kept if len(dump.data) >= _FEWEST_BYTES or not _bare(dump)]
    return [dump for dump in kept if not _bare(dump) or _alone(text, dump)]


def _unquoted(text: Text, dump: Dump) -> bool:
    """True for escapes that no quotes enclose: the literal may be longer than what was found of it."""
    opens = text[dump.first][dump.start : dump.start + 1] in ('"', "'", "`")
    return dump.notation.endswith("-escapes") and (dump.cut or not opens)


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
    dumps = [count_replaced(unpacked(dump)) for dump in only_payloads(dumps)]
    if len(dumps) == 1 and len(dumps[0].data) < 40 and dumps[0].notation != "strace":
        return dumps
    return join_follow(join_calls(join_packets(dumps), strict))


def _find(text: Text, wanted: Iterable[int], readers: tuple[Reader, ...], strict: bool) -> list[Dump]:
    """Run the readers over the wanted lines, from left to right."""
    dumps: list[Dump] = []
    line = column = 0
    ahead: dict[Reader, Dump | None] = {}
    for candidate in wanted:
        if candidate < line:
            continue
        if candidate > line:
            line, column = candidate, 0
        ahead.clear()
        content = text[line]
        fit = tuple(each for each in readers if _reads_hex(each, content, strict)) if is_hex(content) else readers
        while line == candidate:
            dump = _first(text, line, column, fit, strict, ahead) if content[column : column + 1] else None
            if dump is None:
                break
            dumps.append(dump)
            if dump.last == line and dump.stop <= column:
                break
            line, column = dump.last, dump.stop
    return dumps


# The digits of base32 (RFC 4648 section 6) that are hex digits, too.
_BASE32_HEX = "ABCDEF234567"
# A token of more hex digits is no offset of a row.
_LONGEST_OFFSET = 16


def _reads_hex(reader: Reader, content: str, strict: bool) -> bool:
    """Whether the reader can find anything in a line of hex digits and blanks; the others need a sign of their own.

    This is for speed alone: such lines are most of what `wsdiag decode` is given, and to start each reader costs more
    than to read the digits.
    """
    if reader is _grid:
        return any(len(token) <= _LONGEST_OFFSET for token in content.split())
    if reader is read_base32:
        return any(not token.strip(_BASE32_HEX) for token in content.split())
    return reader is read_run or (reader is read_base64 and not strict)


def _first(
    text: Text, line: int, column: int, readers: tuple[Reader, ...], strict: bool, ahead: dict[Reader, Dump | None]
) -> Dump | None:
    """The dump that begins first from the column on. `ahead` keeps each reader's next find on the line until it is
    passed, so that a line with many dumps is read once by each, not once for every dump."""
    best: Dump | None = None
    for reader in readers:
        if reader not in ahead:
            ahead[reader] = reader(text, line, column, strict)
        found = ahead[reader]
        if found is not None and found.start < column:
            found = ahead[reader] = None if reader is _grid else reader(text, line, column, strict)
        if found is not None and (best is None or found.start < best.start):
            best = found
    return best
