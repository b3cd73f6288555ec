"""Capture files and streams recognised: plain or gzip, from a file or from standard input; what a reader owes its user.

The formats themselves are read in `pcap` and `pcapng`.
"""

from collections.abc import Callable
from typing import BinaryIO, cast

from wsdiag.intake.buffered import Buffered, Readable
from wsdiag.intake.link import LINK_NAMES, UNREAD_LINKS
from wsdiag.intake.tcp import Flows
from wsdiag.model import CaptureSummary, Note, WsdiagError

CHUNK = 1 << 18  # bytes read at a time; larger reads fault fresh pages in and are slower
SLACK = 256  # bytes behind the buffer's end, so that headers may be unpacked before their length is checked
MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
# The magic of "modified" pcap (Alexey Kuznetsov's patch): the same with 8 more bytes in each record.
MODIFIED = {b"\x34\xcd\xb2\xa1": "<", b"\xa1\xb2\xcd\x34": ">"}
PCAPNG = b"\x0a\x0d\x0d\x0a"
GZIP = b"\x1f\x8b"


def is_capture(head: bytes) -> bool:
    """Whether a file that begins like this is a capture (4 bytes are enough; not looking inside gzip)."""
    return head[:4] in MAGICS or head[:4] in MODIFIED or head[:4] == PCAPNG


def open_capture(stream: BinaryIO, source: str) -> "Capture":
    """Recognise a capture by its first bytes; `stream` need not be seekable. Raises WsdiagError("not-a-capture")."""
    buffered = Buffered(cast(Readable, stream), CHUNK, SLACK)
    buffered.fill(24)
    if buffered.peek(2) == GZIP:
        buffered = buffered.inflated()
        buffered.fill(24)
    magic = buffered.peek(4)
    if magic == PCAPNG:
        from wsdiag.intake.pcapng import Pcapng

        return Pcapng(buffered, source)
    if magic in MAGICS or magic in MODIFIED:
        from wsdiag.intake.pcap import Pcap

        return Pcap(buffered, source)
    raise WsdiagError("not-a-capture", source=source)


class Capture:
    """A capture being read: `feed` gives its packets to an engine; the rest tells how it went."""

    def __init__(self, buffered: Buffered, source: str) -> None:
        self.buffered = buffered
        self.source = source
        self.packets = 0
        self.bytes = 0
        self.dropped = 0
        self.truncated = False
        self.links: set[int] = set()
        self.notes: list[Note] = []
        self.key_logs: list[bytes] = []
        self.stamp: float = 0.0  # of the last packet
        self.whole_packets = False  # True: every packet is handed to `flows.packet` as it is, which takes longer

    def clock(self, stamp: float) -> float:
        """Seconds since the epoch for a packet's stamp."""
        return stamp

    def feed(self, flows: Flows, progress: Callable[[int], None] | None = None) -> None:
        """Read all packets; `progress` is told now and then how many bytes were read."""
        raise NotImplementedError

    @property
    def summary(self) -> CaptureSummary:
        """Counts, as far as the capture was read."""
        names = sorted(LINK_NAMES.get(link) or UNREAD_LINKS.get(link) or f"link-{link}" for link in self.links)
        return CaptureSummary(self.packets, self.bytes, self.dropped, self.truncated, ",".join(names) or "unknown")

    def note(self, name: str, **values: int | str | float) -> None:
        """Remember something to tell about the file."""
        if len(self.notes) < 32:
            self.notes.append(Note(name, values))
