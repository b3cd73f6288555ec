"""Dumps of whole packets (tcpdump -x, tshark -x): takes the link, IP and TCP headers off and joins the payloads in
sequence order, one stream per direction. Capture files are left to `wsdiag.intake.tcp`.
"""

from wsdiag.intake.dump.found import Dump
from wsdiag.intake.dump.plausible import NOTHING, is_request, is_response, weight
from wsdiag.model import CLIENT, SERVER, Gap, Mark, Note, Side
from wsdiag.record import NamedTuple

# Where the IP header can begin, and what stands in front of it there.
_LINKS = (
    (0, "ip", b"", 0),
    (14, "ethernet ip", b"\x08\x00", 12),
    (14, "ethernet ip", b"\x86\xdd", 12),
    (18, "ethernet vlan ip", b"\x08\x00", 16),
    (18, "ethernet vlan ip", b"\x86\xdd", 16),
    (16, "linux-sll ip", b"\x08\x00", 14),
    (16, "linux-sll ip", b"\x86\xdd", 14),
    (20, "linux-sll2 ip", b"\x08\x00", 0),
    (20, "linux-sll2 ip", b"\x86\xdd", 0),
    (4, "null ip", b"\x02\x00\x00\x00", 0),
    (4, "null ip", b"\x1e\x00\x00\x00", 0),
    (4, "null ip", b"\x00\x00\x00\x02", 0),
)
_TCP = 6
_SYN, _ACK = 0x02, 0x10
# A sequence number further away than this belongs to another connection on the same ports.
_WINDOW = 1 << 30


class Packet(NamedTuple):
    """A TCP segment taken out of its packet: (address, port) of both ends, where the payload begins in the dump."""

    layers: str
    source: tuple[str, int]
    target: tuple[str, int]
    seq: int
    flags: int
    start: int
    payload: bytes
    missing: int
    dump: Dump


def packet_of(dump: Dump) -> Packet | None:
    """The packet that the dump shows from its link or IP header on, or None when it shows something else."""
    data = dump.data
    if len(data) < 40 or not dump.from_start or dump.gaps:
        return None
    for at, layers, sign, where in _LINKS:
        if data[where : where + len(sign)] == sign:
            found = _tcp(dump, at, layers)
            if found is not None:
                return found
    return None


def _tcp(dump: Dump, at: int, layers: str) -> Packet | None:
    data = dump.data
    version = data[at] >> 4 if at < len(data) else 0
    if version == 4:
        header = (data[at] & 15) * 4
        total = int.from_bytes(data[at + 2 : at + 4], "big")
        if header < 20 or len(data) < at + header + 20 or data[at + 9] != _TCP:
            return None
        if total == 0:
            total = len(data) - at  # segmentation offload leaves the length to the card
        padded = at > 0 and at + total <= len(data) <= 64
        if not _sum_right(data[at : at + header]) and at + total != len(data) and not padded:
            return None
        source, target = (_address(data[at + place : at + place + 4]) for place in (12, 16))
    elif version == 6:
        header = 40
        total = 40 + int.from_bytes(data[at + 4 : at + 6], "big")
        if len(data) < at + 60 or data[at + 6] != _TCP or (at + total < len(data) and len(data) > 78):
            return None
        source, target = (_address(data[at + place : at + place + 16]) for place in (8, 24))
    else:
        return None
    tcp = at + header
    size = (data[tcp + 12] >> 4) * 4
    stop = at + total
    if size < 20 or tcp + size > max(stop, len(data)):
        return None
    start = min(tcp + size, len(data))
    ports = int.from_bytes(data[tcp : tcp + 2], "big"), int.from_bytes(data[tcp + 2 : tcp + 4], "big")
    if not all(ports) or total < header + size:
        return None
    seq = int.from_bytes(data[tcp + 4 : tcp + 8], "big")
    missing = max(0, stop - max(len(data), tcp + size))
    return Packet(
        f"{layers} tcp",
        (source, ports[0]),
        (target, ports[1]),
        seq,
        data[tcp + 13],
        start,
        data[start : max(start, stop)],
        missing,
        dump,
    )


def _sum_right(header: bytes) -> bool:
    """RFC 1071: the one's complement sum of a header with its checksum is all ones."""
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16) == 0xFFFF


def _address(octets: bytes) -> str:
    if len(octets) == 4:
        return ".".join(map(str, octets))
    from ipaddress import IPv6Address

    return str(IPv6Address(octets))


def join_packets(dumps: list[Dump]) -> list[Dump]:
    """The dumps with those of packets replaced by the streams that they carry."""
    packets: list[Packet] = []
    rest: list[Dump] = []
    for dump in dumps:
        packet = packet_of(dump) if dump.side is None else None
        if packet is None:
            rest.append(dump)
        else:
            packets.append(packet)
    if not packets:
        return dumps
    notation = packets[0].dump.notation
    others = [dump for dump in rest if dump.notation == notation and _no_stream(dump)]
    rest = [dump for dump in rest if dump not in others]
    talks: dict[frozenset[tuple[str, int]], list[Packet]] = {}
    for packet in packets:
        talks.setdefault(frozenset((packet.source, packet.target)), []).append(packet)
    for talk in talks.values():
        rest += _streams(talk, len(others))
        others = []
    return sorted(rest, key=lambda dump: (dump.first, dump.start))


