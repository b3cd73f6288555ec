"""Draws bytes in classic rows of sixteen: offset, hexadecimal, text; what the marks mean is left to the caller."""

from collections.abc import Iterable, Iterator

from wsdiag.record import NamedTuple

BYTES_A_ROW = 16


class HexRow(NamedTuple):
    """Up to sixteen bytes. `marked` are the positions 0 to 15 that a mark covers."""

    offset: int
    data: bytes
    marked: frozenset[int]

    @property
    def hexes(self) -> str:
        """The bytes in hexadecimal, a wider gap in the middle: as `xxd -g1` and `hexdump -C` write them."""
        return " ".join(f"{byte:02x}" + (" " if place == 7 else "") for place, byte in enumerate(self.data)).rstrip()

    @property
    def text(self) -> str:
        """The printable ASCII of the bytes, a dot for any other."""
        return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in self.data)

    def column(self, place: int) -> int:
        """The column in `hexes` at which the byte at that position begins."""
        return place * 3 + (1 if place > 7 else 0)

    @property
    def carets(self) -> str:
        """A line of `^` for below `hexes`; empty when no byte of the row is marked."""
        cells = [" "] * (self.column(BYTES_A_ROW - 1) + 2)
        for place in self.marked:
            column = self.column(place)
            cells[column : column + 2] = "^^"
            if place + 1 in self.marked:
                cells[column + 2 : self.column(place + 1)] = "^" * (self.column(place + 1) - column - 2)
        return "".join(cells).rstrip()


def hex_rows(data: bytes, base: int = 0, marks: Iterable[tuple[int, int]] = ()) -> Iterator[HexRow]:
    """The rows of `data`, whose first byte has the offset `base`; `marks` are (start, stop) offsets.

    Rows begin at multiples of sixteen counted from `base`, so that a dump of a part begins with a full row.
    """
    ranges = list(marks)
    for start in range(0, len(data), BYTES_A_ROW):
        part = data[start : start + BYTES_A_ROW]
        offset = base + start
        marked = frozenset(
            place for first, last in ranges for place in range(max(first - offset, 0), min(last - offset, len(part)))
        )
        yield HexRow(offset, part, marked)
