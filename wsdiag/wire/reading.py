"""One side's stream on its way to elements: where reading stands, gaps, garbage, other protocols and frames.

Requests, responses and how the two sides depend on each other are left to `exchange`.
"""

from wsdiag.model import (
    CLIENT,
    SERVER,
    ClientHello,
    Element,
    Foreign,
    Frame,
    ProxyHeader,
    ServerHello,
    Side,
    Span,
    Stream,
    TlsAlert,
    TlsData,
    Unknown,
)
from wsdiag.wire import http2, proxy_protocol, tls
from wsdiag.wire.frames import FrameReader, first_frame
from wsdiag.wire.handshake import DeflateParameters
from wsdiag.wire.identify import REQUEST_IN_TEXT, STATUS_LINE, identify_at
from wsdiag.wire.identity import Identity

MAX_GARBAGE = 64 * 1024  # bytes in front of a status line in which it is looked for: a page of PHP warnings
MAX_CLIENT_GARBAGE = 4096  # the same in front of a request
MAX_FRAMES = 20_000  # frames listed one by one for each side; after them, an element stands for a run of healthy ones
MAX_START = 2100  # the longest text that REQUEST_IN_TEXT matches, so that a search may begin that much before a border


class Reading:
    """One side's stream, the elements found so far and where reading stands (`at`)."""

    def __init__(self, stream: Stream, side: Side) -> None:
        self.side: Side = side
        self.data = stream.data
        self.at = 0
        self.end = len(stream.data)
        self.elements: list[Element] = []
        self.gaps = sorted((gap for gap in stream.gaps if 0 < gap.offset < self.end), key=lambda gap: gap.offset)
        self.next_gap = 0
        self.late = not stream.from_start or any(gap.offset <= 0 for gap in stream.gaps)
        self.searched = 0  # up to here no HTTP was found

    def limit(self) -> int:
        """Where the bytes that hang together end: the next gap, or the end."""
        while self.next_gap < len(self.gaps) and self.gaps[self.next_gap].offset <= self.at:
            self.next_gap += 1
        return self.gaps[self.next_gap].offset if self.next_gap < len(self.gaps) else self.end

    def add(self, element: Element) -> None:
        """Append the element, whose span begins where reading stands, and go on behind it."""
        self.elements.append(element)
        self.at = element.span.stop

    def unknown(self, stop: int) -> None:
        """The bytes up to `stop` are nothing we know; told as one element with unknown ones right in front."""
        if stop <= self.at:
            return
        last = self.elements[-1] if self.elements else None
        if isinstance(last, Unknown):
            self.elements[-1] = Unknown(Span(self.side, last.span.start, stop))
            self.at = stop
        else:
            self.add(Unknown(Span(self.side, self.at, stop)))

    def over_gaps(self, stop: int, missing: int | None) -> int:
        """Where a body or payload ends of which `missing` bytes follow the gap at `stop`: as far as it is known."""
        while missing and self.next_gap < len(self.gaps) and self.gaps[self.next_gap].offset == stop:
            size = self.gaps[self.next_gap].size
            if size is None or size > missing:
                break
            missing -= size
            self.next_gap += 1
            limit = self.gaps[self.next_gap].offset if self.next_gap < len(self.gaps) else self.end
            step = min(missing, limit - stop)
            stop += step
            missing -= step
        return stop

    # -- protocols that both sides may speak --

    def other(self, found: Identity, stop: int) -> None:
        """Read what is neither a request nor a response, up to `stop`."""
        start = self.at
        if found.kind == "tls":
            for element in tls.read(self.data, self.at, stop, self.side):
                self.add(element)
        elif found.kind == "http2":
            self.http2(stop)
        elif found.kind in ("proxy-v1", "proxy-v2"):
            header = proxy_protocol.read(self.data, self.at, stop, self.side)
            if header is not None:
                self.add(header)
        elif found.kind == "frame" and found.sure != "partial":
            if self.late and self.at == 0:
                self.frames(None, joined_late=True)
            else:
                self.early_frames(stop)
        elif found.kind == "flash-policy":
            end = self.data.find(b">", self.at, stop) + 1
            while 0 < end < stop and self.data[end] in b"\x00\r\n":
                end += 1
            self.foreign(found, end or stop)
        elif found.kind not in _NOT_FOREIGN and (found.sure == "certain" or self.at_front(found)):
            self.foreign(found, stop)
        if self.at == start:
            self.unknown(stop)

    def at_front(self, found: Identity) -> bool:
        """True where even a likely guess names the protocol: nothing but a PROXY header or TLS stands in front."""
        if found.sure == "partial" or self.late:
            return False
        if found.kind == "hixie-frame":
            return not self.after_gap()
        return not self.after_gap() and all(isinstance(each, _IN_FRONT) for each in self.elements[-8:])

    def after_gap(self) -> bool:
        """True when bytes are missing right in front of where reading stands."""
        return any(gap.offset == self.at for gap in self.gaps[max(0, self.next_gap - 1) : self.next_gap + 1])

    def http_ahead(self, limit: int) -> int | None:
        """Where HTTP of this side's kind begins behind this place, within the window; None when nowhere."""
        pattern, window = _AHEAD[self.side]
        begin, stop = max(self.at + 1, self.searched - MAX_START), min(limit, self.at + window)
        match = pattern.search(self.data, begin, stop) if begin < stop else None
        if match is None:
            self.searched = max(self.searched, stop)
            return None
        return match.start()

    def foreign(self, found: Identity, stop: int) -> None:
        """Another protocol speaks up to `stop`."""
        self.add(Foreign(Span(self.side, self.at, stop), found.kind, found.detail))

    def http2(self, stop: int) -> None:
        """HTTP/2, preface and frames."""
        preface = http2.read_preface(self.data, self.at, stop, self.side)
        if preface is not None:
            self.add(preface)
        found = http2.read_frames(self.data, self.at, stop, self.side, begun=preface is not None)
        if found is not None:
            self.add(found)

    def garbage(self, limit: int) -> bool:
        """Bytes in front of this side's HTTP are unknown ones; False when none follows."""
        ahead = self.http_ahead(limit)
        if ahead is None:
            return False
        self.unknown(ahead)
        return True

    # -- WebSocket frames --

    def early_frames(self, stop: int) -> None:
        """Frames that no handshake announced; they end where HTTP begins."""
        ahead = self.http_ahead(stop)
        stop = stop if ahead is None else ahead
        reader = FrameReader(self.side, everything=True, joined_late=True)
        start = self.at
        self.run(reader, stop)
        self.cut(reader)
        last = self.elements[-1]
        if reader.lost and self.at > start and isinstance(last, Frame) and last.flaws[-1].kind == "looks-like-text":
            # text is no frame here, where none was promised; it may be HTTP that is cut
            del self.elements[-1]
            self.at = last.span.start
        if self.at == start:
            self.unknown(stop)

    def frames(self, deflate: DeflateParameters | None, *, joined_late: bool = False, sure: bool = True) -> None:
        """All the rest is frames, with what was agreed of compression; not `sure` where the first one begins."""
        reader = FrameReader(self.side, deflate, everything=True, joined_late=joined_late)
        while True:
            limit = self.limit()
            if sure or self.frames_stand_here(limit):
                self.run(reader, limit)
                if reader.closed or reader.lost:
                    self.unknown(self.end)
                    return
            else:
                self.unknown(limit)
            if limit >= self.end:
                break
            gap = self.gaps[self.next_gap]
            self.next_gap += 1
            if gap.size is not None and reader.missing(gap.size):
                sure = True
                continue
            self.cut(reader)
            reader = FrameReader(self.side, None, everything=True, joined_late=True)
            sure = False
        self.cut(reader)

    def frames_stand_here(self, limit: int) -> bool:
        """True when the bytes behind a gap look like frames."""
        found = identify_at(self.data, self.at, limit, self.side)
        return found.kind == "frame" and found.sure != "partial"

    def run(self, reader: FrameReader, stop: int) -> None:
        """Feed the reader the bytes up to `stop`."""
        position = max(self.at, reader.stop)
        while position < stop and not (reader.closed or reader.lost):
            step = min(stop, position + 2**16)
            if len(self.elements) >= MAX_FRAMES:
                reader.everything = False
            for frame in reader.feed(self.data[position:step], position):
                self.healthy(frame.span.start)
                self.add(frame)
            position = step
            if not reader.everything:
                self.healthy(reader.begun)

    def cut(self, reader: FrameReader) -> None:
        """The bytes end (or are lost) here: the frame under way is not complete."""
        reader.everything = True
        for frame in reader.finish():
            self.healthy(frame.span.start)
            self.add(frame)

    def healthy(self, stop: int) -> None:
        """Frames up to `stop` that were read but not told, as one element that stands for them all."""
        if stop <= self.at:
            return
        run = self.data[self.at : stop]
        counting = FrameReader(self.side, joined_late=True)
        counting.feed(run, self.at)
        whole = Span(self.side, self.at, stop)
        self.add(first_frame(run, self.at, self.side)._replace(span=whole, flaws=(), others=counting.frames - 1))


_IN_FRONT = (ProxyHeader, ClientHello, ServerHello, TlsAlert, TlsData)
_AHEAD = {CLIENT: (REQUEST_IN_TEXT, MAX_CLIENT_GARBAGE), SERVER: (STATUS_LINE, MAX_GARBAGE)}
# Kinds that get no Foreign element where they cannot be read on.
_NOT_FOREIGN = frozenset({"request", "response", "tls", "http2", "proxy-v1", "proxy-v2", "frame", "unknown", "empty"})
