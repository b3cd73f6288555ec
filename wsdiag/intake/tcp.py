"""TCP connections followed from their packets: opened, joined by sequence number, closed, handed on and forgotten.

Which bytes are worth keeping and what they become is left to `follow`; how packets are found to `capture` and `link`.

Facts only: the first copy of a byte wins (RFC 9293 section 3.10.7.4), bytes that the capture lost are gaps (the peer's
acknowledgements prove them), and every buffer is bounded.
"""

from collections import deque
from collections.abc import Callable

from wsdiag.intake.flow import Flow, Half
from wsdiag.intake.follow import Following
from wsdiag.intake.link import Fragments, Unread, ip_offset, tcp_segment

FIN, SYN, RST, ACK = 1, 2, 4, 16
_MASK = 0xFFFFFFFF
_HALF_SPACE = 0x80000000  # sequence numbers that far ahead count as behind (RFC 9293 section 3.4)

MAX_HELD = 64  # segments of one direction that wait for an earlier one; more than any network swaps
MAX_HELD_BYTES = 1 << 18  # and their bytes
SETTLE = 4  # data packets of a connection seen from the middle that are put in order before its first byte is chosen
LINGER = 256  # packets that a closed connection is kept for, so that late and swapped ones still find it
REFUSED_LINGER = 3.0  # seconds; Windows repeats a refused SYN three times within one and a half
SYN_COPIES = (
    0.1  # seconds; an equal SYN that soon is a copy (lo, -i any), the first retransmission takes 200 ms and more
)
MAX_COPIES = 3  # copies of one SYN on a bridge; more equal ones without an IP identification are tries
GRAVES = 8192  # connections whose late packets are still recognised after they were handed on
MAX_FLOWS = 32768  # connections followed at one time; then the oldest is handed on as it stands
MAX_BUFFERED = 16 << 20  # bytes kept for all connections together; then the same


