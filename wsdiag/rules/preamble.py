"""What stands in front of a handshake, or instead of it: an HTTP/2 preface, a PROXY header, frames, older drafts.

Other protocols at the wrong door are in `listener`.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import (
    CLIENT,
    SERVER,
    Exchange,
    Foreign,
    Frame,
    Hit,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Request,
    Response,
    Span,
    Unknown,
)
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import (
    attempt,
    first_element,
    port_of,
    whole_server_silence,
)

if TYPE_CHECKING:
    from typing import Any


@rule(
    "WS210",
    on=Exchange,
    blame="client",
    ref="RFC 9113 section 3.4; RFC 8441",
    masks=(
        "response-400",
        "closed-without-response",
        "reset-after-request",
        "response-5xx-upstream",
        "no-response",
        "request-malformed",
        "response-not-http",
        "response-unexpected-status",
        "response-200",
        "abnormal-closure",
        "not-a-websocket-client",
    ),
)
def http2_to_http1(exchange: Exchange) -> Iterator[Hit]:
    """The preface of HTTP/2 at a server that does not answer in HTTP/2, or the reverse."""
    first = first_element(exchange, CLIENT)
    spoken = first_element(exchange, SERVER)
    if isinstance(first, Http2Preface) and not isinstance(spoken, Http2Frames):
        if isinstance(spoken, (Response, Unknown, Foreign)):
            yield hit(first.span, Span(SERVER, spoken.span.start, min(spoken.span.stop, 64)), **port_of(exchange))
        elif not exchange.connection.server.seen:
            yield hit(first.span, certainty="likely", **port_of(exchange))
        elif whole_server_silence(exchange) and exchange.connection.server.ending in ("fin", "reset"):
            yield hit(first.span, variant="closed", certainty="likely", **port_of(exchange))
    elif isinstance(spoken, Http2Frames) and isinstance(first, Request):
        yield hit(Span(CLIENT, 0, first.head.span.start), spoken.span, variant="server-h2", **port_of(exchange))


@rule(
    "WS211",
    on=ProxyHeader,
    blame="proxy",
    ref="The PROXY protocol, versions 1 and 2, section 2",
    masks=(
        "response-400",
        "closed-without-response",
        "reset-after-request",
        "response-5xx-upstream",
        "no-response",
        "request-malformed",
        "response-200",
        "response-426",
        "plain-http-request",
        "not-a-websocket-client",
        "response-unexpected-status",
        "response-not-http",
    ),
    forgiven=True,
)
def proxy_protocol_header(header: ProxyHeader) -> Iterator[Hit]:
    """A PROXY header in front of the request; where the server expects one, the handshake succeeds: forgiven."""
    values: dict[str, Any] = {"version": header.version, "protocol": f"PROXY v{header.version}"}
    if header.source is not None:
        values["ip"] = header.source.host
    yield hit(header.span, **values)


@rule(
    "WS212",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 4.1",
    masks=(
        "closed-without-response",
        "reset-after-request",
        "response-400",
        "response-200",
        "unmasked-client-frame",
        "response-not-http",
        "no-response",
        "response-unexpected-status",
        "response-426",
    ),
)
def frames_before_handshake(exchange: Exchange) -> Iterator[Hit]:
    """Frames where a request (or the 101) should be; only where the start of the connection was seen."""
    transport = exchange.connection.transport
    opened = transport is not None and transport.opening == "established"
    first = first_element(exchange, CLIENT)
    if exchange.request is not None and exchange.request.version.text == "HTTP/2":
        return  # frames run inside streams there, and the 200 that opens them is checked elsewhere
    if isinstance(first, Frame) and opened:
        if not any(isinstance(each, Response) and each.status == 101 for each in exchange.server):
            yield hit(first.span, variant="client", **port_of(exchange))
            return
    if attempt(exchange) is None:
        return
    spoken = first_element(exchange, SERVER)
    if isinstance(spoken, Frame):
        yield hit(spoken.span, variant="server", blame="server", **port_of(exchange))
    early = _early_frame(exchange)
    if early is not None:
        yield hit(early.span, variant="client-early", **port_of(exchange))


def _early_frame(exchange: Exchange) -> Frame | None:
    """A frame of the client's that was sent in a packet before the 101's (only packets tell), or with no 101 at all."""
    response = exchange.response
    client, server = exchange.connection.client, exchange.connection.server
    for element in exchange.client:
        if not isinstance(element, Frame):
            continue
        if response is None:
            seen = bool(exchange.server) and server.ending != "cut"
            return element if seen or whole_server_silence(exchange) else None
        if response.status != 101:
            return element
        sent, answered = client.origin_at(element.span.start), server.origin_at(response.span.start)
        if (
            sent
            and answered
            and sent.packet is not None
            and answered.packet is not None
            and sent.packet < answered.packet
        ):
            return element
        return None
    return None


@rule(
    "WS213",
    on=Request,
    blame="client",
    ref="draft-ietf-hybi-thewebsocketprotocol-00",
    masks=(
        "request-missing-key",
        "request-missing-version",
        "response-426",
        "response-400",
        "request-bad-key",
        "response-200",
        "closed-without-response",
        "no-response",
    ),
)
def hixie_handshake(request: Request) -> Iterator[Hit]:
    """The drafts before the RFC: two numbered keys, or Upgrade: WebSocket with neither key nor version."""
    for name in ("sec-websocket-key1", "sec-websocket-key2", "sec-websocket-draft"):
        header = request.head.first(name)
        if header is not None:
            yield hit(Span(CLIENT, header.name.span.start, header.value.span.stop), header=header.name.text)
            return
    upgrade = request.head.first("upgrade")
    if upgrade is not None and upgrade.value.text == "WebSocket" and request.head.lacks("sec-websocket-key"):
        if request.head.lacks("sec-websocket-version") and request.head.first("origin") is not None:
            yield hit(upgrade.value.span, header="Upgrade", certainty="likely")


@rule(
    "WS214",
    on=Foreign,
    blame="client",
    ref="Adobe Flash Player, socket policy files",
    masks=("response-400", "closed-without-response", "not-a-websocket-client", "response-200", "no-response"),
)
def flash_policy_request(element: Foreign) -> Iterator[Hit]:
    """`<policy-file-request/>` in front of (or instead of) a handshake."""
    if element.protocol == "flash-policy" and element.span.side == CLIENT:
        yield hit(element.span)
