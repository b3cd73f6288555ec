"""The pcapng format (draft-ietf-opsawg-pcapng): sections, interfaces, packets, key logs and the counts of losses.

Blocks without packets, keys or counts are passed over by their length. What packets hold is left to `link` and `tcp`.
"""

import struct
from collections.abc import Callable

from wsdiag.intake.buffered import Buffered
from wsdiag.intake.capture import Capture
from wsdiag.intake.tcp import Flows
from wsdiag.record import NamedTuple

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _STATISTICS, _ENHANCED, _SECRETS = 0x0A0D0D0A, 1, 2, 3, 5, 6, 10
_TLS_KEY_LOG = 0x544C534B  # secrets type "TLSK"
_END, _IF_TSRESOL, _IF_TSOFFSET, _ISB_IFDROP = 0, 9, 14, 5
MAX_BLOCK = 1 << 22  # bytes; a block that claims more is corrupt (key logs and name tables may be larger than packets)
MAX_INTERFACES = 4096  # of one section; a forged file must not fill the memory
MAX_KEY_LOG = 1 << 20  # bytes of key logs that are kept


class _Interface(NamedTuple):
    link: int
    snaplen: int
    rate: int  # ticks of its clock in a second
    offset: int  # seconds to add


class Pcapng(Capture):
    """A capture in pcapng. Its stamps are seconds already."""

    def __init__(self, buffered: Buffered, source: str) -> None:
        super().__init__(buffered, source)
        self.order = "<"
        self.interfaces: list[_Interface] = []
        self._lost: dict[int, int] = {}
        self._keys = 0

    def feed(self, flows: Flows, progress: Callable[[int], None] | None = None) -> None:
        """Read all blocks."""
        flows.clock = self.clock
        buffered = self.buffered
        while True:
            more = buffered.fill()
            whole = self._blocks(flows)
            flows.expire(self.stamp, self.packets)
            if progress is not None:
                progress(buffered.consumed)
            if not whole:
                self.truncated = True
                self.note("capture-corrupt", count=self.packets)
                break
            if not more:
                if buffered.pos < buffered.limit:
                    self.truncated = True
                    self.note("capture-cut-short", count=buffered.limit - buffered.pos)
                break
        self.dropped = sum(self._lost.values())
        flows.close()

    def _blocks(self, flows: Flows) -> bool:
        """Read the whole blocks that the buffer holds; False when a block's length cannot be right."""
        buffered = self.buffered
        buf, limit = buffered.data, buffered.limit
        enhanced = struct.Struct(self.order + "IIIIIII").unpack_from
        pos = buffered.pos
        while pos + 12 <= limit:
            kind, size = struct.unpack_from(self.order + "II", buf, pos)
            if kind == _SECTION:
                self.order = "<" if buf[pos + 8 : pos + 12] == b"\x4d\x3c\x2b\x1a" else ">"
                enhanced = struct.Struct(self.order + "IIIIIII").unpack_from
                size = struct.unpack_from(self.order + "I", buf, pos + 4)[0]
            if size < 12 or size & 3 or size > MAX_BLOCK:
                buffered.pos = pos
                return False
            after = pos + size
            if after > limit:
                if size > buffered.capacity:
                    buffered.pos = pos
                    buffered.grow(size)
                    return True
                break
            if kind == _ENHANCED and size >= 32:
                _, _, index, high, low, captured, _ = enhanced(buf, pos)
                self._packet(flows, index, high << 32 | low, pos + 28, captured, after)
            elif kind == _OLD_PACKET and size >= 32:
                index, lost, high, low, captured, _ = struct.unpack_from(self.order + "HHIIII", buf, pos + 8)
                if lost != 0xFFFF:
                    self._lost[-1 - index] = self._lost.get(-1 - index, 0) + lost
                self._packet(flows, index, high << 32 | low, pos + 28, captured, after)
            elif kind == _SIMPLE and size >= 16:
                captured = struct.unpack_from(self.order + "I", buf, pos + 8)[0]
                if self.interfaces and self.interfaces[0].snaplen:
                    captured = min(captured, self.interfaces[0].snaplen)
                self._packet(flows, 0, None, pos + 12, captured, after)
            elif kind == _SECTION:
                self.interfaces = []
            elif kind == _INTERFACE and size >= 20:
                self._interface(bytes(buf[pos:after]))
            elif kind == _SECRETS and size >= 20:
                self._secrets(bytes(buf[pos:after]))
            elif kind == _STATISTICS and size >= 24:
                self._statistics(bytes(buf[pos:after]))
            pos = after
        buffered.pos = pos
        return True

    def _packet(self, flows: Flows, index: int, ticks: int | None, start: int, size: int, after: int) -> None:
        """One packet of interface `index`; a simple packet has no time of its own."""
        self.packets += 1
        if index >= len(self.interfaces) or start + size > after - 4:
            flows.unread.count("bad-block")
            return
        interface = self.interfaces[index]
        if ticks is not None:
            seconds, rest = divmod(ticks, interface.rate)
            self.stamp = seconds + interface.offset + rest / interface.rate
        self.bytes += size
        flows.packet(self.stamp, self.packets, interface.link, bytes(self.buffered.data[start : start + size]))

    def _interface(self, block: bytes) -> None:
        link, _, snaplen = struct.unpack_from(self.order + "HHI", block, 8)
        rate, offset = 1_000_000, 0
        for code, value in self._options(block, 16):
            if code == _IF_TSRESOL and value:
                exponent = value[0] & 0x7F
                rate = 2**exponent if value[0] & 0x80 else 10**exponent
            elif code == _IF_TSOFFSET and len(value) == 8:
                offset = struct.unpack(self.order + "q", value)[0]
        if len(self.interfaces) < MAX_INTERFACES:
            self.interfaces.append(_Interface(link, snaplen, rate, offset))
        if len(self.links) < 32:
            self.links.add(link)

    def _secrets(self, block: bytes) -> None:
        kind, size = struct.unpack_from(self.order + "II", block, 8)
        if kind == _TLS_KEY_LOG and size <= len(block) - 20 and self._keys + size <= MAX_KEY_LOG:
            self._keys += size
            self.key_logs.append(block[16 : 16 + size])

    def _statistics(self, block: bytes) -> None:
        """The interface's own count of packets that it dropped; the last one counts."""
        index = struct.unpack_from(self.order + "I", block, 8)[0]
        for code, value in self._options(block, 20):
            if code == _ISB_IFDROP and len(value) == 8 and len(self._lost) < MAX_INTERFACES:
                self._lost[index] = struct.unpack(self.order + "Q", value)[0]

    def _options(self, block: bytes, at: int) -> list[tuple[int, bytes]]:
        """The block's options (section 3.5) as far as they can be read."""
        found = []
        while at + 4 <= len(block) - 4:
            code, size = struct.unpack_from(self.order + "HH", block, at)
            if code == _END:
                break
            found.append((code, block[at + 4 : at + 4 + size]))
            at += 4 + size + (-size & 3)
        return found
