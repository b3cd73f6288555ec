"""Causes of Socket.IO and its transport Engine.IO; the plain handshake below them is in `request` and `response`."""

from collections.abc import Iterator

from wsdiag.model import (
    SERVER,
    Certainty,
    Exchange,
    Frame,
    Hit,
    Span,
)
from wsdiag.pattern import pattern
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import (
    accepted,
    answered_by,
    port_of,
)

_OLD_PACKET = pattern(rb'\d{1,6}:0\{"sid"')


ENGINE_IO_ERRORS = {b'"code":0': "transport", b'"code":3': "bad-request", b'"code":5': "version"}


@rule(
    "WS215",
    on=Exchange,
    blame="client",
    ref="Engine.IO protocol, revision 4; Socket.IO documentation, client and server compatibility",
    masks=(
        "response-400",
        "response-404",
        "response-426",
        "response-200",
        "closed-without-response",
        "no-response",
        "plain-http-request",
        "response-unexpected-status",
        "request-missing-upgrade",
        "wrong-path",
    ),
)
def socketio_mismatch(exchange: Exchange) -> Iterator[Hit]:
    """A Socket.IO client at a server that is none, versions that differ, or a plain client at an Engine.IO server."""
    request, response = exchange.request, exchange.response
    target = request.target.text if request is not None else ""
    speaks = "EIO=" in target and "transport=" in target
    if speaks and request is not None and response is not None and response.status >= 400:
        version = target.partition("EIO=")[2][:1]
        body = response.content.replace(b" ", b"")
        where = request.target.span
        for needle, variant in ENGINE_IO_ERRORS.items():
            if needle in body and b'"message"' in body:
                yield hit(
                    where,
                    response.body or response.span,
                    variant=variant,
                    version=version,
                    status=response.status,
                    **port_of(exchange),
                )
                return
        if response.status < 500 and response.status not in (401, 403, 407, 429) and b'"code":1' not in body:
            certainty: Certainty = "likely" if response.status in (400, 426) else "possible"
            yield hit(
                where,
                Span(SERVER, response.span.start, response.head.span.start),
                variant="plain-server",
                certainty=certainty,
                version=version,
                status=response.status,
                server=answered_by(response),
                **port_of(exchange),
            )
    if speaks and request is not None and response is not None and response.status == 200:
        # Engine.IO 3 (Socket.IO 2) puts the length in front of each packet: 96:0{"sid":…
        older = _OLD_PACKET.match(response.content) is not None
        if older and "EIO=4" in target:
            yield hit(request.target.span, response.body or response.span, variant="version", version="4", got="3",
                      **port_of(exchange))  # fmt: skip
    if not speaks and request is not None and accepted(exchange):
        for frame in exchange.server:
            if isinstance(frame, Frame):
                if frame.opcode == 1 and frame.payload.startswith(b'0{"sid"'):
                    yield hit(frame.span, variant="plain-client", **port_of(exchange))
                return


@rule(
    "WS216",
    on=Exchange,
    blame="server",
    ref="Socket.IO documentation, using multiple nodes",
    masks=("response-400", "socketio-mismatch", "plain-http-request"),
)
def socketio_sticky_session(exchange: Exchange) -> Iterator[Hit]:
    """Engine.IO answers "Session ID unknown": the session lives in another worker."""
    request, response = exchange.request, exchange.response
    if request is None or response is None or "EIO=" not in request.target.text or response.status != 400:
        return
    if b'"code":1' in response.content.replace(b" ", b""):
        yield hit(request.target.span, response.body or response.span, **port_of(exchange))
