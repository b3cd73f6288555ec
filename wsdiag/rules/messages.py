"""Faults after the handshake: frames that break RFC 6455 section 5, close codes, and closes without a close frame."""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import CLIENT, SERVER, Certainty, Exchange, Flaw, Frame, Hit, Side, Span
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import attempt, port_of
from wsdiag.wire.handshake import deflate_parameters

if TYPE_CHECKING:
    from typing import Any

# A close without a word this long after the last byte is a timer's; below it, a crash is as likely.
IDLE_TO_BELIEVE = 1.5
# An exception in a handler closes the connection within this time of the frame that raised it.
CRASH_WITHIN = 0.5
FIRST_WORDS = 2  # messages of a client that may have met an exception in the handler
CLOSES = ("abnormal-closure", "server-error-close", "idle-timeout")
# The smallest limits of servers are 64 KiB (Tornado 10 MiB, websockets 1 MiB, Workerman 10 MiB, Spring 64 KiB).
LARGE_MESSAGE = 64 * 1024


def _frames(exchange: Exchange, side: Side | None = None) -> Iterator[Frame]:
    """The frames of one side or both: those in the kept bytes, then the notable ones after them."""
    for element in (*exchange.client, *exchange.server, *exchange.connection.frames):
        if isinstance(element, Frame) and (side is None or element.span.side == side):
            yield element


def _direction_known(exchange: Exchange) -> bool:
    """False for a bare dump of frames, which may be either side's."""
    connection = exchange.connection
    return connection.kind != "dump" or connection.server.seen or exchange.request is not None


def _flawed(exchange: Exchange, kind: str) -> Iterator[tuple[Frame, Flaw]]:
    for frame in _frames(exchange):
        for flaw in frame.flaws:
            if flaw.kind == kind:
                yield frame, flaw


def _is_text(frame: Frame) -> bool:
    return any(flaw.kind == "looks-like-text" for flaw in frame.flaws)


@rule("WS601", on=Exchange, blame="client", ref="RFC 6455 section 5.3", masks=(*CLOSES, "reserved-bits", "bad-opcode"))
def unmasked_client_frame(exchange: Exchange) -> Iterator[Hit]:
    """A client's frame without a mask."""
    known = _direction_known(exchange)
    for frame in _frames(exchange, CLIENT):
        if frame.mask is None:
            text = frame.payload[:40].decode("utf-8", "replace") if frame.opcode == 1 else ""
            yield hit(
                Span(CLIENT, frame.span.start, min(frame.span.start + 2, frame.span.stop)),
                variant="bare-text" if _is_text(frame) else "" if known else "unknown-side",
                certainty=None if known else "possible",
                next_steps=() if known else ("ask-direction",),
                opcode=frame.opcode,
                size=frame.length,
                detail=text,
            )
            return


@rule("WS602", on=Exchange, blame="server", ref="RFC 6455 section 5.1", masks=(*CLOSES, "missing-extension-deflate"))
def masked_server_frame(exchange: Exchange) -> Iterator[Hit]:
    """A server's frame with a mask."""
    for frame in _frames(exchange, SERVER):
        if frame.mask is not None and not _is_text(frame):
            yield hit(
                Span(SERVER, frame.span.start, min(frame.span.start + 2, frame.span.stop)),
                opcode=frame.opcode,
                size=frame.length,
            )
            return


@rule("WS603", on=Exchange, blame="server", ref="RFC 6455 section 5.2", masks=CLOSES)
def reserved_bits(exchange: Exchange) -> Iterator[Hit]:
    """RSV2 or RSV3 is set, for which no extension exists."""
    for frame in _frames(exchange):
        if frame.rsv & 3 and not _is_text(frame):
            yield hit(
                Span(frame.span.side, frame.span.start, frame.span.start + 1),
                blame=frame.span.side,
                value=frame.rsv,
                side=frame.span.side,
            )
            return


