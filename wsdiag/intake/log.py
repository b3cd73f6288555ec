"""Logs of any size become the lines that matter: one pass with RE2 over the bytes, in bounded memory. What the lines
say is left to `rules.reported` and to the readers of dumps and transcripts.
"""

import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from wsdiag.intake.encoding import clean, decode, decode_lines, lines_of, unicode_encoding
from wsdiag.intake.search import CHUNK, Searched, Searcher, chunks, searched
from wsdiag.model import LogLine, Note, Origin
from wsdiag.record import NamedTuple

# A text up to this size is read whole and every line of it is kept; of a larger one only the lines that matter.
SMALL = 1 << 20
# A kept line is at most this long (around what was found in it): no wording and no useful dump is longer.
LONGEST_LINE = 64 * 1024
LEAD = 4 * 1024
# After so many lines a literal is no longer searched for: the cause is told, and 20,000 lines of 100 bytes are 10 MB.
# Each line with a dump or a head may become a connection, of which 2,000 are enough.
MOST_LINES = 20_000
MOST_QUOTES = 2_000
# Beyond this many bytes only the first lines of each literal are kept.
MOST_BYTES = 24 << 20
RARE = 20
# What looks like the next line of a dump or of a head.
CONTINUES = re.compile(
    rb"[ \t<>|*]*(?:[\w-]{1,40}: |[0-9A-Fa-f]{4,16}[: ]|(?:[0-9A-Fa-f]{2}[ ,:]){4}|[0-9A-Fa-f]{16}|0x[0-9A-Fa-f]{2},"
    rb"|\\x[0-9A-Fa-f]{2}|\r?$|\d{1,3}, ?\d{1,3},)"
)


class Scanned(NamedTuple):
    """What was read: the lines, whether they are all there are (`whole`), and how many there were in all.

    `quoting` are the ranges of `lines` that may hold dumps or heads: of a big log those around the markers.
    """

    lines: list[LogLine]
    notes: tuple[Note, ...]
    whole: bool
    total_lines: int
    quoting: tuple[range, ...] = ()


def scan(stream: BinaryIO, source: str) -> Scanned:
    """Read a log, plain or gzip: a small one whole, of a big one the lines that matter and their neighbours."""
    notes: list[Note] = []
    head, rest = _peek(stream)
    if head.startswith(b"\x1f\x8b"):
        import gzip

        notes.append(Note("gzip"))
        head, rest = _peek(cast(BinaryIO, gzip.GzipFile(fileobj=rest, mode="rb")))
    if len(head) <= SMALL:
        decoded = decode(head)
        lines = lines_of(decoded.text, source)
        total = lines[-1].origin.line or 0 if lines else 0
        return Scanned(lines, (*notes, *decoded.notes), True, total, (range(len(lines)),))
    named = unicode_encoding(head[:1024])
    if named is not None:
        notes.append(Note("encoding", {"encoding": named.upper()}))
    searcher = Searcher()
    picked = _Picked(searcher)
    _pick(searched(chunks(rest, named), searcher), picked)
    texts, decoding = decode_lines([line for _, line in picked.lines])
    lines = [
        LogLine(clean(text).strip("\r"), Origin(source, number))
        for (number, _), text in zip(picked.lines, texts, strict=True)
    ]
    notes += [*decoding, *picked.notes()]
    return Scanned(lines, tuple(notes), False, picked.total, tuple(picked.quoting))


