"""Dumps whose rows begin with an offset or an address: xxd, hexdump, od, tcpdump, tshark, WinDbg, GDB, LLDB, certutil,
Format-Hex, Netty, openssl; packets and follow-stream directions inside them are put together in `packets` and `join`.
"""

from wsdiag.intake.dump.cells import CHARACTERS, HEX, fits_gutter
from wsdiag.intake.dump.clean import body_column
from wsdiag.intake.dump.fitting import Solution, fit, solve
from wsdiag.intake.dump.found import Dump, Text, cut_note, marks_of, rx
from wsdiag.intake.dump.plausible import KNOWN, NOTHING, weight
from wsdiag.intake.dump.rows import Block, block_of, rows_at
from wsdiag.model import Gap, Note

# A `*` line stands for repeated rows; more than this is a hole in an address space, not data.
MOST_SQUEEZED = 1 << 22
# The form is decided on this many rows, so that numbers in a log cost little; then the rest is read in that form.
FIRST_ROWS = 6
# Then so many times as many while they fit, and so on: what is read in vain stays within this many times the rest.
GROWTH = 16


def read_grid(text: Text, line: int, strict: bool) -> Dump | None:
    """The dump with offsets whose first row is this line; None if it is no such row.

    `strict` (free text): one row alone must show its own bytes beside them or begin at zero and be known.
    """
    best: tuple[int, Dump] | None = None
    pair = (text[line], text[line + 1] if line + 1 < len(text) else "")
    if strict and text.refused == pair:
        return None
    seen: set[str] = set()
    for row in rows_at(text, line):
        if row.style in seen:
            continue
        seen.add(row.style)
        block = block_of(text, row, FIRST_ROWS)
        solution = solve(block)
        if solution is None:
            continue
        most = FIRST_ROWS
        while len(block.rows) == most and solution.good > 1:
            most *= GROWTH
            whole = block_of(text, row, most)
            longer = fit(whole, solution.form, solution.base)
            if longer is None:
                break
            block, solution = whole, longer._replace(rival=solution.rival)
        dump = _dump(text, block, solution, strict)
        if dump is not None and (best is None or solution.good > best[0]):
            best = (solution.good, dump)
            if solution.good == len(block.rows) > 1:
                break
    if best is None:
        text.refused = pair
    return best[1] if best else None


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
        words = any(len(cell.data) > 1 for cell in solution.cells[0])
        # Tables of code points have four digits; hexdump, od and xxd have six or more in front of words.
        return len(first.label) >= 6 or first.style != "" or (len(first.label) >= 4 and not words)
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
