"""One buffer that a file or a stream is read through; what the bytes are is left to the capture readers."""

from typing import Protocol

GZIP_WINDOW = 31  # zlib's way to say "a gzip member"
PACKED_STEP = 1 << 16  # packed bytes taken at a time


class Readable(Protocol):
    """What bytes are read from: a binary file, a pipe, or an unpacked gzip stream."""

    def readinto(self, target: memoryview, /) -> int | None:
        """Fill the front of `target`; the number of bytes, 0 at the end."""


class Buffered:
    """`data[pos:limit]` are the bytes that were read and not used; `fill` moves them to the front and reads more.

    The buffer is one bytearray for the whole run (fresh ones cost page faults), with `slack` bytes behind `capacity`.
    """

    __slots__ = ("capacity", "consumed", "data", "ended", "limit", "pos", "slack", "stream", "view")

    def __init__(self, stream: Readable, capacity: int, slack: int) -> None:
        self.stream = stream
        self.capacity = capacity
        self.slack = slack
        self.data = bytearray(capacity + slack)
        self.view = memoryview(self.data)
        self.pos = 0
        self.limit = 0
        self.consumed = 0  # bytes read from the stream so far
        self.ended = False

    def fill(self, least: int = 0) -> bool:
        """Read what fits (until `least` bytes are there); False when the stream has ended and nothing came."""
        rest = self.limit - self.pos
        if self.pos:
            self.data[:rest] = self.data[self.pos : self.limit]
            self.pos, self.limit = 0, rest
        got = False
        while not self.ended and self.limit < self.capacity:
            try:
                size = self.stream.readinto(self.view[self.limit : self.capacity])
            except (EOFError, OSError):  # a gzip file that is cut or damaged: what came before it stands
                size = 0
            if not size:
                self.ended = True
                break
            got = True
            self.limit += size
            self.consumed += size
            if self.limit >= least:
                break
        return got or not self.ended

    def peek(self, size: int) -> bytes:
        """The next bytes, as far as they were read."""
        return bytes(self.data[self.pos : min(self.limit, self.pos + size)])

    def grow(self, size: int) -> None:
        """Make room for one record of that size."""
        old, self.view = self.view, memoryview(b"")
        old.release()
        self.data.extend(bytes(max(0, size - self.capacity)))
        self.capacity = max(self.capacity, size)
        self.view = memoryview(self.data)

    def inflated(self) -> "Buffered":
        """The same for what these bytes and those that follow are when they are unpacked as gzip."""
        return Buffered(Inflated(self), self.capacity, self.slack)


class Inflated:
    """A gzip stream (RFC 1952) unpacked piece by piece, as far as it is whole; GzipFile drops the last piece."""

    def __init__(self, packed: Buffered) -> None:
        from zlib import decompressobj

        self._packed = packed
        self._member = decompressobj(GZIP_WINDOW)
        self._rest = b""

    def readinto(self, target: memoryview) -> int:
        """Fill the front of `target`; 0 at the end, which may be damage."""
        from zlib import decompressobj, error

        while True:
            piece = self._rest or self._next()
            if not piece:
                return 0
            try:
                data = self._member.decompress(piece, len(target))
            except error:
                return 0
            self._rest = self._member.unconsumed_tail
            if self._member.eof:
                self._rest = self._member.unused_data
                self._member = decompressobj(GZIP_WINDOW)
            if data:
                target[: len(data)] = data
                return len(data)

    def _next(self) -> bytes:
        packed = self._packed
        if packed.pos >= packed.limit and not packed.fill(1):
            return b""
        piece = packed.peek(PACKED_STEP)
        packed.pos += len(piece)
        return piece
