"""The classic capture format, packet by packet.

The loop over the packets is the project's hottest: one buffer that is never reallocated, one unpack for each packet,
a second one for those that matter. What the segments add up to is left to `tcp`, unusual packets to `link`.
"""

import struct
from collections.abc import Callable
from itertools import count
from typing import Literal

from wsdiag.intake.buffered import Buffered
from wsdiag.intake.capture import MAGICS, MODIFIED, Capture
from wsdiag.intake.link import ETHERNET, IPV4, IPV6, LOOP, NULL, RAW, SLL, SLL2
from wsdiag.intake.tcp import ACK, FIN, RST, SYN, Flows
from wsdiag.model import WsdiagError

MAX_PACKET = 1 << 20  # a record that claims more is corrupt: libpcap takes 256 KiB of a packet at most
RESYNC = 1 << 20  # bytes searched for the next plausible record after a corrupt one
MAX_RESYNCS = 16  # a file with more corrupt places is no capture any more
MAX_STEP = 86400 * 30  # seconds between two records that are believed to be neighbours

# Offset of the IP header, and the offset and values of the field that says IPv4 and IPv6 (big-endian).
_LAYOUTS = {
    ETHERNET: (14, 12, b"\x08\x00", b"\x86\xdd"),
    SLL: (16, 14, b"\x08\x00", b"\x86\xdd"),
    SLL2: (20, 0, b"\x08\x00", b"\x86\xdd"),
}


