"""HTTP heads that are quoted in text become the bytes that went over the wire: pasted heads, `curl -v` and `-i`, debug
logs, a browser's Network tab. Escaped and encoded forms of bytes are left to `dump`, wording to `rules.reported`.

A head is believed only where a line holds nothing else than its first line (behind a log's prefix): an access-log line
or a sentence that quotes one is no head. Heads of HTTP/2 and 3, as curl shows them, never were bytes like these.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

from wsdiag.model import Ending, LogLine, Mark, Note, Origin, Stream
from wsdiag.record import NamedTuple

# A head longer than this is none: servers refuse more than some ten kilobytes, long before 200 lines.
MOST_LINES = 200
# What a server says with an error is on its first screen; the rules look at no more than 4 KB.
BODY_BYTES = 4096
BODY_LINES = 60
# A response this many lines behind a request, with no other head between, answers it.
ANSWER_WITHIN = 60
# Connections made of one text; a log with more heads than this is told by its first ones.
MOST_TRANSCRIPTS = 2000

CRLF = b"\r\n"


class Transcript(NamedTuple):
    """What the two sides sent, as far as the text quotes it (None: not quoted), and which lines it takes."""

    client: Stream | None
    server: Stream | None
    first: int
    last: int
    notes: tuple[Note, ...] = ()


class Part(NamedTuple):
    """A quoted head (with the start of its body): one side's bytes, and the lines `first` to `last` that hold it.

    `marker` is what stands in front of its lines: "> " and "< " in curl's and many debug logs, or nothing.
    """

    is_request: bool
    data: bytes
    marks: tuple[Mark, ...]
    complete: bool
    ending: Ending
    first: int
    last: int
    marker: str = ""
    notes: tuple[str, ...] = ()

    def stream(self) -> Stream:
        """The bytes as a stream."""
        return Stream(self.data, self.marks, ending=self.ending, total=len(self.data))


class _Line(NamedTuple):
    """A line taken apart: a log's prefix (time, program, container), curl's marker, and what the line says."""

    prefix: str
    marker: str
    text: str


class _Patterns(NamedTuple):
    """The expressions that take lines apart; compiled when the first text is read."""

    prefix: re.Pattern[str]
    marker: re.Pattern[str]
    request: re.Pattern[str]
    response: re.Pattern[str]
    header: re.Pattern[str]
    no_header: re.Pattern[str]
    packet: re.Pattern[str]
    packet_junk: re.Pattern[str]
    whole_head: re.Pattern[str]
    body_end: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    time = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[ ]?[+-]\d\d:?\d\d)?"
    level = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|trace|debug|info|notice|warn(?:ing)?|error)"
    return _Patterns(
        prefix=re.compile(
            "|".join(
                (
                    r"\d+\|[\w.@-]{1,60} *\| ",  # pm2
                    r"[\w./-]{1,60} +\| ",  # docker compose
                    rf"{time} (?:stdout|stderr) [FP] ",  # Kubernetes
                    r"[A-Z][a-z]{2} [ \d]\d [\d:]{8} [\w.-]{1,60} [\w./@-]{1,60}(?:\[\d+\])?: ",  # syslog, journald
                    rf"{time} [\w.-]{{1,60}} [\w./@-]{{1,60}}\[\d+\]: ",
                    rf"\[?{time}\]?[ \t:|-]+",
                    r"\[?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\]?[ \t:|-]+",
                    r"pid:\d+ ",
                    rf"\[?{level}\]?(?::[\w.]{{1,60}}:[\t ]*|[\t ]+\w+(?:\.\w+)+[:\t -]+|[:\t ]+)",  # Python's logging
                    r"\[[\w .:/-]{1,60}\] ",
                )
            )
        ),
        marker=re.compile(r"(?:[<>](?:[ \t]|$)){1,2}"),
        request=re.compile(r"""[ \t]*["']?(?P<line>[A-Z][A-Za-z]{2,15} [^\s"']\S* HTTP/(?:[01]|\d\.\d))\s*$"""),
        response=re.compile(r"""[ \t]*["']?(?P<line>HTTP/(?:[01]|\d\.\d) [1-9]\d\d(?:| [^"'{}]{0,80}))$"""),
        header=re.compile(r"(?P<name>:?[!#$%&*+.^_`|~0-9A-Za-z-]{1,80})[ \t]*:(?!//)[ \t]*(?P<value>.*)$"),
        no_header=re.compile(
            rf"(?:\w*(?:Error|Exception|error|exception)|{level}|(?:ws|wss|http|https|at|File|curl)) *:"
        ),
        packet=re.compile(r"\bIP6? \S+ > \S+: Flags \["),  # tcpdump -A
        packet_junk=re.compile(r"^.{0,200}?(?=(?:GET|POST|HEAD|CONNECT) \S+ HTTP/1|HTTP/1\.[01] \d)"),
        # Programs that are known to print a head to its end, but not the empty line behind it.
        whole_head=re.compile(r"Sec-WebSocket-Accept not (?:found|match)\. Header:|^-{2,} ?response header ?-{2,}$"),
        body_end=re.compile(r"^(?:[$#%] |\* |[<>] |curl: \(|\(connection|[{}] \[\d+ bytes|-{10,}$|= connection)"),
    )


