"""Faults of what stands between client and server; a proxy's own answers (502, 504) are in `response`."""

from collections.abc import Iterator

from wsdiag.model import CLIENT, Exchange, Hit, Request, Span, wants_upgrade
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import came_through_proxy, end_of_head, is_browser, port_of


def stripped_signs(request: Request) -> list[str]:
    """The header fields that a proxy must have dropped, since no client sends the others without them.

    `Sec-WebSocket-Key` with neither Upgrade nor Connection: upgrade is sent by no client, and no browser asks for an
    upgrade without a key. One of the two hop-by-hop fields alone may also be forgotten by a client of somebody's own
    making, so there a proxy's own header (or its `Connection: close`) has to show that it was one.
    """
    head = request.head
    if not head.complete or request.version.text == "HTTP/2":
        return []
    upgrade = "websocket" in head.tokens("upgrade")
    connection = "upgrade" in head.tokens("connection")
    if head.first("sec-websocket-key") is not None or head.first("sec-websocket-version") is not None:
        if not upgrade and not connection:
            return ["Upgrade", "Connection"]
        if upgrade and not connection and (came_through_proxy(request) or "close" in head.tokens("connection")):
            return ["Connection"]
        if connection and not upgrade and came_through_proxy(request):
            return ["Upgrade"]
        return []
    # A browser never leaves the key away: somebody on the way did.
    if upgrade and is_browser(request) and head.lacks("sec-websocket-key1") and head.first("origin") is not None:
        return ["Sec-WebSocket-Key"]
    return []


@rule(
    "WS701",
    on=Exchange,
    blame="proxy",
    ref="RFC 9110 section 7.6.1 and 7.8; nginx, WebSocket proxying",
    masks=(
        "request-missing-upgrade",
        "request-missing-connection",
        "request-missing-key",
        "request-http10",
        "response-400",
        "response-404",
        "response-426",
        "response-200",
        "response-unexpected-status",
        "plain-http-request",
        "closed-without-response",
        "response-5xx-upstream",
        "request-missing-version",
        "response-auth",
        "reset-after-request",
        "server-lacks-websocket",
        "no-response",
    ),
    forgiven=True,
)
def proxy_stripped_upgrade(exchange: Exchange) -> Iterator[Hit]:
    """The request that arrives has lost the headers which make it an upgrade."""
    request = exchange.request
    if request is None:
        return
    signs = stripped_signs(request)
    if not signs:
        return
    # A client of somebody's own making may forget both headers; one that came through a proxy, by a browser or a
    # library that is known to be right, did not.
    sure = (
        came_through_proxy(request)
        or request.version.text == "HTTP/1.0"
        or "close" in request.head.tokens("connection")
    )
    where = request.head.first("connection") or request.head.first("sec-websocket-key")
    span = where.value.span if where is not None else end_of_head(request)
    yield hit(
        span,
        Span(CLIENT, request.head.span.stop, request.head.span.stop),
        certainty="certain" if sure else "likely",
        header=", ".join(signs),
        value=request.head.value("connection"),
        version=request.version.text,
        **port_of(exchange),
    )


@rule(
    "WS702",
    on=Exchange,
    blame="client",
    ref="RFC 9110 section 9.3.6",
    masks=("response-auth", "response-5xx-upstream", "response-unexpected-status", "response-400", "response-404"),
)
def forward_proxy_failed(exchange: Exchange) -> Iterator[Hit]:
    """The client's own proxy refused CONNECT."""
    for index, request in enumerate(each for each in exchange.client if isinstance(each, Request)):
        if request.method.text != "CONNECT" or wants_upgrade(request) or index:
            continue
        response = exchange.response
        if response is not None and not 200 <= response.status < 300 and exchange.request is request:
            yield hit(
                response.span,
                Span(CLIENT, request.span.start, request.head.span.start),
                status=response.status,
                url=request.target.text,
            )
