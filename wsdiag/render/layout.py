"""Lays text out in terminal cells: widths, wrapping (Chinese too), styles and what to draw where ✓ cannot be encoded.

It knows nothing of reports; which lines there are is left to the renderers. Text given to it is clean already.
"""

import re
from collections.abc import Iterable

from wsdiag.pattern import pattern

# Names of styles and their SGR parameters (ECMA-48 section 8.3.117); only the eight colours that every theme defines.
STYLES = {
    "": "",
    "good": "1;32",
    "bad": "1;31",
    "unsure": "1;33",
    "mark": "1;31",
    "added": "32",
    "removed": "31",
    "kept": "2",
    "head": "1",
    "code": "36",
    "dim": "2",
}
GLYPHS = {
    "good": ("✓", "+"),
    "bad": ("✗", "x"),
    "unsure": ("?", "?"),
    "point": ("▸", ">"),
    "bar": ("│", "|"),
    "rule": ("─", "-"),
    "right": ("→", "->"),
    "left": ("←", "<-"),
    "arrow-right": ("▶", ">"),
    "arrow-left": ("◀", "<"),
    "missing": ("╳", "X"),
    "dash": ("╌", "."),
    "more": ("…", "..."),
    "dot": ("·", "-"),
}
# What a terminal must be able to encode before any of the glyphs above is used.
PROBE = "".join(glyph for glyph, _ in GLYPHS.values())
# Punctuation of the words that ASCII can stand in for.
_PLAIN = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "‘": "'",
        "’": "'",
        "—": "-",
        "–": "-",
        "…": "...",
        "→": "->",
        "←": "<-",
        "·": "-",
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "‹": "<",
        "›": ">",
        "✓": "+",
        "✗": "x",
        "▸": ">",
    }
)
# Chinese typesetting (GB/T 15834): these may not begin a line, those may not end one.
_NOT_FIRST = frozenset("，。、；：？！）》〉」』】〕｝”’…—～·%,.;:?!)]}")
_NOT_LAST = frozenset("（《〈「『【〔｛“‘([{")
_RUNNER_LINE = pattern(r"^([ \t\u3000]*)::(?=[A-Za-z][^\n]*::)", re.MULTILINE)
_RUNNER_MARK = pattern(r"##(?:vso)?\[")
# A column narrower than this holds no sentence; the text then runs over the edge instead.
MIN_COLUMN = 16


def encodes(encoding: str | None) -> bool:
    """True when output in that encoding can show every glyph."""
    try:
        PROBE.encode(encoding or "ascii")
    except (LookupError, UnicodeError):
        return False
    return True


def defused(text: str) -> str:
    """Text of many lines in which none is a command to a CI runner that shows it.

    GitHub's runner obeys lines that begin with `::name::`, and `##[name]` anywhere; Azure Pipelines `##vso[`.
    """
    if "::" in text:
        text = _RUNNER_LINE.sub(r"\1:\\x3a", text)
    return _RUNNER_MARK.sub(lambda match: match[0][:-1] + "\\x5b", text) if "##" in text else text


# One cell each: ASCII and what our own lines are drawn with. For them the tables of Unicode need not be loaded.
NARROW = frozenset(map(chr, range(128))) | frozenset("…→←↔▸·✓✗✔✘│┃─━┌┐└┘├┤┬┴┼╭╮╰╯•–—‘’“”»«°×≤≥≠")


def cell_width(text: str) -> int:
    """How many cells the text takes: two for East Asian wide characters, none for combining marks (UAX #11)."""
    if NARROW.issuperset(text):
        return len(text)
    from unicodedata import category

    cells = 0
    for char in text:
        if _is_wide(char):
            cells += 2
        elif char.isascii() or category(char) not in ("Mn", "Me", "Cf"):
            cells += 1
    return cells


def _is_wide(char: str) -> bool:
    if char in NARROW:
        return False
    from unicodedata import east_asian_width

    return east_asian_width(char) in "WF"


def pad(text: str, cells: int) -> str:
    """The text with blanks behind it up to that many cells."""
    return text + " " * (cells - cell_width(text))


def cut(text: str, cells: int, more: str = "…") -> str:
    """The text, shortened to at most that many cells; `more` shows that something is gone."""
    if cell_width(text) <= cells:
        return text
    room = max(cells - cell_width(more), 0)
    kept = ""
    for char in text:
        room -= cell_width(char)
        if room < 0:
            break
        kept += char
    return kept + more


