"""Shows the evidence in a terminal: the user's own line or bytes, with the telling part marked by carets below it.

Which findings there are and what is said about them is left to `terminal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wsdiag.model import Connection, ConnectionReport, Exchange, Finding, Place, Side, Value
from wsdiag.record import TYPE_CHECKING
from wsdiag.render.annotate import Row, Telling, missing_header, side_rows, tellings
from wsdiag.render.clean import clean
from wsdiag.render.hexdump import hex_rows
from wsdiag.render.layout import Page, cell_width

if TYPE_CHECKING:
    from typing import TypeAlias

    from wsdiag.render.words import Words

# What a line is made of: a shown character (or its escape), and whether it is marked.
Pieces: TypeAlias = Sequence[tuple[str, bool]]

# Around a mark in a very long line only this many characters are looked at, whatever the width.
LINE_WINDOW = 600
# A row of text longer than this is cut even when everything is asked for.
MAX_LINE_BYTES = 4096
# An excerpt of more rows no longer points at anything.
MAX_EXCERPT_ROWS = 4
MAX_EXCERPT_BYTES = 48
# The column at which the annotations stand, where the bytes leave room for them.
NOTE_COLUMN = 46
# Below this width the text column of a hexadecimal row is left out.
HEX_TEXT_WIDTH = 76


def pieces_of_text(text: str, marks: Iterable[tuple[int, int]]) -> list[tuple[str, bool]]:
    """A line of text in pieces; the marks are (start, stop) in its characters."""
    ranges = list(marks)
    first = min((start for start, _ in ranges), default=0)
    base = max(first - LINE_WINDOW, 0)
    return [
        (clean(char), any(start <= at < stop for start, stop in ranges))
        for at, char in enumerate(text[base : first + LINE_WINDOW], base)
    ]


def pieces_of_bytes(data: bytes, base: int, marks: Iterable[tuple[int, int]]) -> list[tuple[str, bool]]:
    """A line of bytes in pieces, read as UTF-8 where that is valid; the marks are offsets, `base` is the first's."""
    ranges = list(marks)
    pieces = []
    at = base
    for char in data.decode("utf-8", "surrogateescape"):
        size = 1 if "\udc80" <= char <= "\udcff" else len(char.encode())
        pieces.append((clean(char), any(start < at + size and at < stop for start, stop in ranges)))
        at += size
    return pieces


