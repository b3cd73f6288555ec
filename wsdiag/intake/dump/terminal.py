"""What terminals and editors make of raw bytes: caret notation, CP437 glyphs, control characters, U+FFFD; encodings
that are made for transport are left to `encodings`.
"""

from wsdiag.intake.dump.escapes import REPLACEMENT
from wsdiag.intake.dump.found import Dump, Text, inline, places, rx
from wsdiag.intake.dump.plausible import FRAMES, KNOWN, weight
from wsdiag.model import Note

_CARET = r"(?:M-\^[@-_?]|M-[ -~]|\^[@-_?])"


def read_caret(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """`cat -v`, `less` and shells: `^V^C^A`, `M-^A`; lines that end in `^M$` (cat -A) or `^M` are lines of text."""
    content = text[line]
    if ("^" not in content and "M-" not in content) or (strict and line <= text.passed.get("caret", -1)):
        return None
    body = text.body(line)
    start = len(content) - len(body)
    if column <= start and (body.endswith(("^M", "^M$")) or (not strict and body.endswith("$"))):
        return _cat_lines(text, line, start, strict)
    for match in places(rf"{_CARET}(?:{_CARET}|[!#-~])*+", content, column):
        if len(rx(_CARET).findall(match.group())) < (2 if strict else 1):
            continue
        first = match.start() if strict else min(match.start(), len(content) - len(content.lstrip()))
        if content[match.start() - 1 : match.start()] == '"':  # Apache's log
            first = match.start()
        whole = content[first:].rstrip() if not strict and column == 0 and first < match.start() else match.group()
        whole = whole[:-1] if whole.endswith("$") and not strict and "^" in whole else whole
        data = _carets(whole)
        if weight(data) >= FRAMES or not strict:
            return inline(text, line, first, first + len(whole), data, "caret")
    return None


def _cat_lines(text: Text, line: int, start: int, strict: bool) -> Dump | None:
    last, out, rows = line, bytearray(), list[tuple[int, int]]()
    dollar = text.body(line).endswith("$")
    while last < len(text):
        body = text.body(last)
        if dollar and not body.endswith("$"):
            if body:  # the last line had no line end
                rows.append((len(out), last))
                out += _carets(body)
                last += 1
            break
        if not dollar and not body.endswith("^M"):
            break
        rows.append((len(out), last))
        out += _carets(body[:-1] if dollar else body) + b"\n"
        last += 1
    data = bytes(out)
    if strict and weight(data) != KNOWN:
        text.passed["caret"] = last - 1
        return None
    return inline(text, line, start, len(text[last - 1]), data, "caret", last=last - 1, rows=rows)


def _carets(shown: str) -> bytes:
    out = bytearray()
    at = 0
    for match in rx(_CARET).finditer(shown):
        out += shown[at : match.start()].encode("utf-8", "replace")
        token = match.group()
        high = 128 if token.startswith("M-") else 0
        token = token[2:] if high else token
        out.append(high | (ord(token[1]) ^ 64 if len(token) == 2 else ord(token)))
        at = match.end()
    return bytes(out + shown[at:].encode("utf-8", "replace"))


# How a DOS code page shows the bytes 1 to 31; NUL is shown as a blank.
_GLYPHS = "☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"


def read_glyphs(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """`▬♥☺☻`: a Windows console showed control bytes as CP437 glyphs; NUL and blank look the same."""
    content = text.lines[line].text
    if content.isascii():
        return None
    match = rx(rf"[{_GLYPHS}][^\"'<>]{{0,65536}}").search(content, column)
    if match is None or sum(char in _GLYPHS for char in match.group()[:64]) < 2:
        return None
    shown = match.group().rstrip()
    out = bytearray()
    lost = 0
    for char in shown:
        if char in _GLYPHS:
            out.append(_GLYPHS.index(char) + 1)
        elif char == " ":
            out.append(0 if out[:1] == b"\x16" else 32)
            lost += 1
        else:
            encoded = char.encode("cp437", "replace")
            lost += encoded == b"?" and char != "?"
            out += encoded
    data = bytes(out)
    if strict and weight(data) != KNOWN:
        return None
    notes = (Note("dump-lossy", {"form": "mojibake"}),)
    return inline(text, line, match.start(), match.start() + len(shown), data, "mojibake", notes, lossy=lost > 0)


# A line with so many U+FFFD was bytes before somebody decoded it as text; fewer are a name in the wrong encoding.
_MOST_REPLACED = 4


def read_raw(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Bytes that were printed as they were: control characters in the line, and U+FFFD where bytes were lost."""
    content = text.lines[line].text
    if content.isascii() and content.isprintable():
        return None
    match = rx(r"[\x16\x15]\x03[\x00-\x04][^\"'<>]*|[\x81\x82\x88\x89\x8a][\x80-\xfd][^\"'<>\u0100-\uffff]*").search(
        content, column
    )
    if match is None and not strict and column == 0 and rx(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]").search(content):
        match = rx(r".*").match(content)
    if match is None and content.count(chr(REPLACEMENT)) >= _MOST_REPLACED:
        count = content.count(chr(REPLACEMENT), column)
        at = content.find(chr(REPLACEMENT), column)
        if not count or "raw" in text.passed:
            return None
        text.passed["raw"] = line  # said once for a text: a picture in it has many such lines
        notes: tuple[Note, ...] = (Note("dump-replaced", {"count": count}),)
        return inline(text, line, at, len(content), b"", "raw-text", notes, lossy=True)
    if match is None:
        return None
    shown = match.group()
    replaced = shown.count(chr(REPLACEMENT))
    high = [char for char in shown if char > "\x7f"]
    latin = bool(high) and max(high) < "\u0100"
    data = shown.encode("latin-1" if latin else "utf-8", "replace")
    if strict and weight(data) < FRAMES:
        return None
    notes = (Note("dump-replaced", {"count": replaced}),) if replaced else (Note("dump-lossy", {"form": "text"}),)
    return inline(text, line, match.start(), match.end(), data, "raw-text", notes, lossy=True)
