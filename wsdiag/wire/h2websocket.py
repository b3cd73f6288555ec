"""WebSockets inside HTTP/2: extended CONNECT, its answer and the frames in its DATA (RFC 8441, RFC 9113, RFC 7541).

What HTTP/2 is and where it begins is found by `exchange`; whether an answer is a good one is left to the rules.

Nothing is asked for by upgrade here: there is no key and no accept, and the answer that opens the WebSocket is 200.
"""

from collections.abc import Iterator, Sequence

from wsdiag.model import (
    CLIENT,
    SERVER,
    Element,
    Exchange,
    Flaw,
    Frame,
    Head,
    Header,
    Http2Frames,
    Http2Preface,
    Piece,
    Request,
    Response,
    Side,
    Span,
    Stream,
    Unknown,
)
from wsdiag.record import NamedTuple
from wsdiag.wire.frames import read_frames
from wsdiag.wire.h2frames import Direction, Fields, HeaderBlock
from wsdiag.wire.handshake import deflate_parameters

ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441 section 3
MAX_WEBSOCKETS = 64  # on one connection; browsers open a handful
MAX_CONTENT = 4096  # bytes of a refusal's body that are kept, as of any response's


class ExtendedConnect(NamedTuple):
    """An extended CONNECT that asks for a WebSocket, and what came of it.

    `status` is None while no answer was seen. `enabled` tells whether the server had allowed it by
    SETTINGS_ENABLE_CONNECT_PROTOCOL (None: its settings were not seen). `reset` is the error code with which either
    side broke the stream off. `headers` and `answer` are the fields as sent, pseudo-headers included.
    """

    stream: int
    path: str
    authority: str
    headers: Fields
    status: int | None
    answer: Fields
    enabled: bool | None
    reset: int | None
    request: Span
    response: Span | None


def extended_connect(exchange: Exchange) -> list[ExtendedConnect]:
    """The WebSockets that were asked for over HTTP/2 on this connection, in the order asked."""
    directions = _directions(exchange)
    return [] if directions is None else _connects(*directions)


def show_websockets(exchange: Exchange) -> Exchange:
    """The exchange with its HTTP/2 taken apart where a WebSocket runs inside; the same one where none does.

    An extended CONNECT becomes a Request (method CONNECT, version "HTTP/2", `:authority` told as the Host that it
    stands for), its answer a Response, and the WebSocket's frames become Frames, all at their place in the stream, so
    that the rules for handshakes and frames hold here too. The rest stays Http2Frames.
    """
    directions = _directions(exchange)
    if directions is None:
        return exchange
    connects = _connects(*directions)
    if any(each.status is not None for each in connects):
        connects = [each for each in connects if each.status is not None]  # keeps requests and answers in step
    if not connects:
        return exchange
    client, server = directions
    asked: list[Element] = []
    answered: list[Element] = []
    for connect in connects:
        request = _request(connect, client)
        asked.append(request)
        response = _response(connect, server)
        if response is not None:
            answered.append(response)
        if response is not None and 200 <= response.status < 300:
            deflate = deflate_parameters(request, response)
            for direction, elements in ((client, asked), (server, answered)):
                elements.extend(_websocket_frames(direction, connect.stream, deflate))
    return exchange._replace(
        client=_tile(exchange.connection.client, exchange.client, client, asked),
        server=_tile(exchange.connection.server, exchange.server, server, answered),
    )


def _directions(exchange: Exchange) -> tuple[Direction, Direction] | None:
    """Both sides' HTTP/2; None when the client speaks none."""
    start = next((each.span.stop for each in exchange.client if isinstance(each, Http2Preface)), None)
    if start is None:
        return None
    client = exchange.connection.client
    server = exchange.connection.server
    answer = next((each.span.start for each in exchange.server if isinstance(each, Http2Frames)), len(server.data))
    return (
        Direction(client.data, start, _unbroken(client), CLIENT),
        Direction(server.data, answer, _unbroken(server), SERVER),
    )


def _connects(client: Direction, server: Direction) -> list[ExtendedConnect]:
    settings = server.settings()
    enabled = None if settings is None else bool(settings.get(ENABLE_CONNECT_PROTOCOL))
    answers: dict[int, HeaderBlock] = {}
    for block in server.blocks:
        if not dict(block.fields).get(":status", "").startswith("1"):
            answers.setdefault(block.stream, block)
    found = []
    for block in client.blocks:
        fields = dict(block.fields)
        if fields.get(":method") != "CONNECT" or fields.get(":protocol", "").lower() != "websocket":
            continue
        answer = answers.get(block.stream)
        status = dict(answer.fields).get(":status", "") if answer else ""
        reset = server.reset(block.stream)
        found.append(
            ExtendedConnect(
                block.stream,
                fields.get(":path", ""),
                fields.get(":authority", ""),
                block.fields,
                int(status) if status.isdecimal() and len(status) == 3 else None,
                answer.fields if answer else (),
                enabled,
                reset if reset is not None else client.reset(block.stream),
                block.span,
                answer.span if answer else None,
            )
        )
        if len(found) == MAX_WEBSOCKETS:
            break
    return found