def _no_stream(dump: Dump) -> bool:
    """True for a packet that carries no TCP: ARP, UDP, ICMP."""
    data = dump.data
    return (
        len(data) >= 20 and weight(data) == NOTHING and (data[12:14] in (b"\x08\x06", b"\x08\x00") or data[0] == 0x45)
    )


def _streams(talk: list[Packet], dropped: int) -> list[Dump]:
    """The payloads of one connection, one dump per direction that has any."""
    client = _client(talk)
    streams = []
    for side, source in ((CLIENT, client), (SERVER, None)):
        mine = [packet for packet in talk if (packet.source == client) == (source is not None)]
        if any(packet.payload or packet.missing for packet in mine):
            streams.append(_stream(mine, side))
    if not streams:
        streams = [_stream(talk[:1], None)]
    server = next((end for packet in talk for end in (packet.source, packet.target) if end != client), client)
    first = streams[0]
    notes = [
        Note(
            "dump-packets",
            {
                "packets": len(talk),
                "payload": sum(len(stream.data) for stream in streams),
                "layers": talk[0].layers,
            },
        ),
        Note(
            "dump-endpoints",
            {
                "client_host": client[0],
                "client_port": client[1],
                "server_host": server[0],
                "server_port": server[1],
            },
        ),
    ]
    if dropped:
        notes.append(Note("dump-frames-dropped", {"packets": dropped}))
    return [first._replace(notes=(*first.notes, *notes)), *streams[1:]]


def _client(talk: list[Packet]) -> tuple[str, int]:
    """The end that opened the connection: by SYN, by what it says, else the one with the higher port."""
    for packet in talk:
        if packet.flags & _SYN:
            return packet.target if packet.flags & _ACK else packet.source
    for packet in talk:
        if is_request(packet.payload):
            return packet.source
        if is_response(packet.payload):
            return packet.target
    return max(talk[0].source, talk[0].target, key=lambda end: end[1])


def _stream(packets: list[Packet], side: Side | None) -> Dump:
    """One direction, in sequence order; repeated bytes once, holes as gaps."""
    opened = next((packet for packet in packets if packet.flags & _SYN), None)
    base = (opened.seq + 1) & 0xFFFFFFFF if opened else packets[0].seq
    ordered = sorted(
        ((_distance(base, packet.seq + bool(packet.flags & _SYN)), packet) for packet in packets),
        key=lambda pair: pair[0],
    )
    if opened is None and ordered:
        base_shift = next((at for at, packet in ordered if packet.payload), 0)
        ordered = [(at - base_shift, packet) for at, packet in ordered]
    out = bytearray()
    marks: list[Mark] = []
    gaps: list[Gap] = []
    notes: list[Note] = []
    lost = 0  # bytes that the stream had and the paste lacks
    cut = False
    for at, packet in ordered:
        if not packet.payload or not -_WINDOW < at < _WINDOW:
            continue
        place = at - lost
        if place > len(out):
            gaps.append(Gap(len(out), place - len(out)))
            notes.append(Note("dump-gap", {"offset": len(out), "missing": place - len(out)}))
            lost += place - len(out)
            place = len(out)
        skip = len(out) - place
        fresh = packet.payload[skip:]
        if not fresh and not packet.missing:
            continue
        for mark in packet.dump.marks:
            offset = max(mark.offset, packet.start + skip) - packet.start - skip + len(out)
            if marks and marks[-1].offset == offset:
                marks.pop()
            if offset < len(out) + len(fresh):
                marks.append(Mark(offset, mark.origin))
        out += fresh
        cut = packet.missing > 0
    if cut:
        notes.append(
            Note("dump-cut", {"missing": ordered[-1][1].missing}) if ordered[-1][1].missing else Note("dump-cut")
        )
    first = min(packets, key=lambda packet: packet.dump.first).dump
    last = max(packets, key=lambda packet: packet.dump.last).dump
    notation = packets[0].dump.notation
    return Dump(
        bytes(out),
        notation,
        tuple(marks),
        side,
        cut,
        bool(gaps),
        (Note("dump-form", {"notation": notation, "size": len(out)}), *notes),
        first.first,
        last.last,
        first.start,
        last.stop,
        True,
        tuple(gaps),
    )


def _distance(base: int, seq: int) -> int:
    """How far `seq` lies after `base`, modulo 2^32 (RFC 9293 section 3.4)."""
    far = (seq - base) & 0xFFFFFFFF
    return far - (1 << 32) if far >= 1 << 31 else far
