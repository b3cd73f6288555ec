"""Bytes as string literals with escapes: Python, Go, Ruby, Rust, JavaScript, JSON, Perl, PHP, C, Erlang, and what
nginx and Apache write into their access logs; system calls are left to `strace`.
"""

from wsdiag.intake.dump.dissection import is_dissection
from wsdiag.intake.dump.escapes import Plain, escaped_twice, unescape
from wsdiag.intake.dump.found import MOST_TRIES, Dump, Text, blank, cut_note, inline, places, rx
from wsdiag.intake.dump.plausible import FRAMES, KNOWN, NOTHING, TEXT, begins, weight
from wsdiag.model import Note
from wsdiag.record import NamedTuple

# `b'`, `b"`, `bytearray(b'`, `@"`, `$'`, `<<"`; a quote inside a word (don't) opens nothing.
_OPENER = r"(?<![\w\\])(?P<prefix>bytearray\(b|bytes\(b|b|rb|br|B|c|\$|@|<<)?(?P<quote>[\"'`])"
_BODY = {quote: rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+" for quote in "\"'`"}
_BYTES_PREFIXES = ("b", "rb", "br", "B", "bytearray(b", "bytes(b", "c", "<<")
_TAIL = r"[ \t]*(?:\.\.\.|…)[ \t]*(?:(\d+) more (?:characters|bytes|items))?"
# More adjacent pieces than this are no literal that anybody pasted.
MOST_PIECES = 1 << 16


# A literal of hex digits alone with so many bytes is not their text.
_SURELY_HEX = 16


# Characters of a literal that are read; a handshake has some thousand.
LONGEST_LITERAL = 1 << 20


class _Literal(NamedTuple):
    pieces: list[tuple[int, str]]  # (line, raw text between the quotes)
    prefix: str
    quote: str
    last: int
    stop: int
    closed: bool
    missing: int | None  # 0: nothing