def find_exchanges(lines: Sequence[LogLine]) -> list[Transcript]:
    """Every conversation that the lines quote, in their order."""
    from wsdiag.intake.network_tab import find_network_tabs

    parts = [*_heads(lines)]
    tabs = find_network_tabs(lines)
    taken = {index for tab in tabs for index in range(tab.first, tab.last + 1)}
    parts = [part for part in parts if part.first not in taken]
    found = [*tabs, *_conversations(lines, parts)]
    return sorted(found, key=lambda each: each.first)[:MOST_TRANSCRIPTS]


# --- Heads -----------------------------------------------------------------------------------------------------------


def _heads(lines: Sequence[LogLine]) -> Iterator[Part]:
    """Every head that is quoted line by line."""
    index = 0
    found = 0
    while index < len(lines) and found < 2 * MOST_TRANSCRIPTS:
        part = _head(lines, index) if "HTTP/" in lines[index].text else None
        if part is None:
            index += 1
            continue
        yield part
        found += 1
        index = part.last + 1


def _take_apart(text: str) -> _Line:
    """Split a line into a log's prefix, a marker and the rest."""
    patterns = _patterns()
    prefix = 0
    for _ in range(4):  # "web_1 | 2024-01-30 10:00:00 DEBUG websockets.client > …"
        match = patterns.prefix.match(text, prefix)
        if match is None:
            break
        prefix = match.end()
    match = patterns.marker.match(text, prefix)
    end = match.end() if match else prefix
    return _Line(text[:prefix], text[prefix:end].replace("\t", " ").strip(), text[end:])


def _head(lines: Sequence[LogLine], index: int) -> Part | None:
    """The head whose first line this is, or None."""
    patterns = _patterns()
    text = lines[index].text
    start = _take_apart(text)
    before = lines[index - 1].text if index else ""
    whole = bool(patterns.whole_head.search(before))
    match = patterns.request.fullmatch(start.text) or patterns.response.fullmatch(start.text)
    if match is None and (glued := patterns.whole_head.search(text)):
        whole = True
        start = _Line("", "", text[glued.end() :].strip())
        match = patterns.response.fullmatch(start.text)
    if match is None and patterns.packet.search(before):
        start = _Line("", "", patterns.packet_junk.sub("", text, count=1))
        match = patterns.request.fullmatch(start.text) or patterns.response.fullmatch(start.text)
    if match is None:
        return None
    is_request = not match["line"].startswith("HTTP/")
    indent = len(start.text) - len(start.text.lstrip())
    data = bytearray(_bytes(match["line"]) + CRLF)
    marks = [Mark(0, lines[index].origin)]
    headers = 0
    complete = False
    last = index
    other = index + 1
    while other < len(lines) and other - index <= MOST_LINES and _neighbours(lines, other):
        line = _take_apart(lines[other].text)
        if indent and not line.text[:indent].strip():
            line = line._replace(text=line.text[indent:])
        if start.marker and line.marker != start.marker and _between(line, start.marker):
            other += 1  # curl's remarks ("* …", "{ [5 bytes data]") stand between the lines of a head
            continue
        if line.marker != start.marker or bool(line.prefix) != bool(start.prefix):
            # Whoever marks the lines prints whole heads: the next voice ends it.
            complete = bool(start.marker) or whole
            break
        if not line.text.strip(" \t\"'"):
            complete, last = True, other
            break
        if not _is_header(line.text, headers):
            complete = whole
            break
        marks.append(Mark(len(data), lines[other].origin))
        data += _bytes(line.text.rstrip()) + CRLF
        headers, last = headers + 1, other
        other += 1
    if is_request and not headers and not start.marker:
        return None  # a request line alone is what access logs and prose are full of
    ending: Ending = "open" if complete and not whole else "cut"
    if complete:
        marks.append(Mark(len(data), lines[last].origin))
        data += CRLF
        if start.prefix and (start.marker or b"content-length" not in data.lower()):
            # A debug log shows no body, and the next line of a log is not one.
            ending = "open" if is_request or b" 101 " in data[:14] else "cut"
        elif not whole and (not start.marker or not is_request):
            # curl -v prints the body without marker.
            last, ending = _body(lines, last, bytes(data), is_request, start._replace(marker=""), data, marks)
    return Part(is_request, bytes(data), tuple(marks), complete, ending, index, last, start.marker)


