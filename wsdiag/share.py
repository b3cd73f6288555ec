"""A capture passed on without its secrets: the connections that matter, their payloads and addresses redacted.

What is secret is found in `render.redact`, packets are rewritten in `intake.rewrite`; here the one is brought to the
other. The file is read twice: whole connections are needed to find a secret that is spread over packets.
"""

from collections.abc import Callable
from typing import BinaryIO

from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.bpf import RAW_IP
from wsdiag.intake.capture import open_capture
from wsdiag.intake.follow import Following
from wsdiag.intake.rewrite import Segment, find_segment, rewrite
from wsdiag.intake.save import PcapWriter
from wsdiag.intake.survey import Sighting, Survey
from wsdiag.intake.tcp import Flows
from wsdiag.model import CLIENT, SERVER, ConnectionReport, Stream
from wsdiag.record import NamedTuple
from wsdiag.render.redact import Redactor

MAX_REMEMBERED = 64 << 20  # bytes of streams that are held between the readings; of later connections payload is cut
MAX_CLIENTS = 1 << 16  # addresses that are replaced: 198.18.0.0/15 has twice as many
_V4_FIRST = 0xC6120001  # 198.18.0.1, of the range for tests (RFC 2544), which no network uses
_V6_FIRST = 0x20010DB8 << 96 | 1  # 2001:db8::1, of the range for documentation (RFC 3849)

_Address = tuple[bytes, int]


class _Piece(NamedTuple):
    """Where a packet's payload stands in a stream, as it was and as it may be shown."""

    before: bytes
    after: bytes
    offset: int


class Shared(NamedTuple):
    """What was written: packets, how many of them without their payload, and how many were left out."""

    packets: int
    cut: int
    left_out: int


class _Plan:
    """What the first reading found: which connections are shared, and what their packets may say."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.pieces: dict[int, _Piece] = {}
        self.wanted: set[frozenset[_Address]] = set()
        self.addresses: dict[bytes, bytes] = {}
        self.room = MAX_REMEMBERED

    def add(self, sighting: Sighting, report: ConnectionReport) -> None:
        """Plan for one connection."""
        client, server = (_packed(each.host) for each in (sighting.client, sighting.server))
        self.wanted.add(frozenset({(client, sighting.client.port), (server, sighting.server.port)}))
        redacted = self.redactor.connection(report).exchange.connection
        endpoint = redacted.client_endpoint
        if endpoint is not None and endpoint.host != sighting.client.host:
            self._replace(client)
        for side in (CLIENT, SERVER):
            before, after = report.exchange.connection.stream(side), redacted.stream(side)
            if len(before.data) == len(after.data) and self.room > 0:
                self._remember(before, after.data)

    def payload(self, number: int, segment: Segment) -> bytes | None:
        """What the packet's payload may say; None when that is not known."""
        if not segment.payload:
            return b""
        piece = self.pieces.get(number)
        if piece is None:
            return None
        stop = piece.offset + len(segment.payload)
        if piece.before[piece.offset : stop] != segment.payload:
            return None
        return piece.after[piece.offset : stop]

    def _remember(self, before: Stream, after: bytes) -> None:
        self.room -= 2 * len(after)
        for mark in before.marks:
            if mark.origin.packet is not None:
                self.pieces[mark.origin.packet] = _Piece(before.data, after, mark.offset)

    def _replace(self, address: bytes) -> None:
        count = len(self.addresses)
        if address not in self.addresses and count < MAX_CLIENTS:
            first = _V4_FIRST if len(address) == 4 else _V6_FIRST
            self.addresses[address] = (first + count).to_bytes(len(address), "big")


class _Packets(Flows):
    """Stands in for the engine in the second reading: every packet goes to `take` as it is."""

    def __init__(self, take: Callable[[float, int, int, bytes], None]) -> None:
        super().__init__(None, Following(None, lambda flow: None))
        self.take = take

    def packet(self, stamp: float, number: int, link: int, data: bytes) -> None:
        """One packet of the capture."""
        self.take(self.clock(stamp), number, link, data)


def share(
    opened: Callable[[], BinaryIO],
    source: str,
    create: Callable[[int], PcapWriter],
    ports: frozenset[int] | None = None,
    *,
    reveal: bool = False,
) -> Shared:
    """Write the connections of a capture anew, without their secrets, as raw IP packets (so no link addresses).

    `opened` opens the capture (twice), `create` the file to write, given its link type. Cookies, tokens and the like
    become placeholders of the same length, clients' addresses become others, checksums fit. Payload of which it is not
    known what it says is cut off, as by a snap length, and packets of other connections are left out. `reveal` leaves
    the secrets and the addresses as they are.
    """
    plan = _Plan(Redactor(reveal=reveal))
    with opened() as stream:
        Survey(ports, source, diagnose_connection, plan.add, each=True).read(open_capture(stream, source))
    packets = cut = left_out = 0
    with opened() as stream, create(RAW_IP) as writer:

        def take(time: float, number: int, link: int, data: bytes) -> None:
            nonlocal packets, cut, left_out
            segment = find_segment(data, link)
            if segment is None or _ends(segment) not in plan.wanted:
                left_out += 1
                return
            payload = plan.payload(number, segment)
            written = rewrite(data, segment, payload, plan.addresses)
            seconds, fraction = divmod(time, 1.0)
            writer.packet(int(seconds), int(fraction * 1e9), written, max(segment.size, len(written)))
            packets += 1
            cut += payload is None

        capture = open_capture(stream, source)
        capture.whole_packets = True
        capture.feed(_Packets(take))
    return Shared(packets, cut, left_out)


def _ends(segment: Segment) -> frozenset[_Address]:
    return frozenset({(segment.source, segment.source_port), (segment.destination, segment.destination_port)})


def _packed(host: str) -> bytes:
    """The bytes of an address that was read from a packet."""
    from ipaddress import ip_address

    return ip_address(host).packed
