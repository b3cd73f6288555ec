"""Dumps whose rows begin with an offset or an address: xxd, hexdump, od, tcpdump, tshark, WinDbg, GDB, LLDB, certutil,
Format-Hex, Netty, openssl; packets and follow-stream directions inside them are put together in `packets` and `join`.
"""

from itertools import pairwise

from wsdiag.intake.dump.cells import (
    BITS,
    CHARACTERS,
    DECIMAL,
    DECIMAL_WORDS,
    FORMS,
    HEX,
    OCTAL,
    Cell,
    Form,
    fits_gutter,
)
from wsdiag.intake.dump.clean import body_column
from wsdiag.intake.dump.found import Dump, Text, cut_note, marks_of, rx
from wsdiag.intake.dump.plausible import KNOWN, NOTHING, weight
from wsdiag.model import Gap, Note
from wsdiag.record import NamedTuple

# A `*` line stands for repeated rows; more than this is a hole in an address space, not data.
MOST_SQUEEZED = 1 << 22
# Rows of one dump may be torn apart by this many foreign lines (a soft wrap, another program's line).
MOST_FOREIGN = 2
# The form is decided on this many rows, so that numbers in a log cost little; then the rest is read in that form.
FIRST_ROWS = 6
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


class Solution(NamedTuple):
    """The cells that belong to the data, row by row, under one form and one base of the offsets."""

    form: Form
    base: int
    cells: list[list[Cell]]
    sizes: list[int]
    good: int
    bad: int
    rival: str = ""  # another form that fits as well


def read_grid(text: Text, line: int, strict: bool) -> Dump | None:
    """The dump with offsets whose first row is this line; None if it is no such row.

    `strict` (free text): one row alone must show its own bytes beside them or begin at zero and be known.
    """
    best: tuple[int, Dump] | None = None
    seen: set[str] = set()
    for row in _rows_at(text, line):
        if row.style in seen:
            continue
        seen.add(row.style)
        block = _block(text, row, FIRST_ROWS)
        solution = _solve(block)
        if solution is None:
            continue
        if len(block.rows) == FIRST_ROWS and solution.good > 1:
            whole = _block(text, row, len(text))
            longer = _fit(whole, solution.form, solution.base)
            if longer is not None:
                block, solution = whole, longer._replace(rival=solution.rival)
        dump = _dump(text, block, solution, strict)
        if dump is not None and (best is None or solution.good > best[0]):
            best = (solution.good, dump)
            if solution.good == len(block.rows) > 1:
                break
    return best[1] if best else None


def _rows_at(text: Text, line: int) -> list[Row]:
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


def _block(text: Text, first: Row, most: int) -> Block:
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
        uneven += int(row.label, 16) - int(rows[-1].label, 16) > FAR_APART and len(rows) - 1 not in squeezed
        rows.append(row)
        last, foreign = row.line, 0
    return Block(rows, end, frozenset(squeezed), last)


def _label_alone(text: Text, index: int, before: Row) -> bool:
    """True when the line is an offset alone: a row in front of it that looks empty is one of blanks (od -c)."""
    following = _next_row(text, index, before, torn=False) if index < len(text) else None
    return following is not None and not following.rest.strip(" \t|")


def _next_row(text: Text, index: int, before: Row, torn: bool) -> Row | None:
    """The row at `index` if it can follow the row `before`."""
    value = int(before.label, 16)
    for row in _rows_at(text, index):
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


def _number(label: str, base: int) -> int | None:
    try:
        return int(label, base)
    except ValueError:
        return None


def _solve(block: Block) -> Solution | None:
    """The form and base under which the rows are as long as their offsets say; the first best of all."""
    best: Solution | None = None
    rival = ""
    first = block.rows[0]
    plain = first.style == "" and len(first.label) in (6, 7, 8)  # od and hexdump; others write hex and bits only
    for form in FORMS:
        if form not in (HEX, BITS) and not (plain or (form in (DECIMAL, OCTAL) and first.style == "0x:")):
            continue
        cells = form.read(first.rest)
        if not cells:
            continue
        # od counts in octal, and hexdump, the only other tool with seven digits, mostly prints words of two bytes.
        words = form is DECIMAL_WORDS or (form is HEX and len(cells[0].data) == 2)
        for base in (8, 16, 10) if plain and len(first.label) == 7 and not words else (16, 8, 10):
            found = _fit(block, form, base)
            if found is None or not found.good:
                continue
            if best is None:
                best = found
                continue
            ranks = _rank(block, found), _rank(block, best)
            winner, loser = (found, best) if ranks[0] > ranks[1] else (best, found)
            if ranks[0][:3] == ranks[1][:3] and found.form is not best.form:
                rival = loser.form.name
            elif winner is found:
                rival = ""
            best = winner
    return best._replace(rival=rival) if best else None


