"""Undoes the escapes of string literals, whatever language wrote them; where a literal begins and ends is left to
`quoted`.
"""

from wsdiag.intake.dump.found import rx
from wsdiag.record import NamedTuple

_ESCAPE = (
    r"\\(?:x\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{1,2})|u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})"
    r"|([0-3]?[0-7]{1,2})|(.)|$)"
)
_LETTERS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "e": 27, "s": 32}
# What languages escape although it stands for itself: quotes everywhere, / in JSON, # $ @ in Ruby and Perl.
_ESCAPED_SIGNS = "\\\"'`/#$@\n"
REPLACEMENT = 0xFFFD


class Plain(NamedTuple):
    """The bytes of a literal. `escapes` counts the escapes, `replaced` the U+FFFD; `latin` tells that characters
    stood for one byte each."""

    data: bytes
    escapes: int
    replaced: int
    latin: bool


def escaped_twice(literal: str) -> bool:
    """True when the escapes were escaped again, as a literal inside JSON is, and none is single."""
    twice = 0
    for match in rx(r"\\(.)").finditer(literal):
        if match.group(1) == "\\":
            twice += (
                rx(r"x[0-9a-fA-F]{2}|u00[0-9a-fA-F]{2}|r\\\\n|[0-3][0-7]{2}").match(literal, match.end()) is not None
            )
        elif match.group(1) not in "\"'/":
            return False
    return twice > 0


def unescape(literal: str, code_points: bool = False) -> Plain:
    """Undo the escapes. With `code_points` (JavaScript, Python str) `\\x81` is a character, not a byte.

    Characters are written as UTF-8, unless all are below 256 and some are C1 controls (which no text holds): then the
    string was binary data, one character a byte.
    """
    if "\\" not in literal and literal.isascii():
        return Plain(literal.encode(), 0, 0, False)
    pieces: list[int] = []  # a byte as 0 to 255, a character as its code point shifted by 256
    escapes = at = 0
    shift = 256
    for match in rx(_ESCAPE).finditer(literal):
        _raw(pieces, literal[at : match.start()], shift)
        at = match.end()
        braces, two, braced, four, eight, octal, letter = match.groups()
        if letter is not None and letter not in _LETTERS:
            if letter not in _ESCAPED_SIGNS:
                pieces.append(0x5C)  # no language escapes it: the backslash is a character of its own
            _raw(pieces, letter, shift)
            escapes += 1
            continue
        escapes += 1
        if two is not None:
            value = int(two, 16)
            pieces.append(value + shift if code_points else value)
        elif octal is not None:
            pieces.append(int(octal, 8))
        elif letter is not None:
            pieces.append(_LETTERS[letter])
        else:
            digits = braces or braced or four or eight
            if digits is not None:
                pieces.append(int(digits, 16) % 0x110000 + shift)
            else:
                pieces.append(0x5C)
    _raw(pieces, literal[at:], shift)
    points = [piece - shift for piece in pieces if piece >= shift]
    high = [point for point in points if point >= 0x80]
    latin = bool(high) and max(high) < 256 and any(point < 0xA0 for point in high)
    if latin and not code_points and any(0x80 <= piece < shift for piece in pieces):
        latin = False  # bytes and characters side by side: Go and Ruby show valid UTF-8 as characters
    replaced = sum(point == REPLACEMENT for point in points)
    return Plain(_encode(pieces, shift, latin), escapes, replaced, latin)


def _raw(pieces: list[int], text: str, shift: int) -> None:
    if text.isascii():
        pieces.extend(text.encode())
    else:
        pieces.extend(ord(char) + shift if char > "\x7f" else ord(char) for char in text)


def _encode(pieces: list[int], shift: int, latin: bool) -> bytes:
    if not pieces or max(pieces) < shift:
        return bytes(pieces)
    out = bytearray()
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        at += 1
        if piece < shift:
            out.append(piece)
        elif latin:
            out.append(piece - shift)
        else:
            point = piece - shift
            if 0xD800 <= point < 0xDC00 and at < len(pieces) and 0xDC00 <= pieces[at] - shift < 0xE000:
                point = 0x10000 + ((point - 0xD800) << 10) + (pieces[at] - shift - 0xDC00)
                at += 1
            out += chr(point).encode("utf-8", "surrogatepass")
    return bytes(out)