def wrap(text: str, cells: int) -> list[str]:
    """The text in lines of at most that many cells: broken at blanks and between Chinese characters.

    No closing punctuation begins a line and no opening one ends it. A word that is longer than a line is cut.
    """
    cells = max(cells, MIN_COLUMN)
    lines: list[str] = []
    line, used = "", 0
    for unit in _units(text):
        bare = unit.rstrip(" ")
        size = cell_width(bare)
        if used + size > cells and line:
            lines.append(line.rstrip(" "))
            line, used = "", 0
            unit = unit.lstrip(" ")
        while cell_width(unit.rstrip(" ")) > cells:
            head = cut(unit, cells, "")
            lines.append(head)
            unit = unit[len(head) :]
        line += unit
        used += cell_width(unit)
    if line.strip(" ") or not lines:
        lines.append(line.rstrip(" "))
    return lines


def _units(text: str) -> list[str]:
    """The smallest parts that a line break may not divide: a word with the blank behind it, a Chinese character with
    the punctuation that belongs to it."""
    if text.isascii():
        return [part + " " for part in text.split(" ")]
    units: list[str] = []
    unit = ""
    for char, following in zip(text, [*text[1:], ""], strict=True):
        unit += char
        wide = _is_wide(char) or (char in _NOT_FIRST and not char.isascii())
        wide_next = bool(following) and (_is_wide(following) or following in "“‘")
        breakable = char == " " or ((wide or wide_next) and char not in _NOT_LAST)
        if breakable and following not in _NOT_FIRST and following != " ":
            units.append(unit)
            unit = ""
    if unit:
        units.append(unit)
    return units


class Page:
    """Lines for a terminal of that width. Styles are names of `STYLES`; they show only when `color` is on."""

    __slots__ = ("_lines", "color", "unicode", "width")

    def __init__(self, width: int, color: bool, unicode: bool) -> None:
        self.width = max(width, 20)
        self.color = color
        self.unicode = unicode
        self._lines: list[str] = []

    def glyph(self, name: str) -> str:
        """The sign of that name, or what stands for it in ASCII."""
        return GLYPHS[name][0 if self.unicode else 1]

    def spell(self, text: str) -> str:
        """The words as this terminal can show them: with plain punctuation where it has no better."""
        return text if self.unicode or text.isascii() else text.translate(_PLAIN)

    def paint(self, style: str, text: str) -> str:
        """The text in that style."""
        codes = STYLES[style]
        return f"\x1b[{codes}m{text}\x1b[0m" if self.color and codes and text else text

    def line(self, *parts: str | tuple[str, str]) -> None:
        """One line as it is, of plain texts and (style, text) pairs."""
        self._lines.append("".join(part if isinstance(part, str) else self.paint(*part) for part in parts).rstrip())

    def gap(self) -> None:
        """An empty line, never two in a row and none at the top."""
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def paragraph(self, text: str, *, indent: str = "", lead: str = "", style: str = "") -> None:
        """Wrapped text. `lead` stands in front of the first line, blanks of its width in front of the others.

        What stands between backticks is code: it keeps the backticks only where there is no colour to show it.
        """
        lead = self.spell(lead)
        hang = " " * cell_width(lead)
        inside = False
        for number, each in enumerate(wrap(self.spell(text), self.width - cell_width(indent + lead))):
            shown, inside = self._code(each, style, inside)
            self._lines.append((indent + (self.paint(style, lead) if number == 0 else hang) + shown).rstrip())

    def verbatim(self, lines: Iterable[str], indent: str = "") -> None:
        """Lines to copy: neither wrapped nor cut."""
        self._lines.extend((indent + each).rstrip() for each in lines)

    def text(self) -> str:
        """All lines, each with its line end."""
        while self._lines and not self._lines[-1]:
            self._lines.pop()
        return defused("".join(line + "\n" for line in self._lines))

    def _code(self, line: str, style: str, inside: bool) -> tuple[str, bool]:
        if not self.color:
            return line, False
        parts = line.split("`")
        shown = []
        for number, part in enumerate(parts):
            shown.append(self.paint("code" if inside else style, part))
            if number < len(parts) - 1:
                inside = not inside
        return "".join(shown), inside
