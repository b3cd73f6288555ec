"""A connection while it is followed: what is known of each direction so far.

How packets are put in order is left to `tcp`, which bytes are kept to `follow`; `assemble` makes the finished record.
"""

from typing import TYPE_CHECKING

from wsdiag.model import CLIENT, SERVER, Endpoint, Ending, Frame, Opening, Side

if TYPE_CHECKING:
    from wsdiag.wire.frames import FrameReader

KEPT = 1 << 16  # bytes kept of each direction up to the handshake: larger heads are refused by every server
BATCH = 4096  # bytes of frames that are collected before they are read in one go
MAX_MARKS = 256  # packets remembered for one direction's bytes; more make no place easier to find
MAX_NOTABLE = 256  # frames remembered after the bytes that are kept


class Half:
    """One direction of a connection. The first block is what the reader of packets touches for each packet."""

    __slots__ = (
        "ack",
        "data_stamp",
        "fast",
        "next",
        "number",
        "numbers",
        "parts",
        "room",
        "stamp",
        "begin",
        "blind",
        "checked",
        "ending",
        "fin",
        "first_stamp",
        "flow",
        "gaps",
        "held",
        "held_bytes",
        "hurried",
        "isn",
        "kept",
        "marks",
        "notable",
        "packets",
        "peer",
        "reader",
        "side",
        "start",
        "total",
        "was_reset",
    )  # fmt: skip

    flow: "Flow"
    peer: "Half"
    side: Side

    def __init__(self) -> None:
        self.fast = False  # data may go straight into `parts`
        self.next: int | None = None  # the sequence number that comes next
        self.ack: int | None = None  # the highest acknowledgement that this direction carried
        self.number = 0  # of its last packet
        self.stamp: float = 0.0  # and its time
        self.data_stamp: float | None = None  # the time of its last data
        self.parts: list[bytes | bytearray] = []  # data that waits to be read as frames
        self.numbers: list[int] = []  # and the packets that brought it
        self.room = 0
        self.isn: int | None = None
        self.start: int | None = None  # the sequence number of its first byte
        self.fin: int | None = None  # the sequence number of its FIN
        self.first_stamp: float | None = None
        self.ending: Ending | None = None
        self.was_reset = False
        self.packets = 0
        self.held: dict[int, tuple[bytes, int, int, float]] | None = None
        self.held_bytes = 0
        self.hurried = False  # `fast`, whenever nothing is held
        self.kept = bytearray()
        self.total = 0
        self.marks: list[tuple[int, int]] = []
        self.gaps: list[tuple[int, int | None]] = []
        self.reader: FrameReader | None = None
        self.notable: list[Frame] = []
        self.blind = False  # what comes is only counted
        self.begin = 0  # offset of the first frame
        self.checked = False  # the first frame's mask was looked at
        self.side = CLIENT

    def read_batch(self) -> None:
        """Read the frames that were collected in `parts`; keep those that matter."""
        parts = self.parts
        if not parts:
            return
        data = b"".join(parts)
        base = self.total
        self.total = base + len(data)
        if not self.blind and self.reader is not None:
            found = self.reader.feed(data, base)
            if found and len(self.notable) < MAX_NOTABLE:
                self.notable += found
                self._mark(found, base)
        parts.clear()
        self.numbers.clear()
        self.room = BATCH

    def _mark(self, frames: "list[Frame]", base: int) -> None:
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
    """One connection while it is followed."""

    __slots__ = (
        "client",
        "closed",
        "closed_stamp",
        "closer",
        "copies",
        "evicted",
        "first_number",
        "first_stamp",
        "id",
        "key",
        "last_syn",
        "limit",
        "opening",
        "searched",
        "server",
        "syn_count",
        "syn_identity",
        "syn_stamp",
        "tls",
        "upgraded",
        "wanted",
    )

    def __init__(self, client: Half, server: Half, key: bytes, number: int, stamp: float) -> None:
        self.client, self.server = client, server
        client.flow = server.flow = self
        client.peer, server.peer = server, client
        self.key = key  # the client's addresses and ports, as `link.Segment` has them
        self.id = 0
        self.first_number, self.first_stamp = number, stamp
        self.opening: Opening = "middle"
        self.syn_count = 0
        self.syn_stamp: float | None = None
        self.last_syn: float = stamp
        self.syn_identity: int | None = None
        self.copies = 0
        self.closed = False
        self.closed_stamp: float | None = None
        self.closer: Half | None = None
        self.evicted = False
        self.upgraded = False
        self.wanted: bool | None = None  # True: to be reported. None: not yet known
        self.tls = False
        self.searched = 0  # how far the server's bytes were searched for a 101
        self.limit = KEPT

    @property
    def server_port(self) -> int:
        """The port that the client went to."""
        return int.from_bytes(self.key[-2:], "big")

    def endpoints(self) -> tuple[Endpoint, Endpoint]:
        """The client's and the server's address."""
        key = self.key
        middle = (len(key) - 4) // 2
        return (
            Endpoint(host_text(key[:middle]), int.from_bytes(key[-4:-2], "big")),
            Endpoint(host_text(key[middle : 2 * middle]), int.from_bytes(key[-2:], "big")),
        )


def host_text(address: bytes) -> str:
    """An IPv4 or IPv6 address as text (RFC 5952); an IPv4-mapped one as IPv4."""
    if len(address) == 4:
        return "%d.%d.%d.%d" % tuple(address)  # noqa: UP031 (three times as fast as the alternatives)
    from socket import AF_INET6, inet_ntop

    if address[:12] == b"\0" * 10 + b"\xff\xff":
        return host_text(address[12:])
    return inet_ntop(AF_INET6, address)
