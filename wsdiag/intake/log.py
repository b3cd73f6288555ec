"""Logs of any size become the lines that matter: one pass with RE2 over the bytes, in bounded memory. What the lines
say is left to `rules.reported` and to the readers of dumps and transcripts.
"""

import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, BinaryIO, NamedTuple, cast

from wsdiag.intake.encoding import clean, decode, decode_lines, lines_of, unicode_encoding
from wsdiag.model import LogLine, Note, Origin
from wsdiag.rules import tables

# A text up to this size is read whole and every line of it is kept; of a larger one only the lines that matter.
SMALL = 1 << 20
CHUNK = 256 << 10  # stays in a processor's cache, which is worth a third of the time
# Searching releases the interpreter's lock: two threads search while the first one counts lines.
THREADS = 2
# RE2's automaton for all literals at once; it is thrown away and built anew when it grows beyond this.
AUTOMATON_BYTES = 32 << 20
# A kept line is at most this long (around what was found in it): no wording and no useful dump is longer.
LONGEST_LINE = 64 * 1024
LEAD = 4 * 1024
# A line longer than a chunk is searched in pieces that overlap by this; no literal is longer.
OVERLAP = 256
# The lines kept for one literal or marker; the others are counted. With 100 bytes a line this stays far below 100 MB.
MOST_LINES_PER_LITERAL = 20_000
MOST_BYTES = 24 << 20
# Neighbours (before, after) of a line that matters. Behind a head or a dump more lines belong to it, as long as they
# look like it.
AROUND = (0, 1)
AROUND_BYTES = (1, 2)
LONGEST_QUOTE = 400
CONTINUES = re.compile(
    rb"[ \t<>|*]*(?:[\w-]{1,40}: |[0-9A-Fa-f]{4,16}[: ]|(?:[0-9A-Fa-f]{2}[ ,:]){4}|[0-9A-Fa-f]{16}|0x[0-9A-Fa-f]{2},"
    rb"|\\x[0-9A-Fa-f]{2}|\r?$|\d{1,3}, ?\d{1,3},)"
)
# What shows that bytes or HTTP heads are quoted in a log: heads of handshakes, and dumps of "GET /", "HTTP/", TLS.
MARKERS = (
    rb"(?i:sec-websocket-[akvpe])",
    rb"(?i:474554202f|485454502f31|47[ :,-]45[ :,-]54[ :,-]20[ :,-]2f|0x47, ?0x45, ?0x54)",
    rb"(?i:\b1603(?:01|03)0[0-3][0-9a-f]{2}01|\b16[ :,-]03[ :,-]0[0-3][ :,-]|\\x16\\x03|0x16, ?0x03)",
    rb"Buffer:[0-9a-f]{4}",  # Workerman's
    rb"<Buffer (?:[0-9a-f]{2}|\.\.\.)",
    rb"(?m)^(?:[<>] )?(?:HTTP/1\.[01] [1-5]\d\d|(?:GET|POST|HEAD|CONNECT) \S+ HTTP/1\.[01]\r?$)",
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
    picked = _Picked()
    _pick(_chunks(rest, named), picked)
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


class _Chunk(NamedTuple):
    """Whole lines (or, of an endless line, a piece: `ends` is False; `overlap` bytes of it were searched before)."""

    data: bytes
    ends: bool
    overlap: int


def _chunks(stream: BinaryIO, named: str | None) -> Iterator[_Chunk]:
    """The stream in chunks of whole lines, as UTF-8 where it is UTF-16 or UTF-32."""
    overlap = b""
    for data in _blocks(stream, named):
        yield _Chunk(overlap + data if overlap else data, data.endswith(b"\n"), len(overlap))
        overlap = data[max(data.rfind(b"\n") + 1, len(data) - OVERLAP) :]


def _blocks(stream: BinaryIO, named: str | None) -> Iterator[bytes]:
    """Blocks that end with a line, unless the line is longer than a block."""
    if named is None:
        while data := stream.read(CHUNK):
            yield data if data.endswith(b"\n") else data + stream.readline(CHUNK)
        return
    text = io.TextIOWrapper(stream, encoding=named, errors="replace", newline="\n")
    while characters := text.read(CHUNK):
        yield (characters + text.readline(CHUNK)).encode("utf-8", "replace")


@cache
def _neighbours() -> Mapping[bytes, tuple[int, int]]:
    """How many lines before and after a line with this literal belong to it: as far as its signatures look."""
    found = tables.reaches()
    return {
        literal.encode(): (max(AROUND[0], before), max(AROUND[1], after)) for literal, (before, after) in found.items()
    }


@cache
def _searcher() -> Any:
    """All literals and markers as one RE2 automaton over bytes; None where RE2 is not installed."""
    try:
        import re2
    except ImportError:  # pragma: no cover - a system without the wheel
        return None
    options = re2.Options()
    options.max_mem = AUTOMATON_BYTES
    options.never_capture = True
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    literals = sorted((literal.encode() for literal in tables.literals()), key=len, reverse=True)
    return re2.compile(b"|".join([re2.escape(literal) for literal in literals] + list(MARKERS)), options)


class _Found(NamedTuple):
    """A line that matters: the literal or marker in it, where it and the line begin, the line's number (in the chunk,
    from 0), how many lines before and after it belong to it, and how many more may continue it.
    """

    what: bytes
    start: int
    line_start: int
    number: int
    before: int
    after: int
    more: int


class _Searched(NamedTuple):
    """A chunk with the lines that matter, and how many lines end in it."""

    chunk: _Chunk
    found: list[_Found]
    ended: int


def _search(chunk: _Chunk) -> _Searched:
    """Find literals and markers in the chunk, and count its lines on the way (every byte once)."""
    data = chunk.data
    neighbours = _neighbours()
    found: list[_Found] = []
    number = counted = next_line = 0
    for match in (_searcher() or _slow_searcher()).finditer(data):
        start, stop = match.span()
        if stop <= chunk.overlap:
            continue  # in the piece before
        what = data[start:stop]
        before, after = neighbours.get(what, AROUND_BYTES)
        more = 0 if what in neighbours else LONGEST_QUOTE
        if start < next_line:
            last = found[-1]
            before, after, more = max(before, last.before), max(after, last.after), max(more, last.more)
            found[-1] = last._replace(before=before, after=after, more=more)
            continue
        if what.startswith(b"\n"):
            start += 1
        line_start = data.rfind(b"\n", 0, start) + 1
        number += data.count(b"\n", counted, line_start)
        found.append(_Found(what if what in neighbours else b"", start, line_start, number, before, after, more))
        counted = line_start
        next_line = data.find(b"\n", stop) + 1 or len(data)
    return _Searched(chunk, found, number + data.count(b"\n", counted))


@cache
def _slow_searcher() -> re.Pattern[bytes]:  # pragma: no cover
    """The same for Python's own engine."""
    literals = sorted((literal.encode() for literal in tables.literals()), key=len, reverse=True)
    markers = [marker.replace(b"(?m)^", b"(?:^|\n)").replace(b"\r?$", b"") for marker in MARKERS]
    return re.compile(b"|".join([re.escape(literal) for literal in literals] + markers))


def _searched(chunks: Iterator[_Chunk]) -> Iterator[_Searched]:
    """Search the chunks, some ahead of the others, and give them back in their order."""
    from concurrent.futures import Future, ThreadPoolExecutor

    _searcher(), _neighbours()  # once, and not in both threads
    waiting: deque[Future[_Searched]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(_search, chunk))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Picked:
    """The lines that are kept, and the counts of those that are not."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []
        self.quoting: list[range] = []
        self.total = 0
        self.cut = 0
        self.left_out = 0
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

    def wanted(self, what: bytes) -> bool:
        """True until too many lines with this literal or marker were kept."""
        count = self.seen[what] = self.seen.get(what, 0) + 1
        if count > MOST_LINES_PER_LITERAL or self.bytes > MOST_BYTES:
            self.left_out += 1
            return False
        return True

    def notes(self) -> list[Note]:
        """What there is to say about the reading."""
        notes = [Note("log-scanned", {"count": self.total, "kept": len(self.lines)})]
        if self.cut:
            notes.append(Note("line-cut", {"count": self.cut, "limit": LONGEST_LINE}))
        if self.left_out:
            notes.append(Note("lines-left-out", {"count": self.left_out}))
        return notes


def _pick(chunks: Iterator[_Chunk], picked: _Picked) -> None:
    """Keep the lines that hold something, and their neighbours, each once and in order."""
    before_this = b""  # the chunk in front, for neighbours in it
    number = 1  # of the chunk's first line
    kept = 0  # the number of the last line kept
    until = 0  # lines up to this number are neighbours of one that was kept
    more = 0  # and up to this one, if they look like its continuation
    for chunk, found, ended in _searched(chunks):
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
            if each is None or not picked.wanted(each.what):
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