def _rank(block: Block, solution: Solution) -> tuple[int, int, bool, int]:
    """Better solutions rank higher: fewer misfits, more rows, the usual layout, then what the bytes look like."""
    data = b"".join(cell.data for row in solution.cells[:8] for cell in row)
    return (-solution.bad, solution.good, _usual_layout(block, solution), weight(data))


def _usual_layout(block: Block, solution: Solution) -> bool:
    """True when the cells stand where od and hexdump put cells of this form."""
    first, cells = block.rows[0], solution.cells[0]
    if first.style or len(first.label) != 7:
        return solution.form in (HEX, BITS)
    stops = [cell.stop for cell in cells]
    if solution.form is HEX:
        wide = 2 * len(cells[0].data) if cells else 0
        return bool(cells) and stops[0] in (wide + 1, wide + 4)
    if solution.form is DECIMAL:
        four, five = (all(stop == width * at for at, stop in enumerate(stops, 1)) for width in (4, 5))
        return (four or five) and not rx(r"(?:^|\s)0\d").search(first.rest)
    if solution.form is CHARACTERS:
        return True
    return bool(cells) and rx(r"\s\S").match(first.rest[stops[0] - 4 :][:2] or "  x") is not None


def _fit(block: Block, form: Form, base: int) -> Solution | None:
    """The rows read under this form and base of the offsets; None when too many do not fit."""
    numbers = [_number(row.label, base) for row in block.rows]
    end = _number(block.end, base) if block.end else None
    at = [number for number in numbers if number is not None]
    if len(at) < len(numbers) or (block.end and end is None):
        return None
    steps = [after - before for before, after in pairwise(at)]
    whole = [step for index, step in enumerate(steps) if index not in block.squeezed]
    width = max(set(whole), key=lambda step: (whole.count(step), -step)) if whole else 0
    if form is CHARACTERS and width > 16:
        return None  # od and hexdump print 16 characters a row
    cells: list[list[Cell]] = []
    sizes: list[int] = []
    good = bad = 0
    gutter_column: int | None = None
    for index, row in enumerate(block.rows):
        found = form.read(row.rest)
        if not found or (form is HEX and row.style == "" and len(found[0].data) not in (1, 2, 4, 8, 16)):
            bad += 1
            cells.append([])
            sizes.append(0)
            continue
        last = index == len(block.rows) - 1
        if index in block.squeezed:
            need: int | None = width or None
        elif not last:
            need = min(steps[index], width)
        else:
            need = end - at[index] if end is not None else None
        chosen, size = _choose(form, row.rest, found, need, width, gutter_column)
        fits = bool(chosen) if need is None else size == need
        good += fits
        bad += not fits
        if chosen and gutter_column is None and len(row.rest) > chosen[-1].stop:
            tail = row.rest[chosen[-1].stop :]
            gutter_column = chosen[-1].stop + len(tail) - len(tail.lstrip())
        cells.append(chosen)
        sizes.append(size)
    if bad and bad * 4 > good:
        return None
    return Solution(form, base, cells, sizes, good, bad)


def _choose(
    form: Form, rest: str, found: list[Cell], need: int | None, width: int, gutter_column: int | None
) -> tuple[list[Cell], int]:
    """How many of the cells are data (the gutter may look like more of them), and how many bytes that makes."""
    total = 0
    sums = []
    for cell in found:
        total += len(cell.data)
        sums.append(total)
    if need is not None:
        if form is CHARACTERS and total < need <= total + 16 and need == width:
            missing = need - total  # blanks at the end of a row that were trimmed
            return [*found, *[Cell(b" ", found[-1].stop)] * missing], need
        for count, size in enumerate(sums, 1):
            if size == need or (form.words and size - need in range(1, len(found[0].data)) and count == len(sums)):
                if count < len(sums) and not _gutter_starts(form, rest, found, count):
                    break
                return found[:count], need
        return found, total
    limit = width or (16 if form in (CHARACTERS, DECIMAL, OCTAL) else 32)
    most = [count for count, size in enumerate(sums, 1) if size <= limit]
    for count in reversed(most):
        data = b"".join(cell.data for cell in found[:count])
        gutter = rest[found[count - 1].stop :]
        apart = gutter[:2] in ("  ", " |", " >", "|", "\t") or any(32 < byte < 127 for byte in data)
        if apart and fits_gutter(gutter, data) and not gutter.strip().startswith("0x"):
            return found[:count], sums[count - 1]
    if form.words and len(found[0].data) > 1:
        for count in reversed(most):
            data = b"".join(cell.data[::-1] for cell in found[:count])
            gutter = rest[found[count - 1].stop :]
            if gutter[:2] in ("  ", " |", " >", "|", "\t") and fits_gutter(gutter, data):
                return found[:count], sums[count - 1]
    if gutter_column is not None:
        most = [count for count in most if found[count - 1].stop <= gutter_column] or most
    count = most[-1] if most else 0
    return found[:count], sums[count - 1] if count else 0


