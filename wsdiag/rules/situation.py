"""Questions about an exchange that several rules ask; what the answers mean is left to the rules.

Each answer is careful about evidence that is cut: a question like "was the server silent?" is answered yes only when
the whole of its silence was seen.
"""

from __future__ import annotations

from wsdiag.model import (
    CLIENT,
    SERVER,
    Element,
    Exchange,
    Foreign,
    ProxyHeader,
    Request,
    Response,
    Side,
    Span,
    Unknown,
    wants_upgrade,
)
from wsdiag.record import TYPE_CHECKING
from wsdiag.wire.handshake import accept_for

if TYPE_CHECKING:
    from typing import Any

PROXY_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "via",
    "forwarded",
    "x-amzn-trace-id",
    "cf-ray",
    "x-envoy-internal",
)
BROWSER_WORDS = ("Mozilla/", "Chrome/", "Firefox/", "Safari/")


def first_element(exchange: Exchange, side: Side) -> Element | None:
    """What that side said first, a PROXY header in front of it left aside; None when nothing, or not from the start."""
    if not exchange.connection.stream(side).from_start:
        return None
    for element in exchange.elements(side):
        if not isinstance(element, ProxyHeader):
            return element
    return None


def whole_server_silence(exchange: Exchange) -> bool:
    """True when the evidence shows that the server sent not a byte (not merely that none was seen)."""
    stream = exchange.connection.server
    transport = exchange.connection.transport
    if not stream.seen or stream.data or stream.total or stream.gaps or stream.ending == "cut":
        return False
    return transport is not None and not transport.one_way and transport.opening in ("established", "middle")


def server_ended(exchange: Exchange) -> str:
    """How the server (or what stands in its place) ended the connection by itself: "fin", "reset" or ""."""
    transport = exchange.connection.transport
    ending = exchange.connection.server.ending
    if transport is None or transport.closer != SERVER or ending not in ("fin", "reset"):
        return ""
    return ending


# What identify calls text that belongs to no protocol it knows.
LOOSE_TEXT = frozenset({"text", "json", "html"})


def alone_in_hex(exchange: Exchange) -> bool:
    """True for plain hexadecimal with nothing around it that tells who printed it, and why."""
    connection = exchange.connection
    return connection.kind == "dump" and connection.notation == "hex" and not connection.server.seen


def is_loose_text(element: Element | None) -> bool:
    """True for readable bytes that are no protocol: a line of text, JSON, a warning; the peer may be anything."""
    return isinstance(element, Unknown) or (isinstance(element, Foreign) and element.protocol in LOOSE_TEXT)


def attempt(exchange: Exchange) -> Request | None:
    """The request, if it asks for a WebSocket in any way."""
    request = exchange.request
    return request if request is not None and wants_upgrade(request) else None


def accepted(exchange: Exchange) -> bool:
    """True for a 101 whose Sec-WebSocket-Accept is right, or cannot be checked as the request was not seen.

    Inside HTTP/2 it is a 200.
    """
    response = exchange.response
    if response is not None and response.version.text == "HTTP/2":
        return response.status == 200 and attempt(exchange) is not None  # RFC 8441 section 5: no key, no accept
    if response is None or response.status != 101:
        return False
    accept = response.head.value("sec-websocket-accept")
    request = exchange.request
    key = request.head.value("sec-websocket-key") if request is not None else ""
    if not accept:
        return False
    return not key or accept == accept_for(key)


def is_browser(request: Request) -> bool:
    """True when the request's User-Agent is a browser's."""
    agent = request.head.value("user-agent")
    return any(word in agent for word in BROWSER_WORDS)


def came_through_proxy(request: Request) -> bool:
    """True when a header shows that a proxy handed the request on."""
    return any(request.head.first(name) is not None for name in PROXY_HEADERS)


def answered_by(response: Response | None) -> str:
    """The Server header of the answer, or the empty string."""
    return response.head.value("server") if response is not None else ""


def foreign_origin(request: Request) -> bool:
    """True when Origin's host and port are not the ones in Host."""
    origin = request.head.value("origin").partition("://")[2].rstrip("/").lower()
    host = request.head.value("host").lower()
    return bool(origin) and bool(host) and origin != host


def whole(span_side: Side, exchange: Exchange) -> Span:
    """The span of all bytes of that side."""
    return Span(span_side, 0, len(exchange.connection.stream(span_side).data))


def end_of_head(request: Request) -> Span:
    """The empty place at the end of the head, where a missing header should stand."""
    return Span(CLIENT if request.span.side == CLIENT else SERVER, request.head.span.stop, request.head.span.stop)


def port_of(exchange: Exchange) -> dict[str, Any]:
    """The server's port and host as values for the words, as far as they are known."""
    endpoint = exchange.connection.server_endpoint
    if endpoint is not None:
        return {"port": endpoint.port, "host": endpoint.host}
    request = exchange.request
    host = request.head.value("host") if request is not None else ""
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return {"port": int(port), "host": name}
    return {"host": host} if host else {}
