"""Causes in which the two sides do not speak the same protocol at all; faults inside a handshake are in `request` and
`response`.
"""

from collections.abc import Iterator

from wsdiag.model import (
    CLIENT,
    SERVER,
    ClientHello,
    Exchange,
    Foreign,
    Hit,
    Http2Preface,
    Request,
    Response,
    Span,
    Unknown,
    wants_upgrade,
)
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.evidence import first_text, is_health_check, is_noise_path
from wsdiag.rules.situation import (
    alone_in_hex,
    answered_by,
    attempt,
    first_element,
    is_loose_text,
    port_of,
    server_ended,
    whole_server_silence,
)


@rule(
    "WS201",
    on=Exchange,
    certainty="possible",
    blame="server",
    ref="Workerman manual, Worker::__construct; RFC 6455 section 4.2.1",
    masks=(
        "closed-without-response",
        "server-error-close",
        "abnormal-closure",
        "no-response",
        "reset-after-request",
        "correct-request",
        "response-5xx-upstream",
        "listener-wrong-protocol",
    ),
)
def listener_ws_scheme(exchange: Exchange) -> Iterator[Hit]:
    """Bytes alone, in the very form in which Workerman prints what reached such a listener: a first thing to check.

    Nothing in the bytes says so (a log line does, by the signature tables), and nothing of this is an accusation.
    """
    first = first_element(exchange, CLIENT)
    opening = isinstance(first, (ClientHello, Foreign, Http2Preface, Request)) and not is_loose_text(first)
    if alone_in_hex(exchange) and opening and attempt(exchange) is None:
        yield hit(
            Span(CLIENT, 0, 0), next_steps=("ask-server-log",), framework="workerman", scheme="ws", **port_of(exchange)
        )


@rule(
    "WS202",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.2",
    masks=(
        "response-200",
        "response-not-http",
        "closed-without-response",
        "response-404",
        "response-garbage-before",
        "frames-before-handshake",
    ),
)
def listener_wrong_protocol(exchange: Exchange) -> Iterator[Hit]:
    """The server's own first bytes name another protocol, or a plain Workerman http:// listener answers 200 OK."""
    spoken = first_element(exchange, SERVER)
    asked = exchange.request
    if isinstance(spoken, Foreign) and not is_loose_text(spoken) and (asked is not None or not exchange.client):
        detail = spoken.detail or first_text(exchange, spoken)
        yield hit(spoken.span, protocol=spoken.protocol, detail=detail, **port_of(exchange))
        return
    response = exchange.response
    request = attempt(exchange)
    if request is None or response is None:
        return
    server = answered_by(response)
    # Workerman's websocket:// listener says "200 WebSocket" (up to 4.0.x/4.1.15) where its http:// one says "200 OK".
    if response.status == 200 and server.lower().startswith("workerman") and response.reason.text == "OK":
        if b"<h1>WebSocket</h1>" not in response.content:
            start = response.span
            yield hit(
                Span(SERVER, start.start, response.head.span.start),
                variant="http",
                framework="workerman",
                server=server,
                scheme="http",
                protocol="http",
                **port_of(exchange),
            )


declare("client-websocket-scheme", "WS203", blame="client", ref="RFC 6455 section 3", masks=("connection-refused",))
declare("client-bad-url", "WS204", blame="client", ref="RFC 6455 section 3", masks=("dns-failure",))


@rule(
    "WS205",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 4.1",
    masks=(
        "response-400",
        "response-200",
        "response-426",
        "closed-without-response",
        "reset-after-request",
        "no-response",
        "response-unexpected-status",
    ),
)
def not_a_websocket_client(exchange: Exchange) -> Iterator[Hit]:
    """The peer speaks another protocol, or plain text, where a WebSocket request is expected."""
    first = first_element(exchange, CLIENT)
    if isinstance(first, Foreign) and first.protocol != "flash-policy" and not is_loose_text(first):
        sure = exchange.connection.kind == "capture" or exchange.connection.server.seen
        yield hit(
            first.span,
            certainty="certain" if sure else "likely",
            protocol=first.protocol,
            detail=first.detail or first_text(exchange, first),
            **port_of(exchange),
        )
    elif first is None and _left_silently(exchange):
        yield hit(Span(CLIENT, 0, 0), variant="nothing-sent", certainty="possible", **port_of(exchange))
    elif (
        is_loose_text(first)
        and exchange.connection.kind == "capture"
        and not exchange.connection.client.gaps
        and exchange.connection.client.ending != "cut"
        and _server_refused(exchange)
    ):
        assert isinstance(first, (Foreign, Unknown))
        yield hit(
            first.span, variant="unknown", certainty="likely", detail=first_text(exchange, first), **port_of(exchange)
        )


