"""HTTP/1 request and response heads, kept as they are, with the place of every piece (RFC 9112).

Which oddity matters is left to the rules; bodies are left to `body`, and which message answers which to `exchange`.

Flaws of a head:

| kind | meaning |
| --- | --- |
| leading-crlf | empty lines (or blanks) in front of the start line |
| bare-lf | a line ends in LF without CR (the first such line) |
| bare-cr | a CR that no LF follows, inside a line |
| control-character | a control character (NUL, escape …) inside a line; the detail is its number |
| non-ascii | bytes above 0x7f in the start line or in a header's name |
| space-in-target | blanks inside the request target |
| extra-space | more than one blank, or a tab, between the parts of the start line |
| bad-method | the method is no token |
| lower-case-method | the method is not in upper case |
| missing-target | a request line with no target |
| missing-version | a request line with no version (HTTP/0.9) |
| bad-version | the version is not HTTP/ digit . digit |
| bad-status | the status is not three digits (`status` is then 0, unless it is a number) |
| cut-start-line | the evidence ends inside the start line (`status` is then 0 if its three digits were not seen) |
| cut-header | the evidence ends inside a header line (it is not among the headers) |
| no-colon | a header line without a colon (it is not among the headers) |
| empty-name | a header line that begins with the colon |
| bad-name | a header's name is no token |
| space-before-colon | blanks between a header's name and its colon |
| leading-space | the first header line begins with a blank |
| obs-fold | a header's value goes on in the next line (RFC 9112 section 5.2) |
| head-too-long | the head is longer than MAX_HEAD: only that much was read |
| too-many-headers | more than MAX_HEADERS lines: only those were read |
"""

import re

from wsdiag.model import Flaw, Head, Header, Piece, Request, Response, Side, Span
from wsdiag.pattern import pattern
from wsdiag.record import NamedTuple

MAX_HEAD = 256 * 1024  # servers take 8 to 64 KiB; beyond this, more headers tell nothing more
MAX_HEADERS = 1000  # Apache takes 100, Node 2000
MAX_FLAWS = 32  # of one message: the first ones tell the story
MAX_LEADING = 16  # bytes of empty lines that may stand in front of a start line

