"""Tiles both streams of a connection with elements: which reader reads what, and which answer belongs to which request.

Taking the bytes apart is left to the readers beside this module, judging them to the rules.

After a 101 both streams are frames, whatever they look like; without one, bytes are frames only if they are plausible
ones. Nothing is joined across a gap: a body or a payload whose length is known spans it (and is not complete), anything
else ends there and is picked up behind it only where something recognisable stands.
"""

from wsdiag.model import (
    CLIENT,
    SERVER,
    ClientHello,
    Connection,
    Element,
    Exchange,
    Flaw,
    Foreign,
    Frame,
    ProxyHeader,
    Request,
    Response,
    ServerHello,
    Side,
    Span,
    Stream,
    TlsAlert,
    TlsData,
    Unknown,
    wants_upgrade,
)
from wsdiag.wire import http1, http2, proxy_protocol, tls
from wsdiag.wire.frames import FrameReader, first_frame, header_flaws
from wsdiag.wire.handshake import DeflateParameters, deflate_parameters
from wsdiag.wire.identify import REQUEST_IN_TEXT, STATUS_LINE, identify_at
from wsdiag.wire.identity import Identity

MAX_GARBAGE = 64 * 1024  # bytes in front of a status line in which it is looked for: a page of PHP warnings
MAX_CLIENT_GARBAGE = 4096  # the same in front of a request
MAX_FRAMES = 20_000  # frames listed one by one for each side; after them, an element stands for a run of healthy ones
MAX_ELEMENTS = 50_000  # elements of one side that are no frames; what follows is told as unknown
MAX_START = 2100  # the longest text that REQUEST_IN_TEXT matches, so that a search may begin that much before a border
HIXIE_KEY_3 = 8  # bytes behind the head of a hixie-76 request
HIXIE_ANSWER = 16  # bytes behind the head of its answer
BODILESS = frozenset({204, 205, 304})  # RFC 9110 section 6.4.1


def read(connection: Connection) -> Exchange:
    """The connection with the elements of both sides; their spans are consecutive and cover the bytes exactly."""
    client = _ClientReading(connection.client)
    server = _ServerReading(connection.server, client)
    server.read()
    client.read()
    return Exchange(connection, tuple(client.elements), tuple(server.elements))


class _Reading:
    """One side's stream, the elements found so far and where reading stands."""

    def __init__(self, stream: Stream, side: Side) -> None:
        self.side: Side = side
        self.data = stream.data
        self.at = 0
        self.end = len(stream.data)
        self.elements: list[Element] = []
        self.gaps = [gap for gap in sorted(stream.gaps) if 0 < gap.offset < self.end]
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


# Kinds that get no Foreign element where they cannot be read on.
_IN_FRONT = (ProxyHeader, ClientHello, ServerHello, TlsAlert, TlsData)
_AHEAD = {CLIENT: (REQUEST_IN_TEXT, MAX_CLIENT_GARBAGE), SERVER: (STATUS_LINE, MAX_GARBAGE)}
_NOT_FOREIGN = frozenset({"request", "response", "tls", "http2", "proxy-v1", "proxy-v2", "frame", "unknown", "empty"})


class _ClientReading(_Reading):
    """The client's stream. Requests are read one by one, as the server's answers ask for them."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream, CLIENT)
        self.requests: list[Request] = []

    def request(self, index: int) -> Request | None:
        """The request of that number (from 0), reading on until it is found; None when there are not so many."""
        while len(self.requests) <= index and self.at < self.end and len(self.elements) < MAX_ELEMENTS:
            self.step()
        return self.requests[index] if index < len(self.requests) else None

    def read(self) -> None:
        """Read all that is left."""
        while self.at < self.end:
            if len(self.elements) >= MAX_ELEMENTS:
                self.unknown(self.end)
            else:
                self.step()

    def step(self) -> None:
        """Read the element that stands here, or a few of them."""
        limit = self.limit()
        found = identify_at(self.data, self.at, limit, self.side)
        if found.kind == "request":
            self.add_request(limit)
        elif found.kind == "response":
            self.foreign(Identity("http-response", found.detail, found.sure), limit)
        elif found.kind in ("frame", "unknown") and self.may_send_frames(limit):
            self.early_frames(limit)
        elif found.kind in ("text", "unknown", "json") and self.garbage(limit):
            return
        else:
            self.other(found, limit)

    def may_send_frames(self, limit: int) -> bool:
        """True behind an upgrade request whose answer was not seen, where a masked frame's header stands."""
        last = self.elements[-1] if self.elements else None
        if not (isinstance(last, Request) and wants_upgrade(last)) or self.after_gap():
            return False
        head = self.data[self.at : min(limit, self.at + 2)]
        return not header_flaws(head[0], True) and (len(head) < 2 or head[1] >= 0x80)

    def add_request(self, limit: int) -> None:
        """Read the request that stands here, with its body."""
        data, side = self.data, self.side
        request = http1.read_request(data, self.at, limit, side)
        start = request.span.stop
        size, flaws = http1.content_length(request.head, side) if request.head.complete else (None, ())
        body = None
        if not request.head.complete:
            pass  # what follows, if anything, is not known to be its body
        elif is_hixie(request):
            body = http1.read_sized(data, start, limit, HIXIE_KEY_3, side)
        elif http1.is_chunked(request.head):
            body = http1.read_chunked(data, start, limit, side)
        elif size:
            body = http1.read_sized(data, start, limit, size, side)
        if body is not None:
            stop = self.over_gaps(body.stop, body.missing)
            flaws += body.flaws
            request = request._replace(
                span=Span(side, self.at, stop), body=Span(side, start, stop) if stop > start else None
            )
        if flaws:
            request = request._replace(flaws=request.flaws + flaws)
        self.add(request)
        self.requests.append(request)


