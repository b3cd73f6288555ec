"""One buffer that a file or a stream is read through; what the bytes are is left to the capture readers."""

from typing import BinaryIO


class Buffered:
    """`data[pos:limit]` are the bytes that were read and not used; `fill` moves them to the front and reads more.

    The buffer is one bytearray for the whole run (fresh ones cost page faults), with `slack` bytes behind `capacity`.
    """

    __slots__ = ("capacity", "consumed", "data", "ended", "limit", "pos", "slack", "stream", "view")

    def __init__(self, stream: BinaryIO, capacity: int, slack: int) -> None:
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
        """Read what fits (until `least` bytes are there); False when the stream had nothing more."""
        rest = self.limit - self.pos
        if self.pos:
            self.data[:rest] = self.data[self.pos : self.limit]
            self.pos, self.limit = 0, rest
        got = False
        while not self.ended and self.limit < self.capacity:
            try:
                size = self.stream.readinto(self.view[self.limit : self.capacity])  # type: ignore[attr-defined]
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
        return got

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

    def rest(self) -> "Rest":
        """A stream of the bytes that were read and those that follow."""
        return Rest(self)


class Rest:
    """The rest of a stream as a file object: first what a buffer holds, then the stream itself."""

    def __init__(self, buffered: Buffered) -> None:
        self._buffered = buffered

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        buffered = self._buffered
        if buffered.pos < buffered.limit:
            stop = buffered.limit if size < 0 else min(buffered.limit, buffered.pos + size)
            data = bytes(buffered.data[buffered.pos : stop])
            buffered.pos = stop
            return data
        return buffered.stream.read(size)

    def seekable(self) -> bool:
        """Never: the front is gone."""
        return False
