"""A capture's connections: all of them as records, or judged one by one as they end, in bounded memory.

Reading the file is left to `capture`, following connections to `tcp`, verdicts to the caller's `judge`.
"""

import gc
from collections.abc import Callable
from typing import BinaryIO

from wsdiag.intake.assemble import connection_of
from wsdiag.intake.capture import Capture, open_capture
from wsdiag.intake.flow import KEPT, Flow
from wsdiag.intake.follow import KEPT_TLS, Following
from wsdiag.intake.keylog import KeyLog
from wsdiag.intake.pairing import Pairs
from wsdiag.intake.pcap import Pcap
from wsdiag.intake.shape import shape_of
from wsdiag.intake.tcp import Flows
from wsdiag.model import CaptureSummary, Connection, ConnectionReport, Endpoint, Note, Pairing
from wsdiag.record import NamedTuple

MAX_SHAPES = 1024  # verdicts remembered; a capture has some dozens of shapes, a hostile one as many as connections
# Connections leave no rings of references behind, so that looking for such garbage is nearly always in vain.
UNHURRIED = (50_000, 50, 1000)
MAX_CONNECTIONS = 20000  # connections that are kept as records at one time; a report of more is a survey
KEPT_KEYED = 1 << 20  # bytes kept of each direction of a TLS connection when there are keys: all of most conversations


class Sighting(NamedTuple):
    """One connection of a survey: who, where in the capture and when (seconds since the epoch)."""

    id: int
    client: Endpoint
    server: Endpoint
    first_packet: int
    last_packet: int
    began_at: float


class CaptureReading(NamedTuple):
    """What was read: counts, what is to be told of the file, both legs of proxied connections, and key logs found."""

    summary: CaptureSummary
    notes: tuple[Note, ...]
    pairings: tuple[Pairing, ...]
    key_logs: tuple[bytes, ...]
    connections: tuple[Connection, ...] = ()


def read_connections(
    stream: BinaryIO,
    source: str,
    ports: frozenset[int] | None = None,
    *,
    kept_tls: int = KEPT,
    progress: Callable[[int], None] | None = None,
) -> CaptureReading:
    """All connections of a capture as records, in the order in which they began; for looking closely at a few.

    `kept_tls`: bytes of each direction of a TLS connection that are kept, because keys may open them.
    """
    capture = open_capture(stream, source)
    found: list[Connection] = []
    dropped = 0

    def emit(flow: Flow) -> None:
        nonlocal dropped
        if len(found) >= MAX_CONNECTIONS:
            dropped += 1
        else:
            pairs.see(flow)
            found.append(connection_of(flow, flows.clock, source))

    pairs = Pairs()
    flows = Flows(ports, Following(ports, emit, keep_frames=True, kept_tls=kept_tls))
    capture.feed(flows, progress)
    if dropped:
        capture.note("connections-not-kept", count=dropped)
    order = sorted(range(len(found)), key=lambda index: found[index].first_packet or 0)
    new = {found[index].id: rank for rank, index in enumerate(order)}
    return CaptureReading(
        capture.summary,
        (*capture.notes, *_unread(flows)),
        tuple(each._replace(outer=new[each.outer], inner=new[each.inner]) for each in pairs.found),
        tuple(capture.key_logs),
        tuple(found[index]._replace(id=rank) for rank, index in enumerate(order)),
    )


class Survey:
    """Judges connections as they end. Connections of equal shape have equal verdicts, so each shape is judged once.

    `judge` is `diagnosis.diagnose_connection`. `emit` gets each connection with a report; the report is of the first
    connection of that shape (its exchange and its places are that one's), unless `each` asks for its own. TLS
    connections that a key of `keys` (or of the capture itself) opens are judged by what was said inside; `opened`
    counts them.
    """

    __slots__ = (
        "blocks", "each", "emit", "flows", "judge", "judged", "keys", "opened", "pairs", "shapes", "source", "taken",
    )  # fmt: skip

    def __init__(
        self,
        ports: frozenset[int] | None,
        source: str,
        judge: Callable[[Connection], ConnectionReport],
        emit: Callable[[Sighting, ConnectionReport], None],
        *,
        each: bool = False,
        keys: KeyLog | None = None,
    ) -> None:
        self.source = source
        self.judge = judge
        self.emit = emit
        self.each = each
        self.pairs = Pairs()
        self.shapes: dict[object, ConnectionReport] = {}
        self.judged = 0
        self.keys = keys
        self.blocks: list[bytes] = []  # key logs that the capture holds
        self.taken = 0  # how many of them `keys` has
        self.opened = 0
        kept = KEPT_TLS if keys is None else KEPT_KEYED
        self.flows = Flows(ports, Following(ports, self._finished, keep_frames=each, kept_tls=kept))

    def read(self, capture: Capture, progress: Callable[[int], None] | None = None) -> CaptureReading:
        """Read a capture file or stream to its end."""
        self.blocks = capture.key_logs
        if not isinstance(capture, Pcap):  # only pcapng files can hold keys
            self.flows.following.kept_tls = max(self.flows.following.kept_tls, KEPT)
        thresholds = gc.get_threshold()
        gc.set_threshold(*UNHURRIED)
        try:
            capture.feed(self.flows, progress)
        finally:
            gc.set_threshold(*thresholds)
        return CaptureReading(
            capture.summary, (*capture.notes, *_unread(self.flows)), tuple(self.pairs.found), tuple(capture.key_logs)
        )

    def _finished(self, flow: Flow) -> None:
        clock = self.flows.clock
        self.pairs.see(flow)
        opened = self._open(flow) if flow.tls else None
        shape = None if self.each or opened is not None else shape_of(flow, clock)
        report = self.shapes.get(shape) if shape is not None else None
        if report is None:
            self.judged += 1
            report = self.judge(opened or connection_of(flow, clock, self.source))
            if shape is not None:
                if len(self.shapes) >= MAX_SHAPES:
                    self.shapes.clear()
                self.shapes[shape] = report
        client, server = flow.endpoints()
        last = max(flow.client.number, flow.server.number)
        self.emit(Sighting(flow.id, client, server, flow.first_number, last, clock(flow.first_stamp)), report)

    def _open(self, flow: Flow) -> Connection | None:
        """The connection with what was said inside TLS, if a key fits."""
        if len(self.blocks) > self.taken:
            self.keys = self.keys if self.keys is not None else KeyLog()
            self.keys.add(b"\n".join(self.blocks[self.taken :]))
            self.taken = len(self.blocks)
        if self.keys is None:
            return None
        from wsdiag.intake.decrypt import decrypt_connection

        found = decrypt_connection(connection_of(flow, self.flows.clock, self.source), self.keys)
        self.opened += found is not None
        return found


def _unread(flows: Flows) -> list[Note]:
    return [Note("capture-unread", {"kind": name, "count": size}) for name, size in sorted(flows.unread.counts.items())]
