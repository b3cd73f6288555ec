"""Where something stands in a big log: the literals of all wordings, and the marks of dumps and heads, found in one
pass over the bytes. Which lines are kept for that is left to `log`.
"""

import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, BinaryIO

from wsdiag.record import NamedTuple
from wsdiag.rules import tables

CHUNK = 256 << 10  # stays in a processor's cache, which is worth a third of the time
# Searching releases the interpreter's lock: two threads search while the first one counts lines.
THREADS = 2
# RE2's automaton for all literals at once; it is thrown away and built anew when it grows beyond this.
AUTOMATON_BYTES = 32 << 20
# A line longer than a chunk is searched in pieces that overlap by this; no literal is longer.
OVERLAP = 256
# Neighbours (before, after) of a line that matters. Behind a head or a dump more lines belong to it, as long as they
# look like it.
AROUND = (0, 1)
AROUND_BYTES = (1, 2)
LONGEST_QUOTE = 400
# What shows that bytes or HTTP heads are quoted in a log: heads of handshakes, and dumps of "GET /", "HTTP/", TLS.
MARKERS = (
    rb"(?i:sec-websocket-[akvpe])",
    rb"(?i:474554202f|485454502f31|47[ :,-]45[ :,-]54[ :,-]20[ :,-]2f|0x47, ?0x45, ?0x54)",
    rb"(?i:\b1603(?:01|03)0[0-3][0-9a-f]{2}01|\b16[ :,-]03[ :,-]0[0-3][ :,-]|\\x16\\x03|0x16, ?0x03)",
    rb"Buffer:[0-9a-f]{4}",  # Workerman's
    rb"<Buffer (?:[0-9a-f]{2}|\.\.\.)",
    rb"(?m)^(?:[<>] )?(?:HTTP/1\.[01] [1-5]\d\d|(?:GET|POST|HEAD|CONNECT) \S+ HTTP/1\.[01]\r?$)",
)


class Chunk(NamedTuple):
    """Whole lines (or, of an endless line, a piece: `ends` is False; `overlap` bytes of it were searched before)."""

    data: bytes
    ends: bool
    overlap: int


def chunks(stream: BinaryIO, named: str | None) -> Iterator[Chunk]:
    """The stream in chunks of whole lines, as UTF-8 where it is UTF-16 or UTF-32."""
    overlap = b""
    for data in _blocks(stream, named):
        yield Chunk(overlap + data if overlap else data, data.endswith(b"\n"), len(overlap))
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


class Searcher:
    """What is searched for: all literals and markers, but those that were found often enough."""

    def __init__(self) -> None:
        literals = sorted((literal.encode() for literal in tables.literals()), key=len, reverse=True)
        self.left = {**{literal: _escaped(literal) for literal in literals}, **{marker: marker for marker in MARKERS}}
        self.dropped = 0
        self.automaton = _compiled(list(self.left.values()))

    def drop(self, what: bytes) -> None:
        """Search no longer for that literal or marker."""
        if self.left.pop(what, None) is not None:
            self.dropped += 1
            self.automaton = _compiled(list(self.left.values()))


def _escaped(literal: bytes) -> bytes:
    """The literal as a pattern; Python's own escapes are RE2's too, but for bytes beyond ASCII."""
    return b"".join(b"\\x%02x" % byte if not chr(byte).isalnum() or byte > 0x7F else b"%c" % byte for byte in literal)


def _compiled(patterns: list[bytes]) -> Any:
    """The patterns as one automaton over bytes: RE2's, which reads each byte once; Python's where that is missing."""
    try:
        import re2
    except ImportError:  # pragma: no cover - a system without the wheel
        simple = [each.replace(b"(?m)^", b"(?:^|\n)").replace(b"\\r?$", b"") for each in patterns]
        return re.compile(b"|".join(simple))
    options = re2.Options()
    options.max_mem = AUTOMATON_BYTES
    options.never_capture = True
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(b"|".join(patterns), options)


@lru_cache(maxsize=4096)
def _marker(what: bytes) -> bytes:
    """The marker that these bytes were found by."""
    return next((marker for marker in MARKERS if re.match(marker, what)), MARKERS[-1])


class Found(NamedTuple):
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


class Searched(NamedTuple):
    """A chunk with the lines that matter, and how many lines end in it."""

    chunk: Chunk
    found: list[Found]
    ended: int


def _search(chunk: Chunk, automaton: Any) -> Searched:
    """Find literals and markers in the chunk, and count its lines on the way (every byte once)."""
    data = chunk.data
    neighbours = _neighbours()
    found: list[Found] = []
    number = counted = next_line = 0
    for match in automaton.finditer(data):
        start, stop = match.span()
        if stop <= chunk.overlap:
            continue  # in the piece before
        what = data[start:stop]
        around = neighbours.get(what)
        before, after = around or AROUND_BYTES
        more = 0 if around else LONGEST_QUOTE
        if start < next_line:
            last = found[-1]
            before, after, more = max(before, last.before), max(after, last.after), max(more, last.more)
            found[-1] = last._replace(before=before, after=after, more=more)
            continue
        line_start = data.rfind(b"\n", 0, start) + 1
        number += data.count(b"\n", counted, line_start)
        found.append(Found(what if around else _marker(what), start, line_start, number, before, after, more))
        counted = line_start
        next_line = data.find(b"\n", stop) + 1 or len(data)
    return Searched(chunk, found, number + data.count(b"\n", counted))


def searched(chunks: Iterator[Chunk], searcher: Searcher) -> Iterator[Searched]:
    """Search the chunks, some ahead of the others, and give them back in their order."""
    from concurrent.futures import Future, ThreadPoolExecutor

    _neighbours()  # once, and not in both threads
    waiting: deque[Future[Searched]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(_search, chunk, searcher.automaton))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