def window(pieces: Pieces, cells: int, more: str) -> list[tuple[str, bool]]:
    """The pieces that fit into that many cells, around the first mark; `more` stands where some were left out."""
    widths = [cell_width(shown) for shown, _ in pieces]
    if sum(widths) <= cells:
        return list(pieces)
    first = next((at for at, (_, marked) in enumerate(pieces) if marked), 0)
    last = next((at for at in range(first, len(pieces)) if not pieces[at][1]), len(pieces))
    ahead = max((cells - sum(widths[first:last])) // 2, cells // 4)
    start = first
    while start > 0 and ahead >= widths[start - 1]:
        start -= 1
        ahead -= widths[start]
    room = cells - (cell_width(more) if start else 0)
    stop = start
    while stop < len(pieces) and widths[stop] <= room:
        room -= widths[stop]
        stop += 1
    shown = list(pieces[start:stop])
    if stop < len(pieces):
        room += 0 if room >= cell_width(more) else -cell_width(more)
        while room < 0 and shown:
            room += cell_width(shown.pop()[0])
        shown.append((more, False))
    return [(more, False), *shown] if start else shown


def folded(pieces: Pieces, cells: int) -> list[list[tuple[str, bool]]]:
    """The pieces in lines of at most that many cells."""
    lines: list[list[tuple[str, bool]]] = [[]]
    used = 0
    for piece in pieces:
        size = cell_width(piece[0])
        if used + size > cells and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append(piece)
        used += size
    return lines


def draw(page: Page, pieces: Pieces, gutter: str, hang: str, label: str = "", note: str = "") -> None:
    """One line of pieces with carets below the marked ones; `hang` is the gutter of the line of carets.

    `label` stands behind the carets (behind the line when nothing in it is marked), `note` behind the line.
    """
    parts: list[str | tuple[str, str]] = [("dim", gutter)]
    carets = ""
    run, marked_run = "", False
    for shown, marked in pieces:
        if marked != marked_run and run:
            parts.append(("mark" if marked_run else "", run))
            run = ""
        run, marked_run = run + shown, marked
        carets += ("^" if marked else " ") * cell_width(shown)
    parts.append(("mark" if marked_run else "", run))
    if note:
        used = cell_width(gutter) + len(carets)
        column = max(NOTE_COLUMN, used + 2)
        if column + cell_width(note) <= page.width:
            parts.append(("dim", " " * (column - used) + note))
    page.line(*parts)
    if "^" in carets:
        page.line(("dim", hang), ("mark", carets.rstrip()), ("mark", f" {label}" if label else ""))


class Evidence:
    """Draws places and streams on a page, in the words of one language."""

    __slots__ = ("connections", "page", "words")

    def __init__(self, page: Page, words: Words, connections: Mapping[int, ConnectionReport]) -> None:
        self.page = page
        self.words = words
        self.connections = connections

    def say(self, key: str, **values: Value) -> str:
        """A text of the report's own words, as this page can show it."""
        return self.page.spell(self.words.text("report", key, **values))

    def place(self, place: Place, finding: Finding) -> None:
        """One place: where it is, then the line or the bytes with carets."""
        connected = self.connections.get(place.connection) if place.connection is not None else None
        self.page.paragraph(self.caption(place), indent="  ", style="dim")
        if place.text:
            self._text_line(place)
        elif connected and place.side and place.start is not None and place.stop is not None:
            self._bytes(connected.exchange, place.side, place.start, place.stop, finding)

    def caption(self, place: Place) -> str:
        """Where a place is, in words: the source and line, or the connection, direction and bytes."""
        parts = []
        if place.line is not None:
            parts.append(self.say("seen.line", source=place.source, line=place.line))
        elif place.source:
            parts.append(self.say("seen.source", source=place.source))
        if place.packet is not None:
            parts.append(self.say("seen.packet", packet=place.packet))
        if place.connection is not None and not place.text:
            if place.side is None or place.start is None or place.stop is None:
                parts.append(self.say("seen.connection", connection=place.connection))
            else:
                key = "seen.bytes" if place.stop > place.start else "seen.byte-position"
                side = self.say(f"side.{place.side}-sent")
                values: dict[str, Value] = {
                    "connection": place.connection,
                    "side": side,
                    "start": place.start,
                    "stop": place.stop,
                }
                parts.append(self.say(key, **values))
        return " · ".join(parts) if self.page.unicode else " - ".join(parts)

    def stream(self, connected: ConnectionReport, side: Side, findings: Sequence[Finding]) -> None:
        """Everything that one side sent, annotated."""
        stream = connected.exchange.connection.stream(side)
        told = self._told(connected.exchange.connection, side, findings)
        for element, rows in side_rows(connected.exchange, side, told):
            for gap in stream.gaps:
                if element.span.start <= gap.offset < max(element.span.stop, element.span.start + 1):
                    self._remark(self._gap(gap.size))
            for row in rows:
                self.row(row, told, whole=True)
        if stream.ending in ("cut", "reset"):
            self._remark(self.say(f"connection.ends-{stream.ending}"))

    def row(self, row: Row, told: Sequence[Telling], *, whole: bool) -> None:
        """One row of annotated bytes; `whole` shows all of a long line instead of the part around the mark."""
        marks = [(each.start, each.stop) for each in told if each.start < row.stop and row.start < each.stop]
        if row.kind == "line":
            marks = [mark for mark in marks if not covers(mark, row)]
        label = next((self._label(each.finding) for each in told if (each.start, each.stop) in marks), "")
        gutter = f"  {row.start:04x}  "
        hang = " " * len(gutter)
        match row.kind:
            case "line":
                data = row.data[:MAX_LINE_BYTES]
                text = data[:-2] if data.endswith(b"\r\n") else data
                pieces = pieces_of_bytes(text, row.start, marks)
                if row.name == "end-of-head":
                    pieces = [(self.say("row.end-of-head"), False)] if not marks and not text else pieces
                self._pieces(pieces, gutter, hang, label, self._row_note(row), whole)
            case "hex" | "field":
                self._hex(row, marks, label)
            case "missing":
                self.page.line(("dim", hang), ("mark", self.page.glyph("bad") + " " + self._row_text(row)))
            case _:
                self.page.paragraph(clean(self._row_text(row)), indent=hang, style="dim")

    def _pieces(self, pieces: Pieces, gutter: str, hang: str, label: str, note: str, whole: bool) -> None:
        room = max(self.page.width - len(gutter), 8)
        if not whole:
            draw(self.page, window(pieces, room, self.page.glyph("more")), gutter, hang, label, note)
            return
        lines = folded(pieces, room)
        for number, line in enumerate(lines):
            draw(self.page, line, gutter if number == 0 else hang, hang, label, note if len(lines) == 1 else "")

    def _hex(self, row: Row, marks: Sequence[tuple[int, int]], label: str) -> None:
        note = self._row_text(row) if row.kind == "field" else ""
        if any(mark[0] <= row.start and row.stop <= mark[1] and mark[1] - mark[0] > 16 for mark in marks):
            marks = []  # the whole is meant, and carets below every byte would point at nothing
        for number, each in enumerate(hex_rows(row.data, row.start, marks)):
            text = each.text if self.page.width >= HEX_TEXT_WIDTH else ""
            short = row.kind == "field" and len(row.data) <= 8
            line = f"{each.hexes:<24}" if short else f"{each.hexes:<49}" + (f" {text}" if text else "")
            behind = note if number == 0 and short else ""
            if number == 0 and note and not short:
                self.page.paragraph(note, indent=" " * 8, style="dim")
            self.page.line(("dim", f"  {each.offset:04x}  "), line.rstrip() if not behind else line, ("dim", behind))
            if each.carets:
                self.page.line(" " * 8, ("mark", each.carets), ("mark", f" {label}" if label else ""))
                label = ""

    def _text_line(self, place: Place) -> None:
        start = place.start or 0
        stop = place.stop if place.stop is not None else len(place.text)
        marks = [(start, stop)] if (start, stop) != (0, len(place.text)) else []
        bar = f"  {self.page.glyph('bar')} "
        room = self.page.width - len(bar)
        draw(self.page, window(pieces_of_text(place.text, marks), room, self.page.glyph("more")), bar, bar)

    def _bytes(self, exchange: Exchange, side: Side, start: int, stop: int, finding: Finding) -> None:
        told = [Telling(side, start, stop, 0, finding)]
        absent = missing_header(finding)
        shown = 0
        for element, rows in side_rows(exchange, side, told):
            if element.span.stop < start or (element.span.start > stop):
                continue
            for number, row in enumerate(rows):
                first = number == 0 and absent is not None
                if row.kind == "missing" or first or (absent is None and _touches(row, start, stop)):
                    self._row_excerpt(row, told)
                    shown += 1
                if shown >= MAX_EXCERPT_ROWS:
                    return

    def _row_excerpt(self, row: Row, told: Sequence[Telling]) -> None:
        if row.kind == "hex" and len(row.data) > MAX_EXCERPT_BYTES:
            start = max(told[0].start - row.start, 0) // 16 * 16
            data = row.data[start : start + MAX_EXCERPT_BYTES]
            row = row._replace(start=row.start + start, stop=row.start + start + len(data), data=data)
        elif row.name == "frame-payload":
            row = row._replace(data=row.data[:32])
        self.row(row, told, whole=False)

    def _told(self, connection: Connection, side: Side, findings: Sequence[Finding]) -> list[Telling]:
        return [each for each in tellings(findings, connection.id) if each.side == side]

    def _remark(self, text: str) -> None:
        self.page.line("        ", ("dim", text))

    def _gap(self, size: int | None) -> str:
        return self.say("connection.gap") if size is None else self.say("connection.gap-known", count=size)

    def _label(self, finding: Finding) -> str:
        return f"{finding.code} {finding.name}"

    def _row_text(self, row: Row) -> str:
        return self.say(f"row.{row.name}", **row.values)

    def _row_note(self, row: Row) -> str:
        return self.page.spell(row_note(row, self.words))


def row_note(row: Row, words: Words) -> str:
    """What there is to say about a line of a head: what the header is for; nothing for most."""
    if row.name in ("line", "end-of-head"):
        return ""
    for key in (f"header.{row.side}-{row.name}", f"header.{row.name}", f"row.{row.name}"):
        if words.has("report", key):
            return words.text("report", key, **row.values)
    return ""


def covers(mark: tuple[int, int], row: Row) -> bool:
    """True when the mark is about more than this row: marking all of it would point at nothing in it."""
    return mark[0] <= row.start and row.stop <= mark[1]


def diff_kind(line: str) -> str:
    """The style of a line of a unified diff."""
    if line.startswith(("--- ", "+++ ", "@@")):
        return "kept"
    return {"+": "added", "-": "removed"}.get(line[:1], "kept")


def _touches(row: Row, start: int, stop: int) -> bool:
    if start == stop:
        return row.start <= start <= row.stop
    return row.start < stop and start < row.stop
