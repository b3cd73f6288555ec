"""A connection while it is followed: what is known of each direction so far.

How packets are put in order is left to `tcp`, which bytes are kept to `follow`; `assemble` makes the finished record.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

from wsdiag.model import CLIENT, SERVER, Ending, Endpoint, Frame, Opening, Side

if TYPE_CHECKING:
    from wsdiag.wire.frames import FrameReader

KEPT = 1 << 16  # bytes kept of each direction up to the handshake: larger heads are refused by every server
BATCH = 1 << 14  # bytes of frames that are collected before they are read in one go
MAX_MARKS = 256  # packets remembered for one direction's bytes; more make no place easier to find
MAX_NOTABLE = 256  # frames remembered after the bytes that are kept


class Half:
    """One direction of a connection. The first block of attributes is what the loop over packets touches."""

    __slots__ = (
        "ack",
        "begin",
        "blind",
        "data_stamp",
        "ending",
        "fast",
        "fin",
        "fin_ack",
        "first_stamp",
        "flow",
        "gaps",
        "held",
        "held_bytes",
        "hurried",
        "isn",
        "kept",
        "marks",
        "next",
        "notable",
        "number",
        "numbers",
        "parts",
        "peer",
        "reader",
        "room",
        "seen",
        "side",
        "stamp",
        "start",
        "total",
        "was_reset",
    )

    flow: "Flow"
    peer: "Half"
    side: Side
    parts: list[bytes | bytearray]  # data that waits to be read as frames
    numbers: list[int]  # and the packets that brought it
    room: int  # how many more bytes may wait

    def __init__(self) -> None:
        self.fast = False  # data may go straight into `parts`
        self.next: int | None = None  # the sequence number that comes next
        self.ack: int | None = None  # the highest acknowledgement that this direction carried
        self.number = 0  # of its last packet
        self.stamp: float = 0.0  # and its time
        self.data_stamp: float | None = None  # the time of its last data
        self.first_stamp: float | None = None  # and of its first
        self.seen = False  # there were packets
        self.isn: int | None = None
        self.start: int | None = None  # the sequence number of its first byte
        self.fin: int | None = None  # the sequence number of its FIN
        self.fin_ack = 0  # and what it acknowledged
        self.ending: Ending | None = None
        self.was_reset = False
        self.held: dict[int, tuple[bytes, int, int, float]] | None = None  # later data that waits for earlier
        self.held_bytes = 0
        self.kept = bytearray()
        self.total = 0  # bytes that came, kept or not
        self.marks: list[tuple[int, int]] = []  # offsets and the packets that brought the bytes there
        self.gaps: tuple[tuple[int, int], ...] = ()  # offsets, and how many bytes are missing there
        self.hurried = False  # bytes are not kept any more; `fast`, whenever nothing is held
        self.begin = 0  # offset of the first frame
        self.blind = False  # what comes is only counted
        self.reader: FrameReader | None = None
        self.notable: tuple[Frame, ...] = ()

    def hurry(self, reader: "FrameReader | None") -> None:
        """From here on bytes are not kept: they are read as frames, or (without a reader) counted."""
        self.reader = reader
        self.blind = self.blind or reader is None
        self.hurried = True
        self.fast = self.held is None
        self.parts, self.numbers, self.room = [], [], BATCH

    def read_batch(self) -> None:
        """Read the frames that were collected in `parts`; keep those that matter."""
        parts = self.parts
        if not parts:
            return
        base = self.total
        if self.blind or self.reader is None:
            self.total = base + sum(map(len, parts))
        else:
            data = b"".join(parts)
            self.total = base + len(data)
            found = self.reader.feed(data, base)
            if found and len(self.notable) < MAX_NOTABLE:
                self.notable += tuple(found)
                self._mark(found, base)
        parts.clear()
        self.numbers.clear()
        self.room = BATCH

    def _mark(self, frames: list[Frame], base: int) -> None:
        """Remember which packets brought these frames."""
        for frame in frames:
            offset = base
            for part, number in zip(self.parts, self.numbers, strict=True):
                if offset + len(part) > frame.span.start:
                    if len(self.marks) < MAX_MARKS:
                        self.marks.append((offset, number))
                    break
                offset += len(part)


class Flow:
    """One connection while it is followed. `key` holds the client's address, the server's, and the two ports."""

    __slots__ = (
        "back", "client", "closed", "closed_stamp", "closer", "evicted", "first_number", "first_stamp", "id", "key",
        "last_syn", "limit", "opening", "searched", "server", "syn_copies", "syn_count", "syn_identity", "syn_stamp",
        "tls", "upgraded", "wanted",
    )  # fmt: skip

    def __init__(self, client: Half, server: Half, key: bytes, back: bytes, number: int, stamp: float) -> None:
        self.client, self.server = client, server
        client.flow = server.flow = self
        client.peer, server.peer = server, client
        client.side, server.side = CLIENT, SERVER
        self.key, self.back = key, back
        self.id = 0
        self.first_number, self.first_stamp = number, stamp
        self.opening: Opening = "middle"
        self.syn_count = 0
        self.syn_stamp: float | None = None
        self.last_syn = stamp
        self.syn_identity: int | None = None
        self.syn_copies = 0  # SYNs that may be copies of one another
        self.closed = False
        self.closed_stamp: float | None = None
        self.closer: Half | None = None
        self.evicted = False
        self.upgraded = False
        self.wanted = False  # it is to be reported
        self.tls = False
        self.searched = 0  # how far the server's bytes were searched for a 101
        self.limit = KEPT

    @property
    def server_port(self) -> int:
        """The port that the client went to."""
        return self.key[-2] << 8 | self.key[-1]

    def endpoints(self) -> tuple[Endpoint, Endpoint]:
        """The client's and the server's address."""
        key = self.key
        middle = (len(key) - 4) // 2
        return (
            Endpoint(host_text(key[:middle]), key[-4] << 8 | key[-3]),
            Endpoint(host_text(key[middle : 2 * middle]), key[-2] << 8 | key[-1]),
        )

    def turn_round(self) -> None:
        """The client is the server: the first packet was misleading."""
        self.client, self.server = self.server, self.client
        self.key, self.back = self.back, self.key
        self.client.side, self.server.side = CLIENT, SERVER

    def release(self) -> None:
        """Undo the ring of references, so that the memory is free at once."""
        del self.client.flow, self.server.flow, self.client.peer, self.server.peer
        self.closer = None


@lru_cache(maxsize=4096)
def host_text(address: bytes) -> str:
    """An IPv4 or IPv6 address as text (RFC 5952); an IPv4-mapped one as IPv4."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    from socket import AF_INET6, inet_ntop

    if address[:12] == b"\0" * 10 + b"\xff\xff":
        return host_text(address[12:])
    return inet_ntop(AF_INET6, address)