@rule("WS604", on=Exchange, blame="server", ref="RFC 7692 section 7.2.3", masks=(*CLOSES, "invalid-utf8"))
def missing_extension_deflate(exchange: Exchange) -> Iterator[Hit]:
    """RSV1 is set in a frame though permessage-deflate was not agreed on this leg (only where the 101 was seen)."""
    request, response = exchange.request, exchange.response
    agreed = request is not None and response is not None and deflate_parameters(request, response) is not None
    if response is None or not response.head.complete or agreed:
        return
    for frame in _frames(exchange):
        if frame.rsv == 4 and not _is_text(frame):
            offered = request is not None and "permessage-deflate" in request.head.value("sec-websocket-extensions")
            yield hit(
                Span(frame.span.side, frame.span.start, frame.span.start + 1),
                blame=frame.span.side,
                variant="offered" if offered else "",
                extension="permessage-deflate",
                side=frame.span.side,
            )
            return


@rule("WS605", on=Exchange, blame="server", ref="RFC 6455 section 5.2", masks=(*CLOSES, "bad-control-frame"))
def bad_opcode(exchange: Exchange) -> Iterator[Hit]:
    """An opcode that is not defined (3 to 7, 11 to 15)."""
    for frame, flaw in _flawed(exchange, "bad-opcode"):
        if not _is_text(frame):
            yield hit(flaw.span, blame=frame.span.side, opcode=frame.opcode, side=frame.span.side)
            return


@rule("WS606", on=Exchange, blame="server", ref="RFC 6455 section 5.5", masks=CLOSES)
def bad_control_frame(exchange: Exchange) -> Iterator[Hit]:
    """A ping, pong or close that is fragmented or carries more than 125 bytes; a close with a bad code."""
    for kind in ("control-too-long", "control-fragmented", "bad-close-code", "bad-close-length"):
        for frame, flaw in _flawed(exchange, kind):
            if not _is_text(frame):
                code = int.from_bytes(frame.payload[:2], "big") if frame.opcode == 8 and len(frame.payload) >= 2 else 0
                yield hit(
                    flaw.span,
                    blame=frame.span.side,
                    variant=kind,
                    opcode=frame.opcode,
                    size=frame.length,
                    code=code,
                    side=frame.span.side,
                )
                return
    for kind in ("continuation-without-start", "message-interrupted"):
        for frame, flaw in _flawed(exchange, kind):
            if (
                exchange.response is not None
                and not exchange.connection.client.gaps
                and not exchange.connection.server.gaps
            ):
                yield hit(
                    flaw.span,
                    blame=frame.span.side,
                    variant=kind,
                    opcode=frame.opcode,
                    size=frame.length,
                    side=frame.span.side,
                )
                return


@rule("WS607", on=Exchange, blame="server", ref="RFC 6455 section 8.1", masks=CLOSES)
def invalid_utf8(exchange: Exchange) -> Iterator[Hit]:
    """A text message that is not UTF-8: binary data sent as text, or text in another encoding."""
    for frame, flaw in _flawed(exchange, "invalid-utf8"):
        if not _is_text(frame):
            yield hit(flaw.span, blame=frame.span.side, size=frame.length, detail=flaw.detail, side=frame.span.side)
            return


def _closes(exchange: Exchange, code: int) -> Iterator[Frame]:
    for frame in _frames(exchange):
        if frame.opcode == 8 and len(frame.payload) >= 2 and int.from_bytes(frame.payload[:2], "big") == code:
            yield frame


def _reason(frame: Frame) -> str:
    return frame.payload[2:].decode("utf-8", "replace")


@rule("WS608", on=Exchange, blame="client", ref="RFC 6455 section 7.4.1 (1009)", masks=CLOSES)
def message_too_big(exchange: Exchange) -> Iterator[Hit]:
    """A side closes with 1009: the other's message is larger than it takes."""
    for frame in _closes(exchange, 1009):
        sender: Side = SERVER if frame.span.side == CLIENT else CLIENT
        largest = max((each.length for each in _frames(exchange, sender) if each.opcode < 8), default=0)
        values: dict[str, Any] = {"size": largest} if largest else {}
        yield hit(frame.span, blame=frame.span.side, code=1009, reason=_reason(frame), side=frame.span.side, **values)
        return
    # A server that reads a length beyond its limit does not wait for the message.
    if _cut_off(exchange):
        announced = [each for each in _frames(exchange, CLIENT) if each.opcode < 8 and each.length >= LARGE_MESSAGE]
        if announced and not announced[-1].complete:
            frame = announced[-1]
            head = Span(CLIENT, frame.span.start, frame.span.stop - min(len(frame.payload), frame.length))
            yield hit(head, variant="announced", certainty="likely", size=frame.length, side=CLIENT)