def _between(line: _Line, marker: str) -> bool:
    """True for a remark that may stand inside a marked head."""
    return not line.marker and line.text.startswith(("* ", "{ [", "} ["))


def _is_header(text: str, headers: int) -> bool:
    """True when the line is a header field, or the continuation of one (RFC 9112 section 5.2)."""
    patterns = _patterns()
    if headers and text[0] in " \t" and text.strip():
        return not text.lstrip().startswith(("at ", "File "))  # a stack trace
    return patterns.header.match(text) is not None and patterns.no_header.match(text) is None


def _neighbours(lines: Sequence[LogLine], index: int) -> bool:
    """True when the line follows the one before it directly: of a big log only some lines are kept."""
    here, before = lines[index].origin, lines[index - 1].origin
    if here.source != before.source:
        return False
    return here.line is None or before.line is None or here.line - before.line <= 1


def _body(
    lines: Sequence[LogLine],
    last: int,
    head: bytes,
    is_request: bool,
    start: _Line,
    data: bytearray,
    marks: list[Mark],
) -> tuple[int, Ending]:
    """Add the lines of the body behind the head; the last line's index, and how the stream ends."""
    lowered = head.lower()
    length = re.search(rb"\r\ncontent-length:[ \t]*(\d{1,9})", lowered)
    chunked = re.search(rb"\r\ntransfer-encoding:[^\r\n]*chunked", lowered)
    if b" 101 " in head[:14] or (is_request and not length and not chunked) or (length and int(length[1]) == 0):
        return last, "open"
    patterns = _patterns()
    begin = len(data)
    wanted = int(length[1]) if length else BODY_BYTES
    index = last + 1
    while (
        index < len(lines) and index - last <= BODY_LINES and len(data) - begin < wanted and _neighbours(lines, index)
    ):
        line = _take_apart(lines[index].text)
        raw = lines[index].text[len(line.prefix) :] if start.prefix else lines[index].text
        head_again = patterns.request.fullmatch(line.text) or patterns.response.fullmatch(line.text)
        if head_again or patterns.body_end.match(raw) or (start.prefix and not line.prefix):
            break
        marks.append(Mark(len(data), lines[index].origin))
        data += _bytes(raw) + b"\n"
        index += 1
    # The end of the last line was never part of it; trailing empty lines are the paste's.
    while index - 1 > last and not lines[index - 1].text.strip():
        index -= 1
    body = bytes(data[begin:]).rstrip(b"\r\n")
    del data[begin:]
    if length is None:
        data += body
        return index - 1, "cut" if chunked else "open"
    # The text has one character for each line end, whatever it was; the length tells which it was.
    missing = wanted - len(body)
    if missing > 2 and missing - body.count(b"\n") in (0, 1, 2):
        body = body.replace(b"\n", CRLF)
        missing = wanted - len(body)
        while marks and marks[-1].offset > begin:
            marks.pop()
    if 0 < missing <= 2:
        body += CRLF[-missing:]
    data += body[:wanted]
    while marks and marks[-1].offset > len(data):
        marks.pop()
    return index - 1, "cut" if len(body) < wanted else "open"


def _bytes(text: str) -> bytes:
    """The line as bytes: header fields are latin-1 at heart, what is not is written as UTF-8 (RFC 9110 section 5.5)."""
    return text.encode("utf-8", "replace")


# --- Conversations ---------------------------------------------------------------------------------------------------


def _conversations(lines: Sequence[LogLine], parts: Sequence[Part]) -> Iterator[Transcript]:
    """Pair each request with the response behind it; a response after a command line gets the request it made."""
    from wsdiag.intake.command_line import request_before

    index = 0
    while index < len(parts):
        part = parts[index]
        index += 1
        if not part.is_request:
            asked = request_before(lines, part.first)
            yield _transcript(asked, part)
            continue
        answer = parts[index] if index < len(parts) else None
        if (
            answer is None
            or answer.is_request
            or answer.first - part.last > ANSWER_WITHIN
            or _source(lines, answer) != _source(lines, part)
        ):
            yield _transcript(part, None)
            continue
        index += 1
        yield _transcript(part, answer)


def _source(lines: Sequence[LogLine], part: Part) -> str:
    origin: Origin = lines[part.first].origin
    return origin.source


def _transcript(request: Part | None, response: Part | None) -> Transcript:
    """The two as one conversation. An answer shows that the request's head was whole, if its lines are marked."""
    parts = [part for part in (request, response) if part is not None]
    names = dict.fromkeys(name for part in parts for name in ("line-ends-restored", *part.notes))
    return Transcript(
        request.stream() if request else None,
        response.stream() if response else None,
        min(part.first for part in parts),
        max(part.last for part in parts),
        tuple(Note(name) for name in names),
    )