def _peek(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes (one more than a small text has), and the stream from its start on."""
    parts, size = [], 0
    while size <= SMALL:
        data = _read(stream, SMALL + 1 - size)
        if not data:
            break
        parts.append(data)
        size += len(data)
    head = b"".join(parts)
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        stream.seek(0)
        return head, stream
    return head, io.BufferedReader(_Rest(head, stream), CHUNK)


def _read(stream: BinaryIO, size: int) -> bytes:
    """The next bytes; nothing more where a gzip is damaged or cut off."""
    import zlib

    try:
        return stream.read(size)
    except (EOFError, zlib.error):
        return b""
    except OSError:
        if hasattr(stream, "mtime"):  # gzip.BadGzipFile; a file that cannot be read is the caller's problem
            return b""
        raise


class _Rest(io.RawIOBase):
    """A stream that cannot be turned back, with the first bytes that were read from it put in front again."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self.head = head
        self.stream = stream

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one read goes."""
        size = len(buffer)
        if self.head:
            data, self.head = self.head[:size], self.head[size:]
        else:
            data = _read(self.stream, size)
        buffer[: len(data)] = data
        return len(data)


class _Picked:
    """The lines that are kept, and the counts of those that are not."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.lines: list[tuple[int, bytes]] = []
        self.quoting: list[range] = []
        self.total = 0
        self.cut = 0
        self.bytes = 0
        self.seen: dict[bytes, int] = {}

    def keep(self, number: int, line: bytes, around: int = 0) -> None:
        """Keep a line; of a very long one the part around the byte `around`."""
        if len(line) > LONGEST_LINE:
            start = max(0, around - LEAD)
            line = line[start : start + LONGEST_LINE]
            self.cut += 1
        self.bytes += len(line)
        self.lines.append((number, line))

    def quote(self, first: int, stop: int) -> None:
        """The kept lines from `first` to before `stop` (places in `lines`) may hold bytes or heads."""
        if self.quoting and self.quoting[-1].stop >= first:
            first = self.quoting.pop().start
        self.quoting.append(range(first, stop))

    def wanted(self, what: bytes, quoting: bool) -> bool:
        """True until enough lines with this literal or marker were kept; then it is not searched for any more."""
        count = self.seen[what] = self.seen.get(what, 0) + 1
        most = (MOST_QUOTES if quoting else MOST_LINES) if self.bytes < MOST_BYTES else RARE
        if count < most:
            return True
        self.searcher.drop(what)
        return count == most

    def notes(self) -> list[Note]:
        """What there is to say about the reading."""
        notes = [Note("log-scanned", {"count": self.total, "kept": len(self.lines)})]
        if self.cut:
            notes.append(Note("line-cut", {"count": self.cut, "limit": LONGEST_LINE}))
        if self.searcher.dropped:
            notes.append(Note("found-often-enough", {"count": self.searcher.dropped}))
        return notes


def _pick(found_in: Iterator[Searched], picked: _Picked) -> None:
    """Keep the lines that hold something, and their neighbours, each once and in order."""
    before_this = b""  # the chunk in front, for neighbours in it
    number = 1  # of the chunk's first line
    kept = 0  # the number of the last line kept
    until = 0  # lines up to this number are neighbours of one that was kept
    more = 0  # and up to this one, if they look like its continuation
    for chunk, found, ended in found_in:
        data = chunk.data
        position, here = 0, number  # the start of a line, and that line's number
        for each in (*found, None):
            end = each.line_start if each else len(data)
            while position < end and here <= max(until, more):
                if here > until and not CONTINUES.match(data, position):
                    more = until
                    break
                position = _keep(picked, here, data, position)
                if here <= more:
                    picked.quote(len(picked.lines) - 1, len(picked.lines))
                kept, here = here, here + 1
            if each is None or not picked.wanted(each.what, each.more > 0):
                continue
            here = number + each.number
            for other, line in _lines_before(before_this, data, end, here, min(each.before, here - 1 - kept)):
                picked.keep(other, line)
            if each.more:
                picked.quote(max(0, len(picked.lines) - each.before), len(picked.lines) + 1)
            position = _keep(picked, here, data, end, each.start)
            until, more = max(until, here + each.after), max(more, here + each.more)
            kept, here = here, here + 1
        number += ended
        picked.total = number - (1 if chunk.ends else 0)
        before_this = data


def _keep(picked: _Picked, number: int, data: bytes, start: int, around: int | None = None) -> int:
    """Keep the line that begins at `start`; the start of the next one."""
    end = data.find(b"\n", start)
    end = len(data) if end < 0 else end
    picked.keep(number, data[start:end], 0 if around is None else around - start)
    return end + 1


def _lines_before(earlier: bytes, data: bytes, end: int, number: int, count: int) -> list[tuple[int, bytes]]:
    """The `count` lines in front of the line that begins at `end` of the data and has that number."""
    lines: list[tuple[int, bytes]] = []
    while len(lines) < count:
        if end <= 0:
            if not earlier.endswith(b"\n"):
                break
            data, end, earlier = earlier, len(earlier), b""
        start = data.rfind(b"\n", 0, end - 1) + 1
        lines.append((number - len(lines) - 1, data[start : end - 1]))
        end = start
    return lines[::-1]
