"""Lines that may be rows of a dump: an offset or an address, and cells behind it; whether the cells fit the offsets is
left to `fitting`.
"""

from wsdiag.intake.dump.found import Text, rx
from wsdiag.record import NamedTuple

# Rows of one dump may be torn apart by this many foreign lines (a soft wrap, another program's line).
MOST_FOREIGN = 2
# Offsets further apart than this are no neighbours; so many of them are a column of numbers, not a dump.
FAR_APART, MOST_UNEVEN = 0x1000, 64
# Characters of a row that are looked at: xxd -c 256 -g 1 prints about a thousand.
WIDEST_ROW = 2048
# Labels on one line that are tried as the row's offset: prefixes hold numbers too.
MOST_LABELS = 8

# An offset has four digits or more; `0x` in front or a sign behind lets it be shorter.
_LABEL = (
    r"(?<![\w.:+/\"'-])(?:(0[xX])([0-9a-fA-F]{2,16})(?: ?<[^<>\s]{1,80}>)?(:)"
    r"|([0-9a-fA-F]{8}`[0-9a-fA-F]{8}|[0-9a-fA-F]{4,16})(h?:|h|\|| -|)|([0-9a-fA-F]{2,3})(:))(?=[ \t]|$|(?<=\|))"
)


class Row(NamedTuple):
    """A line that may be a row: what stands in front of the offset, the offset, its style, and the rest."""

    line: int
    indent: str
    label: str
    style: str
    rest: str  # from right after the offset on


class Block(NamedTuple):
    """Rows that follow each other, the offset that closes them (od, hexdump), and which rows a `*` follows."""

    rows: list[Row]
    end: str
    squeezed: frozenset[int]
    last: int


def rows_at(text: Text, line: int) -> list[Row]:
    """The readings of a line as a row, one for each word that may be its offset."""
    content = text[line]
    if "\u2502" in content or "\u250a" in content:  # hexyl's box drawing
        content = content.replace("\u2502", "|").replace("\u250a", "|")
    rows = []
    for match in rx(_LABEL).finditer(content):
        label = (match.group(2) or match.group(4) or match.group(6)).lower()
        style = "0x:" if match.group(1) else (match.group(5) or match.group(7) or "").strip()
        if "`" in label:
            label, style = label.replace("`", ""), "`"
        rest = content[match.end() : match.end() + WIDEST_ROW]
        rows.append(Row(line, content[: match.start()][-WIDEST_ROW:], label, style, rest))
        if len(rows) >= MOST_LABELS:
            break
    return rows


def block_of(text: Text, first: Row, most: int) -> Block:
    """Collect at most `most` rows from the first on: same style, growing offsets, the offset at the same place."""
    rows, squeezed, end, last, foreign, star = [first], set[int](), "", first.line, 0, False
    index = first.line + 1
    uneven = 0
    while index < len(text) and foreign <= MOST_FOREIGN and len(rows) < most and uneven <= MOST_UNEVEN:
        row = _next_row(text, index, rows[-1], torn=foreign > 0)
        body = text.body(index).strip() if row is None else ""
        index += 1
        if row is None:
            if body == "*":
                star = True
                foreign = 0
            else:
                foreign += 1
            continue
        if not row.rest.strip(" \t|") and not (row.rest and _label_alone(text, index, row)):
            end, last = row.label, row.line
            if star:
                squeezed.add(len(rows) - 1)
            break
        if star:
            squeezed.add(len(rows) - 1)
            star = False
        uneven += _far(rows[-1].label, row.label) and len(rows) - 1 not in squeezed
        rows.append(row)
        last, foreign = row.line, 0
    return Block(rows, end, frozenset(squeezed), last)


def _far(before: str, after: str) -> bool:
    """True when the offsets are far apart, in octal as well."""
    if int(after, 16) - int(before, 16) <= FAR_APART:
        return False
    octal = number_of(before, 8), number_of(after, 8)
    return octal[0] is None or octal[1] is None or octal[1] - octal[0] > FAR_APART


def _label_alone(text: Text, index: int, before: Row) -> bool:
    """True when the line is an offset alone: a row in front of it that looks empty is one of blanks (od -c)."""
    following = _next_row(text, index, before, torn=False) if index < len(text) else None
    return following is not None and not following.rest.strip(" \t|")


def _next_row(text: Text, index: int, before: Row, torn: bool) -> Row | None:
    """The row at `index` if it can follow the row `before`."""
    value = int(before.label, 16)
    for row in rows_at(text, index):
        if row.style != before.style or abs(len(row.label) - len(before.label)) > 1:
            continue
        if len(row.indent) != len(before.indent) and row.indent.strip() == "" == before.indent.strip():
            continue  # the other direction of a followed stream
        if int(row.label, 16) <= value:
            continue
        if torn and int(row.label, 16) - value > 0x100:
            continue
        return row
    return None


def number_of(label: str, base: int) -> int | None:
    try:
        return int(label, base)
    except ValueError:
        return None