def _request(connect: ExtendedConnect, client: Direction) -> Request:
    block = next(each for each in client.blocks if each.span == connect.request)
    fields = dict(block.fields)

    def piece(text: str) -> Piece:
        return Piece(text, block.place)

    return Request(block.span, piece("CONNECT"), piece(fields.get(":path", "")), piece("HTTP/2"), _head(block, CLIENT))


def _response(connect: ExtendedConnect, server: Direction) -> Response | None:
    if connect.response is None or connect.status is None:
        return None
    block = next(each for each in server.blocks if each.span == connect.response)
    content = b""
    if not 200 <= connect.status < 300:
        content = b"".join(server.data[each.begin : each.end] for each in server.content(connect.stream))
    version = Piece("HTTP/2", block.place)
    reason = Piece("", Span(SERVER, block.place.start, block.place.start))
    return Response(block.span, version, connect.status, reason, _head(block, SERVER), content=content[:MAX_CONTENT])


def _head(block: HeaderBlock, side: Side) -> Head:
    """The fields as headers. All of them stand where the compressed block stands: it has no place for each."""
    headers = tuple(
        Header(Piece("host" if name == ":authority" else name, block.place), Piece(value, block.place))
        for name, value in block.fields
        if name not in (":method", ":path", ":scheme", ":status")
    )
    return Head(headers, True, block.place)


def _websocket_frames(direction: Direction, stream: int, deflate: object) -> Iterator[Frame]:
    """The WebSocket's frames, at their place in the HTTP/2 stream (over the frame heads between their pieces)."""
    pieces = direction.content(stream)
    data = b"".join(direction.data[each.begin : each.end] for each in pieces)
    starts: list[tuple[int, int]] = []  # (offset in `data`, offset in the stream)
    offset = 0
    for each in pieces:
        starts.append((offset, each.begin))
        offset += each.end - each.begin
    for frame in read_frames(data, 0, direction.side, deflate):  # type: ignore[arg-type]
        span = _outside(frame.span, starts)
        flaws = tuple(Flaw(each.kind, _outside(each.span, starts), each.detail) for each in frame.flaws)
        yield frame._replace(span=span, flaws=flaws)


def _outside(span: Span, starts: Sequence[tuple[int, int]]) -> Span:
    """A span of the DATA frames' content as a span of the stream."""
    from bisect import bisect_right

    first = max(0, bisect_right(starts, (span.start, 1 << 62)) - 1)
    start = starts[first][1] + span.start - starts[first][0]
    if span.stop <= span.start:
        return Span(span.side, start, start)
    last = max(0, bisect_right(starts, (span.stop - 1, 1 << 62)) - 1)
    return Span(span.side, start, starts[last][1] + span.stop - starts[last][0])


def _tile(
    stream: Stream, before: tuple[Element, ...], direction: Direction, inside: list[Element]
) -> tuple[Element, ...]:
    """The elements of one side: those in front of HTTP/2, HTTP/2 with what was found in it, those behind."""
    side, at, stop = direction.side, direction.start, direction.stop
    if stop == at:
        return before
    known = next((each for each in before if isinstance(each, Http2Frames) and each.span.start >= at), None)
    tiles = [each for each in before if each.span.stop <= at]
    for element in sorted(inside, key=lambda each: each.span):
        if element.span.start < at or element.span.stop > stop or element.span.stop == element.span.start:
            continue  # two WebSockets whose frames are cut into each other: the second stays HTTP/2
        if element.span.start > at:
            tiles.append(_rest(Span(side, at, element.span.start), known))
            known = None
        tiles.append(element)
        at = element.span.stop
    if at < stop:
        tiles.append(_rest(Span(side, at, stop), known))
    behind = [each for each in before if each.span.start >= stop]
    between = behind[0].span.start if behind else len(stream.data)
    if between > stop:
        tiles.append(Unknown(Span(side, stop, between)))
    return (*tiles, *behind)


def _rest(span: Span, known: Http2Frames | None) -> Http2Frames:
    """HTTP/2 that is left; the first piece keeps what was read of the whole."""
    return known._replace(span=span) if known is not None else Http2Frames(span, 0, (), ())


def _unbroken(stream: Stream) -> int:
    """How many bytes there are ahead of the first gap."""
    return stream.gaps[0].offset if stream.gaps else len(stream.data)
