"""Tiles both streams of a connection with elements: which reader reads what, and which answer belongs to which request.

Taking the bytes apart is left to the readers beside this module, judging them to the rules.

After a 101 both streams are frames, whatever they look like; without one, bytes are frames only if they are plausible
ones. Nothing is joined across a gap: a body or a payload whose length is known spans it (and is not complete), anything
else ends there and is picked up behind it only where something recognisable stands.
"""

from wsdiag.model import (
    CLIENT,
    SERVER,
    Connection,
    Exchange,
    Flaw,
    Request,
    Response,
    Span,
    Stream,
    wants_upgrade,
)
from wsdiag.wire import body as bodies
from wsdiag.wire import http1
from wsdiag.wire.frames import header_flaws
from wsdiag.wire.handshake import agreed_extensions, deflate_parameters
from wsdiag.wire.identify import STATUS_LINE, identify_at
from wsdiag.wire.identity import Identity
from wsdiag.wire.reading import Reading

MAX_ELEMENTS = 50_000  # elements of one side that are no frames; what follows is told as unknown
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


class _ClientReading(Reading):
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
        size, flaws = bodies.content_length(request.head, side) if request.head.complete else (None, ())
        body = None
        if not request.head.complete:
            pass  # what follows, if anything, is not known to be its body
        elif is_hixie(request):
            body = bodies.read_sized(data, start, limit, HIXIE_KEY_3, side)
        elif bodies.is_chunked(request.head):
            body = bodies.read_chunked(data, start, limit, side)
        elif size:
            body = bodies.read_sized(data, start, limit, size, side)
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


class _ServerReading(Reading):
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
                content=bodies.decoded(body.content, response.head),
            )
        if flaws:
            response = response._replace(flaws=response.flaws + flaws)
        self.add(response)
        if response.status == 101:
            self.switch(request, response)

    def body(
        self, request: Request | None, response: Response, start: int, limit: int
    ) -> tuple[bodies.Body | None, tuple[Flaw, ...]]:
        """The body of a response by RFC 9112 section 6.3, None when it has none."""
        head, data, side = response.head, self.data, self.side
        method = request.method.text.upper() if request is not None else ""
        if response.status == 101:
            if request is not None and is_hixie(request) and not head.first("sec-websocket-accept"):
                return bodies.read_sized(data, start, limit, HIXIE_ANSWER, side), ()
            return None, ()
        if not head.complete or response.status in BODILESS or method == "HEAD":
            return None, ()
        if method == "CONNECT" and 200 <= response.status < 300:
            return None, ()
        if bodies.is_chunked(head):
            return bodies.read_chunked(data, start, limit, side), ()
        size, flaws = bodies.content_length(head, side)
        # a HEAD that was not seen, or a length or a close that is not kept: the next answer follows at once
        if STATUS_LINE.match(data, start, limit):
            return None, flaws
        if start >= self.end and (request is None or size is None):
            return None, flaws
        if size is not None:
            return bodies.read_sized(data, start, limit, size, side), flaws
        return bodies.read_until_close(data, start, limit), flaws

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
        # an extension that is not known here may use the reserved bits as well (Safari's x-webkit-deflate-frame did)
        known = whole and all(each.name == "permessage-deflate" for each in agreed_extensions(response.head))
        self.frames(deflate, joined_late=not known, sure=whole)
        seen = request is not None and request.head.complete
        client.frames(deflate, joined_late=not (known and seen), sure=seen)


def is_hixie(request: Request) -> bool:
    """True for the handshake of draft-hixie-76: two keys in the head, a third one behind it."""
    return bool(request.head.first("sec-websocket-key1")) and bool(request.head.first("sec-websocket-key2"))
