"""TCP connections followed from their packets: opened, joined by sequence number, closed, handed on and forgotten.

Which bytes are worth keeping and what they become is left to `follow`; how packets are found to `capture` and `link`.

Facts only: the first copy of a byte wins (RFC 9293 section 3.10.7.4), bytes that the capture lost are gaps (the peer's
acknowledgements prove them), and every buffer is bounded.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from wsdiag.intake.flow import Flow, Half
from wsdiag.intake.follow import Following
from wsdiag.intake.link import Fragments, Unread, ip_offset, tcp_segment

FIN, SYN, RST, ACK = 1, 2, 4, 16
MASK = 0xFFFFFFFF
HALF_SPACE = 0x80000000  # sequence numbers that far ahead count as behind (RFC 9293 section 3.4)

MAX_HELD = 64  # segments of one direction that wait for an earlier one; more than any network swaps
MAX_HELD_BYTES = 1 << 18  # and their bytes
SETTLE = 4  # data packets of a connection seen from the middle that are put in order before its first byte is chosen
LINGER = 256  # packets that a closed connection is kept for, so that late and swapped ones still find it
REFUSED_LINGER = 3.0  # seconds; Windows repeats a refused SYN three times within one and a half
SYN_COPIES = (
    0.1  # seconds; an equal SYN that soon is a copy (lo, -i any), the first retransmission takes 200 ms and more
)
GRAVES = 8192  # connections whose late packets are still recognised after they were handed on
MAX_FLOWS = 32768  # connections followed at one time; then the oldest is handed on as it stands
MAX_BUFFERED = 16 << 20  # bytes kept for all connections together; then the same

# A direction that is followed; False: its packets are ignored; None: it was never seen.
Known: TypeAlias = Half | Literal[False] | None


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
        "refused",
        "table",
        "unread",
    )

    def __init__(
        self, ports: frozenset[int] | None, following: Following, clock: Callable[[float], float] = float
    ) -> None:
        self.ports = ports
        self.following = following
        self.clock = clock  # turns a packet's stamp into seconds
        self.table: dict[bytes, Half | Literal[False]] = {}
        self.active: dict[Flow, None] = {}
        self.closing: deque[tuple[int, Flow]] = deque()
        self.refused: deque[Flow] = deque()
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
        begin = start + (data[start + 12] >> 4) * 4
        size = stop - begin
        if size < 0 or begin < start + 20:
            self.unread.count("bad-header")
            return
        seq = int.from_bytes(data[start + 4 : start + 8], "big")
        ack = int.from_bytes(data[start + 8 : start + 12], "big")
        half = self.table.get(key)
        self.arrive(half, key, stamp, number, seq, ack, data[start + 13], data[begin:stop], size, identity)

    def arrive(
        self,
        half: Known,
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
        """A TCP segment of the direction that `table` knows as `half`: `size` bytes from `seq` on, and the first of
        them in `payload` (a snaplen may have cut the rest)."""
        if flags & SYN:
            half = self._synchronise(key, half, stamp, number, seq, ack, flags, identity)
            seq = (seq + 1) & MASK
        elif half is None:
            half = self._open(key, stamp, number, flags)
        if not half:
            return
        half.number = number
        half.stamp = stamp
        half.seen = True
        if flags & ACK:
            known = half.ack
            if known is None or 0 < (ack - known) & MASK < HALF_SPACE:
                half.ack = ack
        if size > 0 and not flags & RST:
            if seq == half.next and half.held is None:
                half.next = (seq + size) & MASK
                self._deliver(half, payload, size, number, stamp)
                if half.fin is not None and half.fin == half.next:
                    half.ending = half.ending or "fin"
            else:
                self._hold(half, seq, payload, size, number, stamp)
        if flags & (FIN | RST):
            self._end(half, (seq + size) & MASK, ack, flags, stamp, number)

    # --- opening -----------------------------------------------------------------------------------------------------

    def _synchronise(
        self,
        key: bytes,
        half: Known,
        stamp: float,
        number: int,
        seq: int,
        ack: int,
        flags: int,
        identity: int | None,
    ) -> Half | None:
        """A SYN: a new connection, a repetition, or the answer to one. Gives the half that sent it."""
        if half:
            if half.isn is None and half.start is None and not half.flow.closed:
                self._start(half, seq)  # packets that came before it, in the wrong order, are of this connection
            elif half.isn != seq:
                self.finish(half.flow)
                half = None
        if not half:
            half = self._open(key, stamp, number, flags)
            if half is None:
                return None
            self._start(half, seq)
        flow = half.flow
        if flags & ACK:
            if flow.server is not half:
                flow.turn_round()
            flow.opening = "established"
            if half.peer.isn is None and half.peer.start is None:
                self._start(half.peer, (ack - 1) & MASK)
            return half
        if flow.client is not half:
            flow.turn_round()
        if flow.opening == "middle":
            flow.opening = "unanswered"
        if flow.syn_stamp is None:
            flow.syn_stamp = stamp
            flow.syn_count = 1
        elif identity and flow.syn_identity:
            if identity != flow.syn_identity:
                flow.syn_count += 1
        elif self.clock(stamp) - self.clock(flow.last_syn) > SYN_COPIES:
            flow.syn_count += 1
        else:
            flow.syn_copies += 1
        flow.syn_identity, flow.last_syn = identity, stamp
        return half

    def _start(self, half: Half, isn: int) -> None:
        """The direction's first sequence number is known."""
        half.isn = isn
        half.start = half.next = (isn + 1) & MASK
        if half.held is not None:
            self._drain(half)

    def _open(self, key: bytes, stamp: float, number: int, flags: int) -> Half | None:
        """A connection that was not known; its client is the sender of the SYN, or whose port looks like one."""
        if flags & RST:
            return None  # late words of a connection that is gone
        middle = (len(key) - 4) // 2
        back = key[middle : 2 * middle] + key[:middle] + key[-2:] + key[-4:-2]
        source, target = key[-4] << 8 | key[-3], key[-2] << 8 | key[-1]
        ports = self.ports
        if ports is not None and source not in ports and target not in ports:
            self._bury(key, back)
            return None
        if self.closing and self.closing[0][0] + LINGER <= number:
            self.expire(stamp, number)
        if flags & SYN:
            from_client = not flags & ACK
        else:
            serving = ports if ports is not None else self.following.learned
            if (source in serving) != (target in serving):
                from_client = target in serving
            else:
                from_client = source > target
        half, peer = Half(), Half()
        if from_client:
            flow = Flow(half, peer, key, back, number, stamp)
        else:
            flow = Flow(peer, half, back, key, number, stamp)
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
            behind = (half.next - seq) & MASK
            if size <= behind < HALF_SPACE:
                return  # all of it was there before
        held = half.held
        if held is None:
            held = half.held = {}
        before = held.get(seq)
        if before is None or before[1] < size:
            held[seq] = (bytes(payload), size, number, stamp)
            half.held_bytes += len(payload) - (len(before[0]) if before is not None else 0)
        half.fast = False
        if half.next is None:
            if len(held) >= SETTLE:
                self._settle(half)
            return
        self._drain(half)
        if half.held is not None and (len(half.held) > MAX_HELD or half.held_bytes > MAX_HELD_BYTES):
            self._skip_hole(half)

    def _settle(self, half: Half) -> None:
        """Choose the first byte of a direction that was seen from the middle: the earliest of those that were held."""
        if half.held and half.next is None:
            first = next(iter(half.held))
            half.next = half.start = min(half.held, key=lambda seq: (seq - first + HALF_SPACE) & MASK)
            self._drain(half)

    def _drain(self, half: Half) -> None:
        """Deliver the held segments that have become next."""
        held = half.held
        while held:
            expected = half.next
            assert expected is not None
            seq = expected if expected in held else _reaching(held, expected)
            if seq is None:
                return
            payload, size, number, stamp = held.pop(seq)
            half.held_bytes -= len(payload)
            known = (expected - seq) & MASK
            if known < size:
                half.next = (seq + size) & MASK
                self._deliver(half, payload[known:], size - known, number, stamp)
        half.held = None
        half.held_bytes = 0
        half.fast = half.hurried
        if half.fin is not None and half.fin == half.next:
            half.ending = half.ending or "fin"

    def _skip_hole(self, half: Half) -> None:
        """Give up waiting for the bytes in front of the held ones: the capture has lost them."""
        if half.held and half.next is not None:
            expected = half.next
            missing = min((seq - expected) & MASK for seq in half.held)
            half.next = (expected + missing) & MASK
            self.following.lose(half, missing)
            self._drain(half)

    # --- closing -----------------------------------------------------------------------------------------------------

    def _end(self, half: Half, last: int, ack: int, flags: int, stamp: float, number: int) -> None:
        """A FIN or a RST of this direction; `last` is the sequence number behind its last byte."""
        flow, peer = half.flow, half.peer
        if flow.closed_stamp is None:
            flow.closed_stamp, flow.closer = stamp, half
        if flags & RST:
            if flow.opening == "unanswered" and half is flow.server:
                flow.opening = "refused"
            half.ending = half.ending or "reset"
            half.was_reset = True
        else:
            if half.fin is None:
                half.fin, half.fin_ack = last, ack
            if half.next is None or half.next == last:
                half.ending = half.ending or "fin"
            if flow.closer is peer and peer.fin is not None and peer.fin_ack == (last + 1) & MASK:
                flow.closer = half  # its FIN was captured later, but the other one acknowledges it
        if not flow.closed and (half.was_reset or (half.fin is not None and peer.fin is not None)):
            flow.closed = True
            self.closing.append((number + LINGER, flow))

    def expire(self, stamp: float, number: int) -> None:
        """Hand on the closed connections that no packet is expected for any more."""
        closing, active = self.closing, self.active
        while closing and closing[0][0] <= number:
            flow = closing.popleft()[1]
            if flow in active:
                if flow.opening == "refused":
                    self.refused.append(flow)
                else:
                    self.finish(flow)
        refused = self.refused
        if refused:
            long_ago = self.clock(stamp) - REFUSED_LINGER
            while refused and self.clock(refused[0].last_syn) < long_ago:
                flow = refused.popleft()
                if flow in active:
                    self.finish(flow)

    def finish(self, flow: Flow) -> None:
        """Hand the connection on, as complete as it will be."""
        for half in (flow.client, flow.server):
            if half.held is not None:
                self._settle(half)
                while half.held:
                    self._skip_hole(half)
            if half.next is not None and half.next != half.fin:
                self._find_lost_end(half)
        if self._forget(flow):
            self.following.finish(flow)

    def _find_lost_end(self, half: Half) -> None:
        """Bytes that were never seen, though a FIN follows them or the peer has acknowledged them."""
        assert half.next is not None
        if half.fin is not None:
            missing = (half.fin - half.next) & MASK
            half.ending = half.ending or "fin"
        else:
            ack = half.peer.ack
            missing = (ack - half.next) & MASK if ack is not None else 0
            if missing == 1 and half.peer.ending:
                half.ending = half.ending or "fin"  # the one number that was not seen is the FIN's
                return
        if 0 < missing < HALF_SPACE:
            self.following.lose(half, missing)

    def close(self) -> None:
        """The capture ends: hand all connections on, in the order in which they began."""
        for flow in list(self.active):
            self.finish(flow)
        self.following.close()

    def _forget(self, flow: Flow) -> bool:
        """No longer follow it: its late packets are ignored. False when it was forgotten before."""
        if self.active.pop(flow, False) is False:
            return False
        self._bury(flow.key, flow.back)
        return True

    def _bury(self, key: bytes, back: bytes) -> None:
        """Ignore both directions from now on."""
        table, graves = self.table, self.graves
        if table.get(key) is False:
            return
        table[key] = table[back] = False
        graves.append((key, back))
        if len(graves) > GRAVES:
            for old in graves.popleft():
                if table.get(old) is False:
                    del table[old]

    def _evict(self) -> None:
        """Make room: the connection that began first is handed on as it stands."""
        flow = next(iter(self.active))
        flow.evicted = True
        self.finish(flow)


def _reaching(held: dict[int, tuple[bytes, int, int, float]], expected: int) -> int | None:
    """A held segment that begins before `expected` (and maybe reaches over it)."""
    for seq in held:
        if 0 < (expected - seq) & MASK < HALF_SPACE:
            return seq
    return None