_HEAD_END = pattern(rb"\n\r?\n")
_LEADING = pattern(rb"[\r\n \t]*")
_TOKEN = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_ODD = pattern(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
# as nearly all headers are
_PLAIN_HEADER = pattern(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*[^\r\n \t])\r\n")
_VERSION = pattern(r"HTTP/\d\.\d")
_LAST_VERSION = pattern(r"HTTP/\S*", re.IGNORECASE)


class _Line(NamedTuple):
    """A line without its end: the text and where it starts; `stop` is behind its end."""

    text: str
    start: int
    stop: int


class _Flaws:
    """The flaws of one message: at most MAX_FLAWS, and the repetitive kinds once."""

    _ONCE = frozenset({"bare-lf", "non-ascii", "obs-fold", "head-too-long", "too-many-headers"})

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.found: list[Flaw] = []

    def add(self, kind: str, start: int, stop: int, detail: str = "") -> None:
        if len(self.found) >= MAX_FLAWS or (kind in self._ONCE and any(flaw.kind == kind for flaw in self.found)):
            return
        self.found.append(Flaw(kind, Span(self.side, start, stop), detail))


def read_request(data: bytes, start: int, stop: int, side: Side) -> Request:
    """The request whose first byte is at `start`; its head only, `stop` is where the evidence ends."""
    flaws = _Flaws(side)
    line, head, end, whole = _read_head(data, start, stop, side, flaws)
    method, target, version = _request_line(line, whole, side, flaws)
    return Request(Span(side, start, end), method, target, version, head, None, tuple(flaws.found))


def read_response(data: bytes, start: int, stop: int, side: Side) -> Response:
    """The response whose first byte is at `start`; its head only, `stop` is where the evidence ends."""
    flaws = _Flaws(side)
    line, head, end, whole = _read_head(data, start, stop, side, flaws)
    version, status, reason = _status_line(line, whole, side, flaws)
    return Response(Span(side, start, end), version, status, reason, head, None, b"", tuple(flaws.found))


def _read_head(data: bytes, start: int, stop: int, side: Side, flaws: _Flaws) -> tuple[_Line, Head, int, bool]:
    """The start line, the headers, where the head ends, and whether the start line is whole."""
    leading = _LEADING.match(data, start, min(stop, start + MAX_LEADING))
    begin = leading.end() if leading else start
    if begin > start:
        flaws.add("leading-crlf", start, begin)
    found = _HEAD_END.search(data, begin, stop)
    end = found.end() if found else stop
    readable = min(end, begin + MAX_HEAD)
    if end > readable:
        flaws.add("head-too-long", begin, end, str(end - begin))
    _find_odd(data, begin, readable, flaws)
    line_end = data.find(b"\n", begin, readable)
    line = _line(data, begin, line_end, readable, side, flaws)
    headers, all_read = _headers(data, line.stop, readable, side, flaws)
    complete = found is not None and all_read and end == readable
    return line, Head(headers, complete, Span(side, line.stop, end)), end, line_end >= 0


def _find_odd(data: bytes, start: int, stop: int, flaws: _Flaws) -> None:
    for match in _ODD.finditer(data, start, stop):
        if match[0] == b"\r":
            if match.end() < stop:
                flaws.add("bare-cr", match.start(), match.end())
        else:
            flaws.add("control-character", match.start(), match.end(), str(match[0][0]))
        if len(flaws.found) >= MAX_FLAWS // 2:  # leaves room for the flaws that name what is wrong
            return


def _line(data: bytes, start: int, line_end: int, limit: int, side: Side, flaws: _Flaws) -> _Line:
    """The line from `start` to the LF at `line_end`, or to `limit` when there is none (-1)."""
    if line_end < 0:
        stop = limit - 1 if limit > start and data[limit - 1] == 0x0D else limit
        return _Line(data[start:stop].decode("latin-1"), start, limit)
    stop = line_end
    if stop > start and data[stop - 1] == 0x0D:
        stop -= 1
    else:
        flaws.add("bare-lf", line_end, line_end + 1)
    return _Line(data[start:stop].decode("latin-1"), start, line_end + 1)


def _headers(data: bytes, start: int, stop: int, side: Side, flaws: _Flaws) -> tuple[tuple[Header, ...], bool]:
    """The headers from `start` to `stop`, and whether all lines were read."""
    headers: list[Header] = []
    at = start
    text = data[start:stop].decode("latin-1")
    make = tuple.__new__  # the records' own constructors cost three times as much
    for _ in range(MAX_HEADERS):
        if at >= stop:
            return tuple(headers), True
        plain = _PLAIN_HEADER.match(text, at - start)
        if plain is not None:
            name, value = plain.groups()
            at, begin = start + plain.end(), start + plain.start(2)
            name_span = make(Span, (side, start + plain.start(), start + plain.end(1)))
            value_span = make(Span, (side, begin, begin + len(value)))
            headers.append(make(Header, (make(Piece, (name, name_span)), make(Piece, (value, value_span)))))
            continue
        line_end = data.find(b"\n", at, stop)
        line = _line(data, at, line_end, stop, side, flaws)
        at = line.stop
        if not line.text:
            continue
        if line.text[0] in " \t":
            if headers:
                headers[-1] = _folded(headers[-1], line, side, flaws)
                continue
            flaws.add("leading-space", line.start, line.start + 1)
        if line_end < 0:  # the value may go on, so nothing may be said about it
            if not any(flaw.kind == "head-too-long" for flaw in flaws.found):
                flaws.add("cut-header", line.start, line.stop, line.text[:80])
            continue
        header = _header(line, side, flaws)
        if header is not None:
            headers.append(header)
    if at < stop and data[at:stop].strip(b"\r\n"):
        flaws.add("too-many-headers", at, stop, str(data.count(b"\n", start, stop)))
        return tuple(headers), False
    return tuple(headers), True


def _folded(header: Header, line: _Line, side: Side, flaws: _Flaws) -> Header:
    flaws.add("obs-fold", line.start, line.start + len(line.text))
    text = line.text.strip(" \t")
    if not text:
        return header
    stop = line.start + len(line.text.rstrip(" \t"))
    joined = f"{header.value.text} {text}" if header.value.text else text
    return Header(header.name, Piece(joined, Span(side, header.value.span.start, stop)))


def _header(line: _Line, side: Side, flaws: _Flaws) -> Header | None:
    raw_name, colon, raw_value = line.text.partition(":")
    start = line.start
    if not colon:
        flaws.add("no-colon", start, start + len(line.text), line.text[:80])
        return None
    name = raw_name.strip(" \t")
    name_start = start + len(raw_name) - len(raw_name.lstrip(" \t"))
    name_stop = name_start + len(name)
    if not name:
        flaws.add("empty-name", start, start + 1)
    elif name_stop < start + len(raw_name):
        flaws.add("space-before-colon", name_stop, start + len(raw_name), name[:80])
    if not name.isascii():
        flaws.add("non-ascii", name_start, name_stop)
    elif name and not _TOKEN.fullmatch(name):
        flaws.add("bad-name", name_start, name_stop, name[:80])
    value = raw_value.strip(" \t")
    value_start = start + len(raw_name) + 1 + len(raw_value) - len(raw_value.lstrip(" \t"))
    if not value:
        value_start = start + len(raw_name) + 1
    return Header(
        Piece(name, Span(side, name_start, name_stop)),
        Piece(value, Span(side, value_start, value_start + len(value))),
    )


def _request_line(line: _Line, whole: bool, side: Side, flaws: _Flaws) -> tuple[Piece, Piece, Piece]:
    text, start = line.text, line.start
    if not whole:
        flaws.add("cut-start-line", start + len(text), start + len(text))
    if not text.isascii():
        flaws.add("non-ascii", start, start + len(text))
    body = text.rstrip(" \t")
    method_stop = _blank(body, 0)
    target_start = _not_blank(body, method_stop)
    version_start = max(body.rfind(" "), body.rfind("\t")) + 1
    version_stop = len(body)
    last = body[version_start:]
    versioned = bool(last) and bool(_LAST_VERSION.fullmatch(last) or (not whole and "HTTP/".startswith(last)))
    if version_start <= target_start or not versioned:
        if version_start == target_start and versioned:
            target_stop = target_start  # "GET HTTP/1.1"
        else:
            version_start = target_stop = version_stop
    else:
        target_stop = len(body[:version_start].rstrip(" \t"))
    method, target, version = body[:method_stop], body[target_start:target_stop], body[version_start:]
    if not _TOKEN.fullmatch(method):
        flaws.add("bad-method", start, start + method_stop, method[:80])
    elif method != method.upper():
        flaws.add("lower-case-method", start, start + method_stop, method)
    if not target and whole:
        flaws.add("missing-target", start + target_start, start + target_start)
    if " " in target or "\t" in target:
        flaws.add("space-in-target", start + target_start, start + target_stop, target[:200])
    if target and (target_start - method_stop > 1 or (version and version_start - target_stop > 1)):
        flaws.add("extra-space", start + method_stop, start + version_start)
    if not version:
        if whole:
            flaws.add("missing-version", start + version_stop, start + version_stop)
    elif not _VERSION.fullmatch(version) and (whole or not "HTTP/1.1".startswith(version)):
        flaws.add("bad-version", start + version_start, start + version_stop, version[:80])
    return (
        Piece(method, Span(side, start, start + method_stop)),
        Piece(target, Span(side, start + target_start, start + target_stop)),
        Piece(version, Span(side, start + version_start, start + version_stop)),
    )


def _blank(text: str, at: int) -> int:
    """The first blank from `at` on, or the end."""
    found = [each for each in (text.find(" ", at), text.find("\t", at)) if each >= 0]
    return min(found, default=len(text))


def _not_blank(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip(" \t"))


def _status_line(line: _Line, whole: bool, side: Side, flaws: _Flaws) -> tuple[Piece, int, Piece]:
    text, start = line.text, line.start
    version_stop = _blank(text, 0)
    code_start = _not_blank(text, version_stop)
    code_stop = _blank(text, code_start)
    version, blank, code = text[:version_stop], text[version_stop:code_start], text[code_start:code_stop]
    reason_start = _not_blank(text, code_stop)
    reason = text[reason_start:].rstrip(" \t")
    if not text.isascii():
        flaws.add("non-ascii", start, start + len(text))
    digits = code.isascii() and code.isdigit()
    status = int(code) if digits and len(code) == 3 else 0
    if not whole:
        flaws.add("cut-start-line", start + len(text), start + len(text))
    elif not status:
        flaws.add("bad-status", start + code_start, start + code_start + len(code), code[:80])
    if (whole or blank) and not _VERSION.fullmatch(version):
        flaws.add("bad-version", start, start + len(version), version[:80])
    if len(blank) > 1 or blank == "\t":
        flaws.add("extra-space", start + len(version), start + code_start)
    return (
        Piece(version, Span(side, start, start + len(version))),
        status,
        Piece(reason, Span(side, start + reason_start, start + reason_start + len(reason))),
    )