class Flows:
    """All connections of a capture. `table` maps each direction's addresses and ports to its half (False: ignored)."""

    __slots__ = (
        "active",
        "clock",
        "closing",
        "following",
        "fragments",
        "graves",
        "ports",
        "table",
        "unread",
    )

    def __init__(
        self, ports: frozenset[int] | None, following: Following, clock: Callable[[float], float] | None = None
    ) -> None:
        self.ports = ports
        self.following = following
        self.clock = clock or float  # turns a packet's stamp into seconds
        self.table: dict[bytes, Half | bool] = {}
        self.active: dict[Flow, None] = {}
        self.closing: deque[tuple[int, Flow]] = deque()
        self.graves: deque[tuple[bytes, bytes]] = deque()
        self.unread = Unread()
        self.fragments = Fragments(self.unread)

    # --- packets -----------------------------------------------------------------------------------------------------

    def packet(self, stamp: float, number: int, link: int, data: bytes) -> None:
        """A packet of any link type, as it was captured (it may be cut)."""
        at = ip_offset(link, data, self.unread)
        if at < 0:
            return
        segment = tcp_segment(data, at, self.fragments)
        if segment is None:
            return
        key, data, start, stop, identity = segment
        ports = self.ports
        if ports is not None:
            pair = key[-4:]
            if int.from_bytes(pair[:2], "big") not in ports and int.from_bytes(pair[2:], "big") not in ports:
                return
        begin = start + (data[start + 12] >> 4) * 4
        size = stop - begin
        if size < 0 or begin < start + 20:
            self.unread.count("bad-header")
            return
        seq = int.from_bytes(data[start + 4 : start + 8], "big")
        ack = int.from_bytes(data[start + 8 : start + 12], "big")
        self.arrive(key, stamp, number, seq, ack, data[start + 13], data[begin:stop], size, identity)

    def arrive(
        self,
        key: bytes,
        stamp: float,
        number: int,
        seq: int,
        ack: int,
        flags: int,
        payload: bytes | bytearray,
        size: int,
        identity: int | None = None,
    ) -> None:
        """A TCP segment: `size` bytes from `seq` on, of which `payload` holds the first ones."""
        half = self.table.get(key)
        if flags & SYN:
            half = self._synchronise(key, half, stamp, number, seq, ack, flags, identity)
            seq = (seq + 1) & _MASK
        elif half is None:
            half = self._open(key, stamp, number, flags)
        if not half:
            return
        assert isinstance(half, Half)
        half.number = number
        half.stamp = stamp
        half.packets += 1
        if flags & ACK:
            known = half.ack
            if known is None or 0 < (ack - known) & _MASK < _HALF_SPACE:
                half.ack = ack
        if size > 0 and not flags & RST:
            if seq == half.next and not half.held:
                half.next = (seq + size) & _MASK
                self._deliver(half, payload, size, number, stamp)
                if half.fin is not None and half.fin == half.next:
                    half.ending = half.ending or "fin"
            else:
                self._hold(half, seq, payload, size, number, stamp)
        if flags & (FIN | RST):
            self._end(half, seq, ack, size, flags, stamp, number)

    # --- opening -----------------------------------------------------------------------------------------------------

    def _synchronise(
        self,
        key: bytes,
        half: "Half | bool | None",
        stamp: float,
        number: int,
        seq: int,
        ack: int,
        flags: int,
        identity: int | None,
    ) -> "Half | None":
        """A SYN: a new connection, a repetition, or the answer to one. Gives the half that sent it."""
        if isinstance(half, Half) and half.isn is None and half.start is None and not half.flow.closed:
            self._start(half, seq)  # packets that came before it, in the wrong order, are of this connection
        if not isinstance(half, Half) or half.isn != seq:
            if isinstance(half, Half):
                self.finish(half.flow)
            half = self._open(key, stamp, number, flags)
            if half is None:
                return None
            self._start(half, seq)
        flow = half.flow
        if flags & ACK:
            if flow.server is not half:
                flow.client, flow.server = flow.server, flow.client
            flow.opening = "established"
            if half.peer.isn is None and half.peer.start is None:
                self._start(half.peer, (ack - 1) & _MASK)
        else:
            if flow.client is not half:
                flow.client, flow.server = flow.server, flow.client
            if flow.opening == "middle":
                flow.opening = "unanswered"
            if flow.syn_stamp is None:
                flow.syn_stamp = flow.last_syn = stamp
                flow.syn_count, flow.syn_identity = 1, identity
            elif identity and flow.syn_identity:
                if identity != flow.syn_identity:
                    flow.syn_count += 1
            elif self.clock(stamp) - self.clock(flow.last_syn) > SYN_COPIES:
                flow.syn_count += 1
            else:
                flow.copies += 1
            flow.syn_identity, flow.last_syn = identity, stamp
        return half

    def _start(self, half: Half, isn: int) -> None:
        """The direction's first sequence number is known."""
        half.isn = isn
        half.start = half.next = (isn + 1) & _MASK
        if half.held:
            self._drain(half)

    def _open(self, key: bytes, stamp: float, number: int, flags: int) -> Half | None:
        """A connection that was not known; its client is the sender of the SYN, or whose port looks like one."""
        if flags & RST:
            return None  # late words of a connection that is gone
        if self.closing and self.closing[0][0] <= number:
            self.expire(stamp, number)
        middle = (len(key) - 4) // 2
        back = key[middle : 2 * middle] + key[:middle] + key[-2:] + key[-4:-2]
        source, target = int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
        from_client = flags & SYN == SYN and not flags & ACK
        if not flags & SYN:
            serving = self.ports if self.ports is not None else self.following.learned
            if (source in serving) != (target in serving):
                from_client = target in serving
            else:
                from_client = source > target
        half, peer = Half(), Half()
        client, server = (half, peer) if from_client else (peer, half)
        flow = Flow(client, server, key if from_client else back, number, stamp)
        self.following.seen += 1
        self.table[key], self.table[back] = half, peer
        self.active[flow] = None
        if len(self.active) > MAX_FLOWS or self.following.buffered > MAX_BUFFERED:
            self._evict()
        return half

    # --- data --------------------------------------------------------------------------------------------------------

    def _deliver(self, half: Half, payload: bytes | bytearray, size: int, number: int, stamp: float) -> None:
        """The next `size` bytes of a direction, in order."""
        if half.first_stamp is None:
            half.first_stamp = stamp
        half.data_stamp = stamp
        if not self.following.take(half, payload, size, number):
            self._forget(half.flow)

    def _hold(self, half: Half, seq: int, payload: bytes | bytearray, size: int, number: int, stamp: float) -> None:
        """Bytes that do not come next: repeated ones are dropped, later ones wait."""
        if half.next is not None:
            ahead = (seq - half.next) & _MASK
            if ahead >= _HALF_SPACE:
                known = _MASK + 1 - ahead
                if known >= size:
                    return  # all of it was there before
        held = half.held
        if held is None:
            held = half.held = {}
        before = held.get(seq)
        if before is None or before[1] < size:
            held[seq] = (bytes(payload), size, number, stamp)
            half.held_bytes += len(payload)
        half.fast = False
        if half.next is None:
            if len(held) >= SETTLE:
                self._settle(half)
        else:
            self._drain(half)
            if len(half.held or ()) > MAX_HELD or half.held_bytes > MAX_HELD_BYTES:
                self._skip_hole(half)

    def _settle(self, half: Half) -> None:
        """Choose the first byte of a direction that was seen from the middle: the earliest of those that were held."""
        if half.held and half.next is None:
            first = next(iter(half.held))
            half.next = half.start = min(half.held, key=lambda seq: (seq - first + _HALF_SPACE) & _MASK)
            self._drain(half)

    def _drain(self, half: Half) -> None:
        """Deliver the held segments that have become next."""
        held = half.held
        while held:
            expected = half.next
            assert expected is not None
            seq = expected if expected in held else self._overlapping(held, expected)
            if seq is None:
                return
            payload, size, number, stamp = held.pop(seq)
            half.held_bytes -= len(payload)
            known = (expected - seq) & _MASK
            if known >= size:
                continue
            half.next = (seq + size) & _MASK
            self._deliver(half, payload[known:], size - known, number, stamp)
        half.held = None
        half.held_bytes = 0
        half.fast = half.hurried
        if half.fin is not None and half.fin == half.next:
            half.ending = half.ending or "fin"

    @staticmethod
    def _overlapping(held: dict[int, tuple[bytes, int, int, float]], expected: int) -> int | None:
        """A held segment that begins before `expected` (and maybe reaches over it)."""
        for seq in held:
            if 0 < (expected - seq) & _MASK < _HALF_SPACE:
                return seq
        return None

    def _skip_hole(self, half: Half) -> None:
        """Give up waiting for the bytes in front of the held ones: the capture has lost them."""
        if not half.held or half.next is None:
            return
        expected = half.next
        nearest = min((seq - expected) & _MASK for seq in half.held)
        half.next = (expected + nearest) & _MASK
        self.following.lose(half, nearest)
        self._drain(half)

    # --- closing -----------------------------------------------------------------------------------------------------

    def _end(self, half: Half, seq: int, ack: int, size: int, flags: int, stamp: float, number: int) -> None:
        """A FIN or a RST of this direction."""
        flow = half.flow
        peer = half.peer
        if flow.closed_stamp is None:
            flow.closed_stamp, flow.closer = stamp, half
        if flags & RST:
            if flow.opening == "unanswered" and half is flow.server:
                flow.opening = "refused"
            half.ending = half.ending or "reset"
            half.was_reset = True
        else:
            half.fin = (seq + size) & _MASK
            if half.next is None or half.next == half.fin:
                half.ending = half.ending or "fin"
            if flow.closer is half and peer.fin is not None and flags & ACK and ack == (peer.fin + 1) & _MASK:
                flow.closer = peer  # its FIN was captured later but is acknowledged here
        if not flow.closed and (half.was_reset or peer.was_reset or (half.fin is not None and peer.fin is not None)):
            flow.closed = True
            self.closing.append((number + LINGER, flow))

    def expire(self, stamp: float, number: int) -> None:
        """Hand on the closed connections that no packet is expected for any more."""
        closing = self.closing
        now = self.clock(stamp)
        for _ in range(len(closing)):
            due, flow = closing[0]
            if due > number:
                return
            closing.popleft()
            if flow.opening == "refused" and now - self.clock(flow.last_syn or stamp) < REFUSED_LINGER:
                closing.append((number + LINGER, flow))
            elif flow in self.active:
                self.finish(flow)

    def finish(self, flow: Flow) -> None:
        """Hand the connection on, as complete as it will be."""
        for half in (flow.client, flow.server):
            self._settle(half)
            while half.held:
                self._skip_hole(half)
            self._find_lost_end(half)
        self._forget(flow)
        self.following.finish(flow)

    def _find_lost_end(self, half: Half) -> None:
        """Bytes that were never seen, though a FIN follows them or the peer has acknowledged them."""
        if half.next is None:
            return
        if half.fin is not None:
            missing = (half.fin - half.next) & _MASK
            half.ending = half.ending or "fin"
        else:
            ack = half.peer.ack
            missing = (ack - half.next) & _MASK if ack is not None else 0
            if missing == 1 and half.peer.ending:
                half.ending = half.ending or "fin"  # the one number that was not seen is the FIN's
                return
        if 0 < missing < _HALF_SPACE:
            self.following.lose(half, missing)

    def close(self) -> None:
        """The capture ends: hand all connections on, in the order in which they began."""
        for flow in list(self.active):
            if flow in self.active:
                self.finish(flow)
        self.following.close()

    def _forget(self, flow: Flow) -> None:
        """No longer follow it: its late packets are ignored, its buffers go."""
        if self.active.pop(flow, flow) is flow:
            return
        middle = (len(flow.key) - 4) // 2
        key = flow.key
        back = key[middle : 2 * middle] + key[:middle] + key[-2:] + key[-4:-2]
        self._bury(key, back)

    def _bury(self, key: bytes, back: bytes) -> None:
        """Ignore both directions from now on."""
        self.table[key] = self.table[back] = False
        graves = self.graves
        graves.append((key, back))
        if len(graves) > GRAVES:
            for old in graves.popleft():
                if self.table.get(old) is False:
                    del self.table[old]

    def _evict(self) -> None:
        """Make room: the connection that began first is handed on as it stands."""
        flow = next(iter(self.active))
        flow.evicted = True
        self.finish(flow)
