r"""Makes hostile text harmless: what could move a cursor, hide or reorder text becomes a visible escape (`\x1b`).

Every captured or pasted character passes through here before a terminal or a page; escaping for HTML or Markdown comes
on top of it and is left to those renderers.
"""

# Printable by Unicode's categories, yet drawn as nothing: text can hide in them.
_LONE_INVISIBLE = (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0)
_INVISIBLE = frozenset((*_LONE_INVISIBLE, *range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0)))
# U+3000 is the blank of Chinese text; any other space that is not U+0020 is worth seeing in a diagnosis.
_IDEOGRAPHIC_SPACE = "\u3000"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# More marks than this on one letter serve no language; they would be drawn over the lines above and below.
MAX_MARKS_ON_A_LETTER = 4


def clean(text: str) -> str:
    r"""The text in one line: C0, C1, DEL, bidi, zero-width and tag characters, BOM and surrogates as visible escapes.

    Line breaks and tabs are escaped too (`\n`, `\t`). Bytes that `surrogateescape` smuggled in are shown as `\x80`.
    """
    if text.isascii() and text.isprintable():
        return text
    parts: list[str] = []
    marks = 0
    for char in text:
        if not char.isascii() and _is_mark(char):
            marks += 1
            parts.append(char if marks <= MAX_MARKS_ON_A_LETTER and not hidden(char) else escape(char))
            continue
        marks = 0
        parts.append(escape(char) if hidden(char) else char)
    return "".join(parts)


def clean_block(text: str) -> str:
    """The same for text of several lines (a diff, a configuration): line feeds stay, tabs become four blanks."""
    return "\n".join(clean(line.replace("\t", "    ")) for line in text.replace("\r\n", "\n").split("\n"))


def clean_bytes(data: bytes) -> str:
    r"""Bytes as one line of text: UTF-8 where it is valid, any other byte as `\x80`."""
    return clean(data.decode("utf-8", "surrogateescape"))


def escape(char: str) -> str:
    r"""One character as the visible escape that Python and JavaScript would read back: `\x1b`, `\u202e`."""
    if char in _NAMED:
        return _NAMED[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def hidden(char: str) -> bool:
    """True when the character must not be shown as it is: unprintable, invisible, or a blank in disguise."""
    return (not char.isprintable() and char != _IDEOGRAPHIC_SPACE) or ord(char) in _INVISIBLE


def _is_mark(char: str) -> bool:
    # Latin letters, punctuation, arrows and Chinese: no marks among them, so the tables need not be loaded.
    if char < "\u0300" or "\u2000" <= char < "\u20d0" or "\u2100" <= char < "\u2c00" or "\u4e00" <= char < "\ua000":
        return False
    import unicodedata

    return unicodedata.category(char) in ("Mn", "Me")
