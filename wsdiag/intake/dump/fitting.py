"""In which form and base the rows of a dump make sense: as long as their offsets say; what bytes they make is left to
`grid`.
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
from wsdiag.intake.dump.found import rx
from wsdiag.intake.dump.plausible import weight
from wsdiag.intake.dump.rows import Block, number_of
from wsdiag.record import NamedTuple


class Solution(NamedTuple):
    """The cells that belong to the data, row by row, under one form and one base of the offsets."""

    form: Form
    base: int
    cells: list[list[Cell]]
    sizes: list[int]
    good: int
    bad: int
    rival: str = ""  # another form that fits as well


# Groups of two letters that a gutter of 16 characters can hold.
MOST_IN_GUTTER = 5


def solve(block: Block) -> Solution | None:
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
        bases = (8, 16, 10) if plain and len(first.label) == 7 and not words else (16, 8, 10)
        for base in bases if len(block.rows) > 1 or block.end else bases[:1]:
            found = fit(block, form, base)
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


def fit(block: Block, form: Form, base: int) -> Solution | None:
    """The rows read under this form and base of the offsets; None when too many do not fit."""
    numbers = [number_of(row.label, base) for row in block.rows]
    end = number_of(block.end, base) if block.end else None
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
        if form is CHARACTERS and total < need <= 16:
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
    sign = gutter.lstrip()[:1] in ("|", ">") or (gutter[:2] in ("  ", "\t") and len(found) - count <= MOST_IN_GUTTER)
    return sign or fits_gutter(gutter, b"".join(cell.data for cell in found[:count]))
