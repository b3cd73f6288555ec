"""One direction's HTTP/2 as facts: its frames, its settings, the header blocks that can be read (RFC 9113, RFC 7541).

Unlike `http2`, which tells what kind of thing a run of bytes is, this keeps every frame's place; what a stream is about
is left to `h2websocket`.
"""

from collections.abc import Iterator

from wsdiag.model import Side, Span
from wsdiag.record import NamedTuple

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
MAX_FRAME = 1 << 20  # 16 KiB unless a peer allows more; what claims more is no HTTP/2 frame
MAX_HEADER_BLOCK = 1 << 16  # the usual SETTINGS_MAX_HEADER_LIST_SIZE of servers
MAX_TABLE = 1 << 20  # Chromium lets its peer use 64 KiB; what the peer allowed may not be in the capture
MAX_HEADERS = 256
_END_HEADERS, _PADDED, _PRIORITY, _ACK = 4, 8, 32, 1

Fields = tuple[tuple[str, str], ...]


class FrameAt(NamedTuple):
    """A frame of HTTP/2: where it begins, where its content stands (padding and priority taken off), where it ends."""

    kind: int
    flags: int
    stream: int
    start: int
    begin: int
    end: int
    stop: int


class HeaderBlock(NamedTuple):
    """The fields of a stream's HEADERS, and where these and their CONTINUATIONs stand."""

    stream: int
    fields: Fields
    span: Span
    place: Span  # of the compressed fields alone


class Direction:
    """One side's HTTP/2."""

    def __init__(self, data: bytes, start: int, stop: int, side: Side) -> None:
        self.data, self.side, self.start = data, side, start
        self.frames = list(_frames(data, start, stop))
        self.stop = self.frames[-1].stop if self.frames else start
        self.blocks = list(_blocks(data, self.frames, side))

    def settings(self) -> dict[int, int] | None:
        """The settings that this side sent; None when none were seen."""
        found: dict[int, int] | None = None
        for frame in self.frames:
            if frame.kind == SETTINGS and not frame.flags & _ACK:
                found = found or {}
                for at in range(frame.begin, frame.end - 5, 6):
                    found[int.from_bytes(self.data[at : at + 2], "big")] = int.from_bytes(
                        self.data[at + 2 : at + 6], "big"
                    )
        return found

    def reset(self, stream: int) -> int | None:
        """The error code with which this side broke the stream off."""
        for frame in self.frames:
            if frame.kind == RST_STREAM and frame.stream == stream and frame.end - frame.begin >= 4:
                return int.from_bytes(self.data[frame.begin : frame.begin + 4], "big")
        return None

    def content(self, stream: int) -> list[FrameAt]:
        """The DATA frames of a stream."""
        return [frame for frame in self.frames if frame.kind == DATA and frame.stream == stream]


def _frames(data: bytes, start: int, stop: int) -> Iterator[FrameAt]:
    """The frames from `start` on: RFC 9113 section 4.1. Unknown types are legal; the last one may be cut."""
    at = start
    while stop - at >= 9:
        size, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
        if size > MAX_FRAME:
            return
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        begin, end = at + 9, min(at + 9 + size, stop)
        after = end
        if kind in (DATA, HEADERS) and flags & _PADDED and begin < end:
            end = max(begin + 1, end - data[begin])
            begin += 1
        if kind == HEADERS and flags & _PRIORITY:
            begin = min(begin + 5, end)
        yield FrameAt(kind, flags, stream, at, begin, end, after)
        at = after


def _blocks(data: bytes, frames: list[FrameAt], side: Side) -> Iterator[HeaderBlock]:
    """The header blocks that can be read: after one that cannot, the compression's table is out of step."""
    try:
        from hpack import Decoder
    except ImportError:
        return
    decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK)
    decoder.max_allowed_table_size = MAX_TABLE
    block = bytearray()
    first: FrameAt | None = None
    for frame in frames:
        if frame.kind == HEADERS:
            block.clear()
            first = frame
        elif frame.kind != CONTINUATION or first is None or first.stream != frame.stream:
            continue
        block += data[frame.begin : frame.end]
        if len(block) > MAX_HEADER_BLOCK:
            return
        if not frame.flags & _END_HEADERS:
            continue
        try:
            fields = decoder.decode(bytes(block), raw=True)
        except Exception:  # hostile blocks raise HPACKError and, in some releases, IndexError, ValueError …
            return
        yield HeaderBlock(
            first.stream,
            tuple((_text(name), _text(value)) for name, value, *_ in list(fields)[:MAX_HEADERS]),
            Span(side, first.start, frame.stop),
            Span(side, first.begin, frame.end),
        )
        first = None


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