@rule("WS611", on=Exchange, blame="server", ref="RFC 6455 section 7.4.1 (1011)", masks=("abnormal-closure",))
def server_error_close(exchange: Exchange) -> Iterator[Hit]:
    """The server closes with 1011: an exception in the handler, or (by its reason) a ping that nobody answered."""
    for frame in _closes(exchange, 1011):
        if frame.span.side == SERVER and "ping" not in _reason(frame).lower():
            yield hit(frame.span, code=1011, reason=_reason(frame))
            return


@rule(
    "WS609",
    on=Exchange,
    certainty="likely",
    blame="proxy",
    ref="RFC 6455 section 5.5.2; nginx proxy_read_timeout",
    masks=("abnormal-closure",),
)
def idle_timeout(exchange: Exchange) -> Iterator[Hit]:
    """Somebody closed a connection that had been silent: no close frame, after a long time without a byte."""
    for frame in _closes(exchange, 1011):
        if "ping" in _reason(frame).lower():
            yield hit(
                frame.span,
                variant="ping",
                blame="client" if frame.span.side == SERVER else "server",
                reason=_reason(frame),
                code=1011,
            )
            return
    if not _cut_off(exchange):
        return
    transport = exchange.connection.transport
    idle = transport.idle if transport is not None else None
    if idle is not None and idle >= IDLE_TO_BELIEVE and exchange.connection.server.ending == "fin":
        yield hit(_end(exchange), seconds=round(idle, 1), **port_of(exchange))


def _cut_off(exchange: Exchange) -> bool:
    """True when, after a good 101, the server's side ended the connection and neither side sent a close frame.

    A client that goes without a close frame (a closed tab, a program that exits) is ordinary life.
    """
    connection = exchange.connection
    transport = connection.transport
    response = exchange.response
    if transport is None or transport.closer != SERVER or connection.server.ending not in ("fin", "reset"):
        return False
    if response is None or response.status != 101 or attempt(exchange) is None:
        return False
    if connection.client.gaps or connection.server.gaps:
        return False
    return not any(frame.opcode == 8 for frame in _frames(exchange))


def _client_messages(exchange: Exchange) -> int:
    """How many frames the client sent, kept or counted."""
    tally = exchange.connection.tally
    return tally.client_frames if tally is not None else sum(1 for _ in _frames(exchange, CLIENT))


def _end(exchange: Exchange) -> Span:
    size = len(exchange.connection.server.data)
    return Span(SERVER, size, size)


@rule(
    "WS610",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 7.1.5 (1006)",
    symptom=True,
    next_steps=("ask-server-log", "ask-lifetime"),
)
def abnormal_closure(exchange: Exchange) -> Iterator[Hit]:
    """The server's side ended the connection without a close frame."""
    if not _cut_off(exchange):
        return
    transport = exchange.connection.transport
    assert transport is not None
    idle = transport.idle
    reset = exchange.connection.server.ending == "reset"
    if idle is not None and idle < CRASH_WITHIN:
        candidates = ["server-error-close", "idle-timeout", "message-too-big"]
    else:
        candidates = ["idle-timeout", "server-error-close"]
    values: dict[str, Any] = {} if idle is None else {"seconds": round(idle, 1)}
    # Many servers end a connection they are done with by a bare FIN; the client then sees 1006, but nobody failed. Only
    # right after the client's first words is it what an exception in a handler looks like.
    certainty: Certainty = "certain" if reset else "possible"
    early = _client_messages(exchange) <= FIRST_WORDS and idle is not None and idle < CRASH_WITHIN
    yield hit(
        _end(exchange),
        certainty=certainty,
        severity=None if reset or early else "warning",
        variant="reset" if reset else "",
        candidates=tuple(candidates),
        **values,
        **port_of(exchange),
    )
