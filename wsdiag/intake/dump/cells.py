"""The cells of one row of a dump with offsets: hex, octal, decimal, bits or characters; what the offsets say about a
row's size is left to `grid`.
"""

from collections.abc import Callable

from wsdiag.intake.dump.found import rx
from wsdiag.record import NamedTuple

# No tool writes longer rows; a longer one is no row but somebody's data.
MOST_CELLS = 256


class Cell(NamedTuple):
    """The bytes of one cell in the order written, and the column after it."""

    data: bytes
    stop: int


class Form(NamedTuple):
    """A way to write the bytes of a row. `words`: the cells may be little-endian."""

    name: str
    read: Callable[[str], list[Cell]]
    words: bool = False


_SEPARATOR = r"(?:[ \t]*[-|:]?[ \t]+|[ \t]*[-|]|$)"


def _scan(rest: str, token: str, value: Callable[[str], bytes | None]) -> list[Cell]:
    """Cells from the start of `rest` on, as long as they match `token` and stay as wide as the first allows."""
    match_at = rx(rf"({token}){_SEPARATOR}").match
    cells: list[Cell] = []
    at = len(rest) - len(rest.lstrip(" \t|"))
    while at < len(rest) and len(cells) < MOST_CELLS:
        match = match_at(rest, at)
        if match is None:
            break
        data = value(match.group(1))
        if data is None or (cells and len(data) > len(cells[0].data)):
            break
        cells.append(Cell(data, match.end(1)))
        at = match.end()
    return cells


def _hex(rest: str) -> list[Cell]:
    return _scan(
        rest,
        r"(?:0[xX])?(?:[0-9a-fA-F]{2}){1,16}",
        lambda token: bytes.fromhex(token[2:] if token[1:2] in ("x", "X") else token),
    )


def _bits(rest: str) -> list[Cell]:
    return _scan(rest, r"[01]{8}", lambda token: bytes((int(token, 2),)))


def _octal_bytes(rest: str) -> list[Cell]:
    return _scan(rest, r"[0-3][0-7]{2}", lambda token: bytes((int(token, 8),)))


def _octal_words(rest: str) -> list[Cell]:
    return _scan(rest, r"[01][0-7]{5}", lambda token: int(token, 8).to_bytes(2, "big"))


def _decimal_bytes(rest: str) -> list[Cell]:
    return _scan(rest, r"-?\d{1,3}", lambda token: bytes((int(token) & 255,)) if -128 <= int(token) < 256 else None)


def _decimal_words(rest: str) -> list[Cell]:
    return _scan(rest, r"\d{5}", lambda token: int(token).to_bytes(2, "big") if int(token) < 65536 else None)


_ESCAPES = {"0": 0, "a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_NAMES = (
    "nul soh stx etx eot enq ack bel bs ht nl vt ff cr so si dle dc1 dc2 dc3 dc4 nak syn etb can em sub esc fs gs rs us"
)
_NAMED = {name: code for code, name in enumerate(_NAMES.split())} | {"sp": 32, "del": 127, "lf": 10}


def _characters(rest: str) -> list[Cell]:
    """od -c, od -a and hexdump -c: cells of four columns; a character of several bytes is followed by `**` cells."""
    cells: list[Cell] = []
    for at in range(0, min(len(rest), 4 * MOST_CELLS), 4):
        cell = rest[at : at + 4]
        inner = cell.strip()
        if not cell.startswith(" ") and len(inner) != 4:
            return []
        if not inner:
            data = b" "
        elif inner == "**":
            continue
        elif len(inner) == 1:
            data = inner.encode("utf-8", "replace")
        elif len(inner) == 2 and inner[0] == "\\" and inner[1] in _ESCAPES:
            data = bytes((_ESCAPES[inner[1]],))
        elif rx(r"[0-3][0-7]{2}").fullmatch(inner):
            data = bytes((int(inner, 8),))
        elif inner in _NAMED:
            data = bytes((_NAMED[inner],))
        else:
            return []
        cells.append(Cell(data, at + 4))
    return cells


HEX = Form("hex", _hex, words=True)
BITS = Form("bits", _bits)
OCTAL = Form("octal", _octal_bytes)
OCTAL_WORDS = Form("octal-words", _octal_words, words=True)
DECIMAL = Form("decimal", _decimal_bytes)
DECIMAL_WORDS = Form("decimal-words", _decimal_words, words=True)
CHARACTERS = Form("characters", _characters)
# In the order in which they are preferred when several fit a dump of one row.
FORMS = (BITS, HEX, OCTAL, OCTAL_WORDS, DECIMAL_WORDS, DECIMAL, CHARACTERS)


def fits_gutter(gutter: str, data: bytes) -> bool:
    """True when `gutter` shows `data`: each printable byte as itself, each other as one character, blanks aside."""
    gutter = gutter.strip()
    if len(gutter) > 1 and (gutter[0] + gutter[-1]) in ("||", "><", "**"):
        gutter = gutter[1:-1]
    if not gutter:
        return False
    if len(gutter) == len(data) and all(
        byte == ord(char) or not 32 <= byte < 127 or (byte == 32 and char == ".")
        for byte, char in zip(data, gutter, strict=True)
    ):
        return True
    shown = "".join(gutter.split()).replace("|", "") if b"|" not in data else "".join(gutter.split())
    wanted = [byte for byte in data if byte != 32]
    if len(shown) != len(wanted):
        # A byte that is shown as a blank (0xA0, or NUL in some tools) has vanished with the white space.
        printable = bytes(byte for byte in wanted if 32 < byte < 127).decode("ascii")
        kept = "".join(char for char in shown if char.isalnum())
        return len(printable) >= 4 and len(shown) < len(wanted) and kept == "".join(filter(str.isalnum, printable))
    return all(byte == ord(char) or not 32 < byte < 127 for byte, char in zip(wanted, shown, strict=True))