class _ServerReading(_Reading):
    """The server's stream. Each final answer belongs to the next request of the client's."""

    def __init__(self, stream: Stream, client: _ClientReading) -> None:
        super().__init__(stream, SERVER)
        self.client = client
        self.answers = 0

    def read(self) -> None:
        """Read the whole stream; at a 101 the client's goes over to frames as well."""
        while self.at < self.end:
            limit = self.limit()
            if len(self.elements) >= MAX_ELEMENTS:
                self.unknown(self.end)
                return
            found = identify_at(self.data, self.at, limit, self.side)
            if found.kind == "response":
                self.add_response(limit)
            elif found.kind in ("tls", "http2", "frame") and found.sure != "partial":
                self.other(found, limit)
            elif not self.garbage(limit):
                if found.kind == "request":
                    found = Identity("http-request", found.detail, found.sure)
                self.other(found, limit)

    def add_response(self, limit: int) -> None:
        """Read the response that stands here, with its body, and go over to frames after a 101."""
        data, side = self.data, self.side
        response = http1.read_response(data, self.at, limit, side)
        if 100 <= response.status < 200 and response.status != 101:
            self.add(response)
            return
        request = self.client.request(self.answers)
        if response.status:
            self.answers += 1
        start = response.span.stop
        body, flaws = self.body(request, response, start, limit)
        if body is not None:
            stop = self.over_gaps(body.stop, body.missing)
            flaws += body.flaws
            response = response._replace(
                span=Span(side, self.at, stop),
                body=Span(side, start, stop) if stop > start else None,
                content=http1.decoded(body.content, response.head),
            )
        if flaws:
            response = response._replace(flaws=response.flaws + flaws)
        self.add(response)
        if response.status == 101:
            self.switch(request, response)

    def body(
        self, request: Request | None, response: Response, start: int, limit: int
    ) -> tuple[http1.Body | None, tuple[Flaw, ...]]:
        """The body of a response by RFC 9112 section 6.3, None when it has none."""
        head, data, side = response.head, self.data, self.side
        method = request.method.text.upper() if request is not None else ""
        if response.status == 101:
            if request is not None and is_hixie(request) and not head.first("sec-websocket-accept"):
                return http1.read_sized(data, start, limit, HIXIE_ANSWER, side), ()
            return None, ()
        if not head.complete or response.status in BODILESS or method == "HEAD":
            return None, ()
        if method == "CONNECT" and 200 <= response.status < 300:
            return None, ()
        if http1.is_chunked(head):
            return http1.read_chunked(data, start, limit, side), ()
        size, flaws = http1.content_length(head, side)
        # a HEAD that was not seen, or a length or a close that is not kept: the next answer follows at once
        if STATUS_LINE.match(data, start, limit):
            return None, flaws
        if start >= self.end and (request is None or size is None):
            return None, flaws
        if size is not None:
            return http1.read_sized(data, start, limit, size, side), flaws
        return http1.read_until_close(data, start, limit), flaws

    def switch(self, request: Request | None, response: Response) -> None:
        """What follows a 101: frames, unless it names another protocol or belongs to a draft."""
        upgrade = response.head.tokens("upgrade")
        client = self.client
        if "h2c" in upgrade:
            self.http2(self.limit())
            return
        if request is not None and is_hixie(request) and not response.head.first("sec-websocket-accept"):
            return  # its frames are told as those of the draft
        if upgrade and "websocket" not in upgrade and not response.head.first("sec-websocket-accept"):
            return
        deflate = deflate_parameters(request, response)
        whole = response.head.complete
        self.frames(deflate, joined_late=not whole, sure=whole)
        seen = request is not None and request.head.complete
        client.frames(deflate, joined_late=not (whole and seen), sure=seen)


def is_hixie(request: Request) -> bool:
    """True for the handshake of draft-hixie-76: two keys in the head, a third one behind it."""
    return bool(request.head.first("sec-websocket-key1")) and bool(request.head.first("sec-websocket-key2"))