class Pcap(Capture):
    """The classic format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html."""

    def __init__(self, buffered: Buffered, source: str) -> None:
        super().__init__(buffered, source)
        head = bytes(buffered.peek(24))
        if len(head) < 24:
            raise WsdiagError("not-a-capture", source=source)
        buffered.pos = 24
        self.extra = 8 if head[:4] in MODIFIED else 0
        self.order, self.unit = MAGICS.get(head[:4]) or (MODIFIED[head[:4]], 1e-6)
        self.snaplen, link = struct.unpack(self.order + "II", head[16:24])
        self.link = link & 0x0FFFFFFF  # the upper bits tell the length of the frame check sequence
        self.links.add(self.link)
        self._halves = struct.Struct(self.order + "II")
        self._prepare()
        self._resyncs = 0

    def clock(self, stamp: float) -> float:
        """The stamp is the record's first 8 bytes as a big-endian number: unpacking that costs nothing in the loop."""
        seconds, fraction = self._halves.unpack(int(stamp).to_bytes(8, "big"))
        return float(seconds + fraction * self.unit)

    def feed(self, flows: Flows, progress: Callable[[int], None] | None = None) -> None:
        """Read all packets."""
        flows.clock = self.clock
        walk = self._walk if self.link in _LAYOUTS or self.link in (RAW, IPV4, IPV6, NULL, LOOP) else self._trudge
        if self.extra or self.whole_packets:
            walk = self._trudge
        buffered = self.buffered
        while True:
            more = buffered.fill()
            start = buffered.pos
            before = self.packets
            stuck = walk(flows)
            self.bytes += buffered.pos - start - (16 + self.extra) * (self.packets - before)
            flows.expire(self.stamp, self.packets)
            if progress is not None:
                progress(buffered.consumed)
            if stuck and not self._pass_corrupt():
                break
            if not more and not stuck:
                if buffered.pos < buffered.limit:
                    self.truncated = True
                    self.note("capture-cut-short", count=buffered.limit - buffered.pos)
                break
        flows.close()

    def _prepare(self) -> None:
        """Make the unpackers for this link type and byte order; the loop is given nothing but constants."""
        link, order = self.link, self.order
        ip, kind_at, kind4, kind6 = _LAYOUTS.get(link, (0 if link in (RAW, IPV4, IPV6) else 4, -1, b"", b""))
        # Record length, link protocol, IP version and header length, fragment and protocol, addresses and ports,
        # TCP header length and flags. Without a link protocol the upper half of the record's original length stands in
        # for it: it is zero.
        if kind_at >= 0:
            gap = f"{4 + kind_at}xH{ip - kind_at - 2}x"
        else:
            gap = f"2xH{ip}x"
        self._first = struct.Struct(f"{order}8xI{gap}B5xI2x12s8xH").unpack_from
        self._four = struct.Struct(f">Q{8 + ip}x2xH20xII").unpack_from
        self._six = struct.Struct(f">Q{8 + ip}x4xHBx36sIIBB").unpack_from
        swap: Literal["little", "big"] = "little" if order == "<" else "big"
        self._kinds = int.from_bytes(kind4, swap), int.from_bytes(kind6, swap)
        self._words = (0xFF00FF3F, 0x06000000, 0x11000000) if order == "<" else (0x3FFF00FF, 6, 17)
        self._ip = ip
        # Header length by the TCP field of length and flags, for all segments that neither open nor close.
        self._smooth = {
            int.from_bytes(bytes((size << 4, flags)), swap): size * 4
            for size in range(5, 16)
            for flags in range(256)
            if flags & (ACK | SYN | FIN | RST) == ACK
        }
        self._syn = int.from_bytes(bytes((0, SYN)), swap)

    def _walk(self, flows: Flows) -> bool:
        """Give the whole packets in the buffer to the engine. True: a corrupt record stands at the buffer's `pos`."""
        buffered = self.buffered
        buf, pos, limit = buffered.data, buffered.pos, buffered.limit
        first, four, six, smooth_get, syn = self._first, self._four, self._six, self._smooth.get, self._syn
        kind4, kind6 = self._kinds
        mask, tcp, udp = self._words
        link, ip = self.link, self._ip
        begin4, begin6 = 16 + ip + 20, 16 + ip + 40
        table_get, arrive, packet = flows.table.get, flows.arrive, flows.packet
        number = self.packets
        limit -= 16
        for number in count(self.packets + 1):
            if pos > limit:
                break
            size, kind, version, word, key, tail = first(buf, pos)
            after = pos + 16 + size
            if after > limit + 16:
                break
            if kind == kind4 and version == 69:
                if word & mask == tcp:
                    half = table_get(key)
                    if half:
                        length = smooth_get(tail)
                        if length is not None:
                            if size == ip + 20 + length:
                                half.number = number
                                if not half.fast:
                                    half.stamp, total, seq, ack = four(buf, pos)
                                    half.seen = True
                                    if half.ack is None or 0 < (ack - half.ack) & 0xFFFFFFFF < 0x80000000:
                                        half.ack = ack
                                pos = after
                                continue
                            stamp, total, seq, ack = four(buf, pos)
                            stop = pos + begin4 - 20 + total
                            begin = pos + begin4 + length
                            if seq == half.next and half.fast and begin < stop <= after:
                                half.number = number
                                half.ack = ack
                                half.data_stamp = stamp
                                half.next = (seq + stop - begin) & 0xFFFFFFFF
                                half.parts.append(buf[begin:stop])
                                half.numbers.append(number)
                                half.room -= stop - begin
                                if half.room < 0:
                                    half.read_batch()
                                pos = after
                                continue
                    elif half is False and not tail & syn:
                        pos = after
                        continue
                    stamp, total, seq, ack = four(buf, pos)
                    start = pos + begin4
                    stop = start - 20 + total
                    begin = start + (buf[start + 12] >> 2 & 60)
                    if start + 20 <= begin <= stop and begin <= after:
                        arrive(
                            half, key, stamp, number, seq, ack, buf[start + 13],
                            buf[begin : stop if stop < after else after], stop - begin,
                            buf[start - 16] << 8 | buf[start - 15],
                        )  # fmt: skip
                        pos = after
                        continue
                elif word & mask == udp:
                    pos = after
                    continue
            elif kind == kind6 and version >> 4 == 6:
                stamp, total, protocol, key, seq, ack, length, flags = six(buf, pos)
                if protocol == 6:
                    half = table_get(key)
                    if half is False and not flags & SYN:
                        pos = after
                        continue
                    start = pos + begin6
                    stop = start + total
                    begin = start + (length >> 2 & 60)
                    if half and half.fast and not flags & 7 and stop <= after:
                        if begin == stop:
                            half.number = number
                            pos = after
                            continue
                        if seq == half.next and begin < stop:
                            half.number = number
                            half.ack = ack
                            half.data_stamp = stamp
                            half.next = (seq + stop - begin) & 0xFFFFFFFF
                            half.parts.append(buf[begin:stop])
                            half.numbers.append(number)
                            half.room -= stop - begin
                            if half.room < 0:
                                half.read_batch()
                            pos = after
                            continue
                    if start + 20 <= begin <= stop and begin <= after:
                        arrive(
                            half, key, stamp, number, seq, ack, flags, buf[begin : stop if stop < after else after],
                            stop - begin,
                        )  # fmt: skip
                        pos = after
                        continue
                elif protocol == 17:
                    pos = after
                    continue
            packet(int.from_bytes(buf[pos : pos + 8], "big"), number, link, bytes(buf[pos + 16 : after]))
            pos = after
        number -= 1
        if number > self.packets:
            self.packets = number
        if pos > buffered.pos and pos <= limit:
            self.stamp = int.from_bytes(buf[pos : pos + 8], "big")
        buffered.pos = pos
        return pos <= limit and self._too_large(struct.unpack_from(self.order + "I", buf, pos + 8)[0])

    def _too_large(self, size: int) -> bool:
        """Whether a record that does not fit is corrupt; otherwise room is made for it."""
        size += 16 + self.extra
        if size > MAX_PACKET:
            return True
        if size > self.buffered.capacity:
            self.buffered.grow(size)
        return False

    def _trudge(self, flows: Flows) -> bool:
        """The same for link types that are rare (or unknown)."""
        buffered = self.buffered
        buf, pos, limit = buffered.data, buffered.pos, buffered.limit
        sizes = struct.Struct(self.order + "I")
        header = 16 + self.extra
        while pos + header <= limit:
            size = sizes.unpack_from(buf, pos + 8)[0]
            after = pos + header + size
            if after > limit:
                buffered.pos = pos
                return self._too_large(size)
            self.packets += 1
            self.stamp = int.from_bytes(buf[pos : pos + 8], "big")
            flows.packet(self.stamp, self.packets, self.link, bytes(buf[pos + header : after]))
            pos = after
        buffered.pos = pos
        return False

    def _pass_corrupt(self) -> bool:
        """Search for the next plausible record behind a corrupt one; False when there is none."""
        self._resyncs += 1
        self.truncated = True
        if self._resyncs > MAX_RESYNCS:
            self.note("capture-corrupt", count=self.packets)
            return False
        buffered = self.buffered
        skipped = 1
        buffered.pos += 1
        while skipped < RESYNC:
            buffered.fill()
            found = self._plausible(buffered.pos)
            if found >= 0:
                skipped += found - buffered.pos
                buffered.pos = found
                self.note("capture-resynchronised", count=self.packets, size=skipped)
                return True
            step = max(0, buffered.limit - buffered.pos - 64)
            if not step:
                break
            skipped += step
            buffered.pos += step
        self.note("capture-corrupt", count=self.packets)
        return False

    def _plausible(self, start: int) -> int:
        """The offset of a record whose neighbour looks like one as well; -1 when none is in the buffer."""
        buffered = self.buffered
        buf, limit = buffered.data, buffered.limit
        record = struct.Struct(self.order + "IIII")
        most = min(max(self.snaplen, 65535), MAX_PACKET)
        frames = 1e9 if self.unit < 1e-6 else 1e6
        for pos in range(start, limit - 16):
            seconds, fraction, size, original = record.unpack_from(buf, pos)
            if not (0 < size <= most and size <= original <= MAX_PACKET and fraction < frames):
                continue
            after = pos + 16 + self.extra + size
            if after == limit:
                return pos
            if after + 16 > limit:
                continue
            later, fraction, size, original = record.unpack_from(buf, after)
            if (
                abs(later - seconds) < MAX_STEP
                and size <= most
                and size <= original <= MAX_PACKET
                and fraction < frames
            ):
                return pos
        return -1