def read_quoted(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first string literal from this column on that is taken for bytes."""
    content = text[line]
    if not any(quote in content for quote in _BODY) or is_dissection(text, line):
        return None
    if strict and "\\" not in content and rx(r"\bb[\"']|<<\"").search(content) is None:
        return None
    at = column
    for _ in range(MOST_TRIES):
        match = rx(_OPENER).search(content, at)
        if match is None:
            return None
        literal = _literal(text, line, match.end(), match.group("prefix") or "", match.group("quote"))
        dump = _dump(text, line, match.start(), literal, strict)
        if dump is not None:
            return dump
        if not literal.closed:
            return None  # no further quote of this kind on the line: nothing to gain, and the cost stays linear
        at = literal.stop if literal.last == line and literal.stop > match.end() else match.end()
    return None


def _literal(text: Text, line: int, start: int, prefix: str, quote: str) -> _Literal:
    """The literal, with the pieces that are joined to it: adjacent (Python, C), by `+` (Node) or `.` (PHP)."""
    pieces: list[tuple[int, str]] = []
    content = _unchanged(text, line, start)
    body = rx(_BODY[quote])
    letter = prefix[-1:] if prefix[-1:].isalpha() else ""
    # Python's pprint changes the quotes from piece to piece.
    join = rx(rf"[ \t]*[+.]?[ \t]*{letter}({quote if not letter else '[' + chr(34) + chr(39) + ']'})")
    at = start
    first_body = text.body(line)
    grouped = content[:start].rstrip("bB\"'").endswith(("(", "["))
    while True:
        match = body.match(content, at)
        inner = match.group()[:LONGEST_LITERAL] if match else ""
        stop = at + len(inner)
        pieces.append((line, inner))
        if content[stop : stop + 1] != quote:
            return _Literal(pieces, prefix, quote, line, len(content), False, None)
        stop += 1
        found = rx(_TAIL).match(content, stop)
        if found:
            more = found.group(1)
            return _Literal(pieces, prefix, quote, line, found.end(), True, int(more) if more else None)
        if len(pieces) >= MOST_PIECES:
            break
        following = (
            join.match(content, stop) if "+" in content[stop : stop + 4] or "." in content[stop : stop + 4] else None
        )
        if following:
            at, quote = following.end(), following.group(1)
            body = rx(_BODY[quote])
            continue
        ending = rx(r"[ \t]*([+.\\]?)[ \t]*$").match(content, stop)
        if ending and line + 1 < len(text):
            body_text = text.body(line + 1)
            opener = join.match(body_text)
            deeper = len(body_text) - len(body_text.lstrip()) > len(first_body) - len(first_body.lstrip())
            # Two literals below each other at the same depth are two lines of a log.
            if opener and (ending.group(1) or opener.group().strip()[:1] in "+." or deeper or grouped):
                line += 1
                content = _unchanged(text, line, 1)
                quote = opener.group(1)
                body = rx(_BODY[quote])
                at = len(content) - len(body_text) + opener.end()
                continue
        break
    return _Literal(pieces, prefix, quote, line, stop, True, 0)


def _unchanged(text: Text, line: int, start: int) -> str:
    """The line as it was pasted when cleaning kept its columns: U+00A0 in a literal is a byte, not a blank."""
    raw = text.lines[line].text
    cleaned = text[line]
    return raw if len(raw) == len(cleaned) and raw[start - 1] == cleaned[start - 1] else cleaned


def _dump(text: Text, line: int, start: int, literal: _Literal, strict: bool) -> Dump | None:
    is_bytes = literal.prefix in _BYTES_PREFIXES
    inner = "".join(piece for _, piece in literal.pieces)
    if not inner or (not literal.closed and (literal.quote == "`" or (strict and "\\" not in inner))):
        return None
    plain, notation, notes = _read(inner, literal, strict)
    if plain is None or not _counts(text, line, start, literal, plain, is_bytes, strict):
        return None
    data = plain.data
    missing = literal.missing
    cut = missing != 0
    if cut:
        notes.append(cut_note(missing))
    if plain.replaced:
        notes.append(Note("dump-replaced", {"count": plain.replaced}))
    rows, offset = [], 0
    for index, piece in literal.pieces:
        rows.append((min(offset, len(data)), index))
        offset += len(unescape(piece).data)
    return inline(
        text,
        line,
        start,
        literal.stop,
        data,
        notation,
        tuple(notes),
        cut=cut,
        lossy=plain.replaced > 0,
        last=literal.last,
        rows=rows if len(rows) > 1 and offset == len(data) else (),
    )


def _read(inner: str, literal: _Literal, strict: bool) -> tuple[Plain | None, str, list[Note]]:
    """The bytes, the notation's name and what had to be decided."""
    is_bytes = literal.prefix in _BYTES_PREFIXES
    notes: list[Note] = []
    if is_bytes and len(inner) >= 8 and len(inner) % 2 == 0 and rx(r"[0-9a-fA-F]+").fullmatch(inner):
        # b'474554…' of hexlify: these are the digits, not the bytes.
        data = bytes.fromhex(inner)
        if weight(data) > NOTHING or not strict or len(data) >= _SURELY_HEX:
            return (
                Plain(data, 0, 0, False),
                "hex-quoted",
                [Note("dump-ambiguous", {"chosen": "hex", "rejected": "text"})],
            )
    if escaped_twice(inner):
        once = inner.replace("\\\\", "\\")
        if not is_bytes or weight(unescape(once).data) >= FRAMES:
            inner = once
            notes.append(Note("dump-escaped-twice"))
    plain = unescape(inner, code_points=not is_bytes and literal.quote != '"')
    if not is_bytes:
        plain = _as_binary(inner, plain, notes)
    if not is_bytes and literal.quote == '"' and not inner.isascii() and not plain.latin:
        other = unescape(inner, code_points=True)
        if other.latin and weight(other.data) > weight(plain.data):
            plain = other
            notes.append(Note("dump-ambiguous", {"chosen": "latin-1", "rejected": "utf-8"}))
    name = "erlang-binary" if literal.prefix == "<<" else "python-bytes" if is_bytes else "string-escapes"
    if not is_bytes and rx(r"(?:\\[0-3][0-7]{2}).*(?:\\[0-3][0-7]{2})").search(inner[:4096]):
        name = "octal-escapes"
    if not is_bytes and rx(r"\\u00[0-9a-fA-F]{2}").search(inner[:4096]):
        name = "json-string"
    return plain, name, notes


def _as_binary(inner: str, plain: Plain, notes: list[Note]) -> Plain:
    """Characters U+0080 to U+00FF without greater ones: one byte each when control characters stand beside them."""
    if plain.latin or plain.data.isascii() or rx(r"\\x[89a-fA-F]").search(inner):
        return plain
    points = unescape(inner, code_points=True)
    try:
        binary = points.data.decode("utf-8").encode("latin-1")
    except UnicodeError:
        return plain
    control = any(byte < 32 and byte not in (9, 10, 13) for byte in binary)
    notes.append(
        Note(
            "dump-ambiguous",
            {"chosen": "latin-1" if control else "utf-8", "rejected": "utf-8" if control else "latin-1"},
        )
    )
    return Plain(binary, plain.escapes, plain.replaced, True) if control else plain


def _holds_head(data: bytes) -> bool:
    return rx(_HEAD_FIRST).search(data[:4096].decode("latin-1")) is not None


def _counts(text: Text, line: int, start: int, literal: _Literal, plain: Plain, is_bytes: bool, strict: bool) -> bool:
    """True when a literal is taken for bytes: known, or bytes by its prefix, or (not strict) with any escape."""
    known = weight(plain.data)
    if known == KNOWN and not is_bytes and not begins(plain.data) and _holds_head(plain.data):
        return False  # "received GET / HTTP/1.1": the bytes begin later
    if known == KNOWN:
        return is_bytes or plain.escapes > 0 or not strict
    if not strict:
        alone = blank(text[line], 0, start) and blank(text[literal.last], literal.stop)
        encoded = rx(r"[A-Za-z0-9+/=_%-]*").fullmatch(literal.pieces[0][1]) is not None  # hex or base64 in quotes
        return is_bytes or plain.escapes > 0 or (alone and literal.closed and not encoded)
    if not literal.closed:
        return False
    if literal.prefix == "<<" and text[literal.last][literal.stop : literal.stop + 1] not in (">", ",", "/"):
        return False  # a here-document of Perl or a shell
    binary = any(byte < 9 or byte > 126 for byte in plain.data)
    if is_bytes:
        return (binary and len(plain.data) >= 2) or (known >= TEXT and len(plain.data) >= 16)
    return binary and known == FRAMES and plain.escapes >= 2


_ESCAPES_FIRST = (
    r"\\x[0-9a-fA-F]{2}(?:\\(?:x[0-9a-fA-F]{2}|[0-7]{3}|[abefnrtv0'\"\\])|[!#-\[\]-~])*+"
    r"|\\[0-3][0-7]{2}(?:\\(?:[0-3][0-7]{2}|[abefnrtv0'\"\\])|[!#-\[\]-~])*+"
)
_TWICE_FIRST = (
    r"\\\\x[0-9a-fA-F]{2}(?:\\\\(?:x[0-9a-fA-F]{2}|[0-7]{3}|[abefnrtv0'])|\\\\\\\\|[!#-\[\]-~])*+"
    r"|\\\\[0-3][0-7]{2}(?:\\\\(?:[0-3][0-7]{2}|[abefnrtv0'])|\\\\\\\\|[!#-\[\]-~])*+"
)
_HEAD_FIRST = r"\b(?:GET|POST|HEAD|PUT|OPTIONS|CONNECT|HTTP/1\.[01]) "


def read_escaped(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Escapes without quotes: `\\x16\\x03\\x01` in prose, or a request with `\\r\\n` on one line."""
    content = text[line]
    if "\\" not in content or is_dissection(text, line):
        return None
    head = _escaped_head(text, line, column) if rx(r"\\n").search(content) else None
    for match in places(f"{_TWICE_FIRST}|{_ESCAPES_FIRST}", content, column):
        if head is not None and head.start <= match.start():
            return head
        inner = match.group()
        if match.start() and content[match.start() - 1] in "\"'":
            inner = inner.rstrip("\"'")
        found = _escaped(text, line, match.start(), inner, strict)
        if found is not None:
            return found
    return head


def _escaped_head(text: Text, line: int, column: int) -> Dump | None:
    """A request or response on one line, up to its last `\\n` before a quote; each stretch is looked at once."""
    content = text[line]
    at = column
    while match := rx(_HEAD_FIRST).search(content, at):
        quote = rx(r"[\"'<>]").search(content, match.end())
        stop = quote.start() if quote else len(content)
        end = content.rfind("\\n", match.end(), stop)
        at = stop + 1
        if end >= 0:
            tail = rx(r"[^\s]*(?:\.\.\.|…)?$").match(content, end + 2, stop)
            inner = content[match.start() : tail.end() if tail and tail.group() else end + 2]
            found = _escaped(text, line, match.start(), inner, True)
            if found is not None:
                return found
    return None


def _escaped(text: Text, line: int, start: int, inner: str, strict: bool) -> Dump | None:
    """The dump of an unquoted literal."""
    stop = start + len(inner)
    notes: list[Note] = []
    cut = len(inner) > LONGEST_LITERAL
    if cut:
        inner = inner[:LONGEST_LITERAL].rstrip("\\")
        notes.append(cut_note(None))
    if escaped_twice(inner):
        inner = inner.replace("\\\\", "\\")
        notes.append(Note("dump-escaped-twice"))
    if inner.endswith(("...", "…")):
        cut = True
        inner = inner.rstrip(".…")
        notes.append(cut_note(None))
    if rx(r"\\x[0-9a-fA-F]?$|(?<!\\)\\$").search(inner):
        inner = inner[: inner.rindex("\\")]
        cut = True
        notes.append(Note("dump-odd-nibble"))
    if not cut and text[line][stop : stop + 1].isspace() and "\\" in text[line][stop:]:
        cut = True  # a blank may be the text's or the bytes' own
        notes.append(cut_note(None))
    plain = unescape(inner)
    if plain.escapes < 2 or (strict and weight(plain.data) < FRAMES):
        return None
    name = "octal-escapes" if rx(r"\\[0-3][0-7]{2}").match(inner) else "string-escapes"
    return inline(text, line, start, stop, plain.data, name, tuple(notes), cut=cut)


# "received: " in front of a literal without quotes is not part of it.
_SAID = r"[A-Za-z][\w -]{1,40}[:=] "


def read_whole(text: Text) -> Dump | None:
    """A text that is one literal without quotes, all of it: the user said that it is a dump."""
    whole = "\n".join(text[index] for index in range(len(text))).rstrip("\n")
    said = rx(_SAID).match(whole)
    start = said.end() if said and weight(whole.encode("utf-8", "replace")) < FRAMES else 0
    inner = whole[start:]
    if inner.count("M-") + inner.count("^") + inner.count("=") + inner.count("%") >= inner.count("\\"):
        return None  # caret notation, quoted-printable and URL encoding show a backslash as itself
    twice = escaped_twice(inner)
    plain = unescape(inner.replace("\\\\", "\\") if twice else inner)
    notes = [Note("dump-escaped-twice")] if twice else []
    if plain.replaced:
        notes.append(Note("dump-replaced", {"count": plain.replaced}))
    name = "octal-escapes" if rx(r"\\[0-3][0-7]{2}").search(inner) else "string-escapes"
    last = len(text) - 1
    return inline(text, 0, start, len(text[last]), plain.data, name, tuple(notes), lossy=plain.replaced > 0, last=last)
