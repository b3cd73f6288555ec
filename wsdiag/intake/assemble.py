"""The finished record of a followed connection; following it is left to `tcp` and `follow`."""

from collections.abc import Callable

from wsdiag.intake.flow import Flow, Half
from wsdiag.model import (
    CLIENT,
    SERVER,
    Connection,
    Ending,
    Frame,
    Gap,
    Mark,
    Note,
    Opening,
    Origin,
    Stream,
    Tally,
    Transport,
)

_MASK = 0xFFFFFFFF
MAX_COPIES = 3  # copies of one SYN on a bridge; more equal ones without an IP identification are tries


def connection_of(flow: Flow, clock: Callable[[float], float], source: str) -> Connection:
    """The connection as the rules want it; `clock` turns the packets' stamps into seconds since the epoch."""
    client, server = flow.client, flow.server
    client_endpoint, server_endpoint = flow.endpoints()
    tally = None
    if client.reader is not None or server.reader is not None:
        tally = Tally(
            client.reader.frames if client.reader else 0,
            server.reader.frames if server.reader else 0,
            client.reader.bytes if client.reader else 0,
            server.reader.bytes if server.reader else 0,
        )
    return Connection(
        flow.id,
        _stream(flow, client, source),
        _stream(flow, server, source),
        "capture",
        client_endpoint,
        server_endpoint,
        transport_of(flow, clock),
        flow.first_number,
        max(client.number, server.number),
        in_packet_order(client, server),
        tally,
        (Note("evicted"),) if flow.evicted else (),
    )


def transport_of(flow: Flow, clock: Callable[[float], float]) -> Transport:
    """What the packets say of the TCP connection."""
    client, server = flow.client, flow.server
    opened, closed = flow.syn_stamp, flow.closed_stamp
    data = [half.data_stamp for half in (client, server) if half.data_stamp is not None]
    return Transport(
        opening_of(flow),
        syn_count(flow),
        None if opened is None else clock(opened),
        None if client.first_stamp is None else clock(client.first_stamp),
        None if server.first_stamp is None else clock(server.first_stamp),
        max(map(clock, data)) if data else None,
        None if flow.closer is None else SERVER if flow.closer is server else CLIENT,
        None if closed is None else clock(closed),
        max(clock(half.stamp) for half in (client, server) if half.seen),
        acknowledged(client),
        acknowledged(server),
        is_one_way(flow),
    )


def opening_of(flow: Flow) -> Opening:
    """What was seen of the opening. A client that goes on after its SYN was answered, if unseen."""
    if flow.opening == "unanswered" and flow.client.ack is not None:
        return "established"
    return flow.opening


def syn_count(flow: Flow) -> int:
    """How often the client tried. Equal SYNs without an IP identification may be copies, as long as they are few."""
    if flow.syn_count == 1 and flow.syn_copies >= MAX_COPIES:
        return 1 + flow.syn_copies
    return flow.syn_count


def is_one_way(flow: Flow) -> bool:
    """True when one direction must have had packets and none of them was captured."""
    client, server = flow.client, flow.server
    if not server.seen:
        return client.ack is not None
    return not client.seen


def acknowledged(half: Half) -> int | None:
    """How many of this direction's bytes the other side has acknowledged; None when that is not known."""
    ack = half.peer.ack
    if ack is None or half.start is None:
        return None
    size = (ack - half.start) & _MASK
    if size >= 1 << 31:
        return 0
    if half.fin is not None and ack == (half.fin + 1) & _MASK:
        size -= 1
    return size


def ending_of(flow: Flow, half: Half) -> Ending:
    """How this direction ended; "cut" when we stopped keeping what is not frames."""
    if half.total > len(half.kept) and not flow.upgraded:
        return "cut"
    return half.ending or "open"


def _stream(flow: Flow, half: Half, source: str) -> Stream:
    data = bytes(half.kept)
    from_start = flow.opening != "middle" or half.isn is not None
    if not from_start and data:
        from_start = looks_like_start(data, half is flow.client)
    return Stream(
        data,
        tuple(Mark(offset, Origin(source, None, number)) for offset, number in half.marks),
        tuple(Gap(offset, size) for offset, size in half.gaps),
        ending_of(flow, half),
        half.seen or opening_of(flow) in ("refused", "unanswered"),
        from_start,
        half.total,
    )


def looks_like_start(data: bytes, client: bool) -> bool:
    """Whether a connection seen from the middle was seen from its first byte: a request or response begins there."""
    line = data[:4096].split(b"\n", 1)[0]
    return b" HTTP/1." in line if client else line.startswith(b"HTTP/1.")


def in_packet_order(client: Half, server: Half) -> tuple[Frame, ...]:
    """The notable frames of both sides, in the order of the packets that brought them."""
    if not client.notable or not server.notable:
        return client.notable or server.notable
    return tuple(sorted((*client.notable, *server.notable), key=lambda frame: _packet(frame, client, server)))


def _packet(frame: Frame, client: Half, server: Half) -> int:
    found = 0
    for offset, number in (client if frame.span.side == CLIENT else server).marks:
        if offset > frame.span.start:
            break
        found = number
    return found