def _gutter_starts(form: Form, rest: str, found: list[Cell], count: int) -> bool:
    """True when what looks like more cells behind the first `count` is the gutter."""
    if form is not HEX:
        return form is CHARACTERS and all(cell.data == b" " for cell in found[count:])  # hexdump pads its last row
    gutter = rest[found[count - 1].stop :]
    return gutter[:2] in ("  ", " |", " >", "\t") or fits_gutter(gutter, b"".join(cell.data for cell in found[:count]))


def _dump(text: Text, block: Block, solution: Solution, strict: bool) -> Dump | None:
    """Put the rows together: byte order, squeezed rows, holes, and what is to be said about them."""
    form = solution.form
    notes: list[Note] = []
    little = form.words and _little_endian(block, solution, notes)
    base = solution.base
    out = bytearray()
    rows: list[tuple[int, int]] = []
    gaps: list[Gap] = []
    lossy = cut = False
    start = int(block.rows[0].label, base)
    address = len(block.rows[0].label) > 8 or start > (0xFFFF if block.rows[0].style.startswith("0x") else 1 << 24)
    previous = b""
    for index, (row, cells, size) in enumerate(zip(block.rows, solution.cells, solution.sizes, strict=True)):
        data = b"".join(cell.data[::-1] for cell in cells) if little else b"".join(cell.data for cell in cells)
        data = data[:size]
        missing = int(row.label, base) - start - len(out)
        if missing > 0:
            if index - 1 in block.squeezed and previous and missing <= MOST_SQUEEZED:
                rows.append((len(out), block.rows[index - 1].line))
                out += (previous * (missing // len(previous) + 1))[:missing]
                notes.append(Note("dump-squeezed", {"size": missing}))
            else:
                gaps.append(Gap(len(out), missing))
                notes.append(Note("dump-gap", {"offset": len(out), "missing": missing}))
                lossy = True
                start = int(row.label, base) - len(out)
        rows.append((len(out), row.line))
        out += data
        previous = data
    if block.end and not lossy:
        missing = int(block.end, base) - start - len(out)
        if missing > 0 and len(block.rows) - 1 in block.squeezed and previous and missing <= MOST_SQUEEZED:
            out += (previous * (missing // len(previous) + 1))[:missing]
            notes.append(Note("dump-squeezed", {"size": missing}))
        elif missing > 0:
            cut = True
            notes.append(cut_note(missing))
    data = bytes(out)
    shown = _shows_itself(block, solution, little)
    begin = int(block.rows[0].label, base)
    if not _acceptable(block, solution, data, shown, strict):
        return None
    if solution.rival:
        notes.append(Note("dump-ambiguous", {"chosen": form.name, "rejected": solution.rival}))
    if block.squeezed and len(block.rows[0].label) == 7 and len(block.rows) - len(block.squeezed) < 2:
        notes.append(Note("dump-ambiguous", {"chosen": f"base-{base}", "rejected": f"base-{24 - base}"}))
    last_row, first_line = block.rows[-1], block.rows[0].line
    tail = last_row.rest[solution.cells[-1][-1].stop :] if solution.cells[-1] else ""
    if "..." in text[block.last + 1][:8] if block.last + 1 < len(text) else False:
        cut = True
        notes.append(cut_note(None))
    if begin and not address:
        notes.append(Note("dump-starts-at", {"offset": begin}))
    heading = any("00 01 02 03 04 05 06 07" in text[index] for index in range(max(0, first_line - 3), first_line))
    notation = _notation(block, solution, little, bool(tail.strip()), heading)
    if notation == "od-a":
        lossy = True
        notes.append(Note("dump-seven-bits"))
    return Dump(
        data,
        notation,
        marks_of(text, rows),
        None,
        cut,
        lossy,
        (Note("dump-form", {"notation": notation, "size": len(data)}), *notes),
        block.rows[0].line,
        block.last,
        len(block.rows[0].indent),
        len(text[block.last]),
        not begin or address,
        tuple(gaps),
        begin,
        block.rows[0].indent[body_column(block.rows[0].indent) :],
    )


def _little_endian(block: Block, solution: Solution, notes: list[Note]) -> bool:
    """Whether cells of several bytes are little-endian words: the gutter tells, else the bytes, else the layout."""
    if max((len(cell.data) for row in solution.cells for cell in row), default=1) == 1:
        return False
    if solution.form is not HEX:
        return True
    big = small = 0
    for row, cells in list(zip(block.rows, solution.cells, strict=True))[:16]:
        if cells:
            gutter = row.rest[cells[-1].stop :]
            big += fits_gutter(gutter, b"".join(cell.data for cell in cells))
            small += fits_gutter(gutter, b"".join(cell.data[::-1] for cell in cells))
    if big != small:
        return small > big
    head = [cell for row in solution.cells[:16] for cell in row]
    as_written = weight(b"".join(cell.data for cell in head))
    swapped = weight(b"".join(cell.data[::-1] for cell in head))
    style, rest = block.rows[0].style, block.rows[0].rest
    usual = style == "" or (style == "0x:" and "0x" in rest) or (style == ":" and rest.startswith("   "))
    if as_written == swapped:
        if big and max(len(cell.data) for cell in head) >= 4:
            notes.append(Note("dump-ambiguous", {"chosen": "bytes", "rejected": "words"}))
        return usual
    decided = swapped > as_written
    if decided != usual:
        chosen, rejected = ("words", "bytes") if decided else ("bytes", "words")
        notes.append(Note("dump-ambiguous", {"chosen": chosen, "rejected": rejected}))
    return decided


def _shows_itself(block: Block, solution: Solution, little: bool) -> bool:
    """True when a row's gutter shows the row's bytes."""
    for row, cells in list(zip(block.rows, solution.cells, strict=True))[:4]:
        if cells:
            data = b"".join(cell.data[::-1] if little else cell.data for cell in cells)
            if len(data) >= 4 and fits_gutter(row.rest[cells[-1].stop :], data):
                return True
    return False


def _acceptable(block: Block, solution: Solution, data: bytes, shown: bool, strict: bool) -> bool:
    if not data:
        return False
    first = block.rows[0]
    proven = len(block.rows) + bool(block.end) >= 2 and solution.good >= 2
    if solution.form is CHARACTERS and len(first.label) != 7 and not (proven and len(first.label) >= 6):
        return False
    if shown:
        return True
    if not strict:
        return proven or not int(first.label, solution.base) or first.style != ""
    if not proven:
        # One row, no gutter: offset zero, and bytes that are something.
        return len(first.label) >= 4 and not int(first.label, 16) and weight(data) > NOTHING and len(data) >= 4
    if solution.form is HEX:
        return len(first.label) >= 4
    return len(first.label) in (6, 7, 8) or weight(data) == KNOWN


def _notation(block: Block, solution: Solution, little: bool, gutter: bool, heading: bool) -> str:
    """The slug of the tool that writes such rows."""
    first = block.rows[0]
    form, style, digits, base = solution.form.name, first.style, len(first.label), solution.base
    size = max((len(cell.data) for row in solution.cells[:4] for cell in row), default=1)
    od = base != 16 or digits == 6
    if form == "bits":
        return "xxd-b"
    if form == "hex":
        if style.startswith("0x"):
            if "0x" in first.rest:
                return "gdb"
            return "lldb" if digits > 4 else ("tcpdump-x" if not gutter else "tcpdump-X")
        if style == ":":
            return "xxd-e" if little else "xxd"
        if style == "|":
            return "box-hexdump"
        if style == "-":
            return "openssl-dump"
        if style == "`":
            return "windbg"
        if heading:
            return "format-hex"
        if size > 1:
            return "od-words" if od else "hexdump-words"
        if od or (digits == 7 and base == 8):
            return "od-t-x1"
        if digits == 4:
            return "certutil" if first.indent.endswith("    ") else "tshark-x"
        if "|" in first.rest:
            return "hexdump-c"
        return "hexdump"
    if form == "octal":
        return "od-b" if od else "hexdump-b"
    if form == "octal-words":
        return "od" if od else "hexdump-o"
    if form == "decimal":
        return "od-decimal"
    if form == "decimal-words":
        return "hexdump-d"
    if rx(r"(?:^|\s)(?:sp|nl|cr|nul|soh)(?:\s|$)").search(" ".join(row.rest for row in block.rows[:8])):
        return "od-a"
    return "od-c" if od else "hexdump-characters"