def _left_silently(exchange: Exchange) -> bool:
    """True when the client connected and left without a byte: a health check, a scan, an unused pre-connection."""
    connection = exchange.connection
    transport = connection.transport
    if transport is None or transport.opening != "established" or transport.closer != CLIENT:
        return False
    return not connection.client.data and not connection.client.total and whole_server_silence(exchange)


def _server_refused(exchange: Exchange) -> bool:
    response = next((each for each in exchange.server if isinstance(each, Response)), None)
    if response is not None:
        return response.status >= 400 or (response.status == 200 and response.reason.text.lower() == "websocket")
    return bool(server_ended(exchange)) or whole_server_silence(exchange)


@rule(
    "WS206",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 4.2.1",
    masks=(
        "response-426",
        "response-400",
        "response-200",
        "closed-without-response",
        "reset-after-request",
        "no-response",
        "request-http10",
        "response-404",
        "client-closed-early",
    ),
)
def plain_http_request(exchange: Exchange) -> Iterator[Hit]:
    """An ordinary request (a tab, curl, a health check) that the listener refused, since it is none of a WebSocket's.

    An ordinary request that is answered like a page is ordinary traffic and none of our business.
    """
    request = exchange.request
    connection = exchange.connection
    if request is None or wants_upgrade(request) or not request.head.complete or request.flaws:
        return
    if (
        request.head.first("upgrade") is not None
        or "/socket.io/" in request.target.text
        or request.method.text == "CONNECT"
    ):
        return
    if _looks_stripped(request) or is_noise_path(request.target.text):
        return
    response = exchange.response
    agent = request.head.value("user-agent")
    variant = "health-check" if is_health_check(agent) or request.method.text == "HEAD" else ""
    values = {"method": request.method.text, "path": request.target.text, **port_of(exchange)}
    where = Span(CLIENT, request.span.start, request.head.span.start)
    if response is not None:
        refused = response.status in (400, 426) or (
            response.status == 200 and response.reason.text.lower() == "websocket"
        )
        if refused:
            server = answered_by(response)
            yield hit(where, variant=variant, status=response.status, server=server, **values)
    elif connection.kind == "dump" and not connection.server.seen:
        yield hit(where, variant=variant, certainty="likely", **values)
    elif connection.kind == "capture" and whole_server_silence(exchange) and server_ended(exchange):
        yield hit(where, variant=variant, certainty="possible", **values)


def _looks_stripped(request: Request) -> bool:
    """HTTP/1.0 or Connection: close with a proxy's own headers: a proxy may have dropped the upgrade on the way."""
    from wsdiag.rules.proxy import stripped_signs

    return bool(stripped_signs(request))


@rule(
    "WS217",
    on=Exchange,
    certainty="likely",
    blame="server",
    ref="ASGI specification, WebSocket; PEP 3333",
    masks=("response-404", "response-200", "wrong-path", "response-unexpected-status", "response-auth"),
)
def server_lacks_websocket(exchange: Exchange) -> Iterator[Hit]:
    """A perfect request answered as a page by a server that, with WebSocket support, would answer otherwise."""
    request, response = attempt(exchange), exchange.response
    if request is None or response is None or "websocket" not in request.head.tokens("upgrade"):
        return
    if "upgrade" not in request.head.tokens("connection") or response.status not in (200, 404, 204):
        return
    server = answered_by(response)
    where = Span(SERVER, response.span.start, response.head.span.start)
    # uvicorn refuses an unknown WebSocket route with 403; a 404 means that it took the request for plain HTTP.
    if server == "uvicorn" and response.status == 404:
        yield hit(where, variant="uvicorn", server=server, status=404, program="uvicorn")
    elif server.startswith("WSGIServer/"):
        yield hit(where, variant="django", server=server, status=response.status, program="django")
    elif server.startswith("Microsoft-IIS") and response.status in (200, 204):
        yield hit(where, variant="iis", certainty="possible", server=server, status=response.status, program="iis")
