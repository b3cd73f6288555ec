"""Answers that are no 101 at all: statuses that are only symptoms of something else, and bytes that are no HTTP.

Faults of a 101 are in `response`.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import SERVER, Exchange, Foreign, Hit, Response, Span, Unknown, wants_upgrade
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import hit, rule
from wsdiag.rules.evidence import first_text
from wsdiag.rules.situation import (
    accepted,
    answered_by,
    attempt,
    first_element,
    foreign_origin,
    is_loose_text,
    port_of,
)
from wsdiag.rules.status import cause_of_status

if TYPE_CHECKING:
    from typing import Any

LOGIN_WORDS = ("login", "signin", "sign_in", "sso", "oauth", "auth")


def refused(exchange: Exchange, cause: str) -> tuple[Span, Response] | None:
    """The response and its status line, when the answer to an upgrade is of that cause; None otherwise.

    Where no request was seen the response speaks for itself only if something in it is of a handshake, or if a person
    quoted it: an ordinary page in a capture is none of our business.
    """
    response = exchange.response
    if response is None or cause_of_status(response.status) != cause or accepted(exchange):
        return None
    request = exchange.request
    if request is not None:
        if not wants_upgrade(request):
            return None
    elif exchange.connection.kind == "capture" and response.head.first("sec-websocket-version") is None:
        return None
    return Span(SERVER, response.span.start, response.head.span.start), response


def _values(exchange: Exchange, response: Response) -> dict[str, Any]:
    values: dict[str, Any] = {"status": response.status, **port_of(exchange)}
    if response.reason.text:
        values["reason"] = response.reason.text
    if answered_by(response):
        values["server"] = answered_by(response)
    request = exchange.request
    if request is not None:
        values["path"] = request.target.text
    return values


@rule(
    "WS420",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.2.2",
    symptom=True,
    candidates=("proxy-stripped-upgrade", "wrong-path", "listener-wrong-protocol", "server-lacks-websocket"),
    next_steps=("curl-upgrade", "ask-proxy"),
)
def response_200(exchange: Exchange) -> Iterator[Hit]:
    """A page where the 101 should be: the request never reached a WebSocket handler."""
    found = refused(exchange, "response-200")
    if found:
        where, response = found
        candidates: tuple[str, ...] = ()
        if response.reason.text.lower() == "websocket":
            # Workerman's right listener, which did not find a key in what reached it.
            candidates = ("proxy-stripped-upgrade", "proxy-protocol-header", "request-missing-key")
        yield hit(where, candidates=candidates, **_values(exchange, response))


@rule(
    "WS430",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.2.2; RFC 9110 section 15.4",
    symptom=True,
    next_steps=("use-redirect-target",),
)
def response_redirect(exchange: Exchange) -> Iterator[Hit]:
    """A redirect, which no browser follows for a WebSocket."""
    found = refused(exchange, "response-redirect")
    if not found:
        return
    where, response = found
    location = response.head.first("location")
    target = location.value.text if location is not None else ""
    lower = target.lower()
    variant = ""
    if lower.startswith(("https://", "wss://")):
        variant = "to-https"
    elif any(word in lower for word in LOGIN_WORDS):
        variant = "login"
    elif (
        target
        and exchange.request is not None
        and target.split("?")[0].rstrip("/").endswith(exchange.request.target.text.split("?")[0].rstrip("/"))
    ):
        variant = "slash"
    values = _values(exchange, response)
    if target:
        values["url"] = target
    places = (where, location.value.span) if location is not None else (where,)
    # The redirect itself says what is wrong; nothing has to be guessed.
    yield hit(*places, variant=variant, candidates=() if variant else ("wrong-path",), **values)


@rule(
    "WS400",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.2.2",
    symptom=True,
    candidates=(
        "proxy-stripped-upgrade",
        "socketio-mismatch",
        "origin-rejected",
        "wrong-path",
        "plaintext-to-tls",
        "request-bad-key",
    ),
    next_steps=("curl-upgrade", "ask-server-log"),
)
def response_400(exchange: Exchange) -> Iterator[Hit]:
    """The server found fault with the request and does not say with what."""
    found = refused(exchange, "response-400")
    if found:
        where, response = found
        candidates = [
            "proxy-stripped-upgrade",
            "origin-rejected",
            "wrong-path",
            "socketio-mismatch",
            "plaintext-to-tls",
        ]
        request = exchange.request
        if request is not None and "EIO=" in request.target.text:
            candidates = ["socketio-mismatch", "socketio-sticky-session", "origin-rejected"]
        yield hit(where, candidates=tuple(candidates), **_values(exchange, response))


@rule(
    "WS401",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 4.2.2; RFC 9110 section 15.5",
    symptom=True,
    candidates=("origin-rejected", "wrong-path"),
    next_steps=("ask-server-log", "curl-upgrade"),
)
def response_auth(exchange: Exchange) -> Iterator[Hit]:
    """401, 403 or 407: who you are, where you come from, or simply where you knock."""
    found = refused(exchange, "response-auth")
    if not found:
        return
    where, response = found
    values = _values(exchange, response)
    server = answered_by(response).lower()
    if response.status == 407:
        yield hit(where, variant="proxy", candidates=("forward-proxy-failed",), **values)
    elif response.status == 401:
        yield hit(where, variant="401", **values)
    elif "uvicorn" in server or "hypercorn" in server or "daphne" in server:
        # These answer 403 to every WebSocket that the application does not accept, an unknown route first of all.
        yield hit(
            where, variant="asgi-403", candidates=("wrong-path", "origin-rejected", "server-error-close"), **values
        )
    else:
        variant = "cloudflare" if server == "cloudflare" else ""
        # A page of another host (or port) is the usual reason for 403; without an Origin there is none to refuse.
        foreign = exchange.request is not None and foreign_origin(exchange.request)
        candidates = ("origin-rejected", "wrong-path") if foreign else ("wrong-path", "origin-rejected")
        yield hit(where, variant=variant, candidates=candidates, **values)


@rule(
    "WS404",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 4.2.2",
    symptom=True,
    candidates=("wrong-path", "server-lacks-websocket", "proxy-stripped-upgrade", "origin-rejected"),
    next_steps=("ask-server-routes", "ask-proxy"),
)
def response_404(exchange: Exchange) -> Iterator[Hit]:
    """Nothing lives at that path: for the server, or for the proxy in front of it."""
    found = refused(exchange, "response-404")
    if found:
        where, response = found
        request = exchange.request
        places = (where, request.target.span) if request is not None else (where,)
        yield hit(*places, **_values(exchange, response))


@rule(
    "WS426",
    on=Exchange,
    blame="client",
    ref="RFC 9110 section 15.5.22",
    symptom=True,
    candidates=("proxy-stripped-upgrade", "plain-http-request", "request-unsupported-version"),
    next_steps=("ask-proxy", "curl-upgrade"),
)
def response_426(exchange: Exchange) -> Iterator[Hit]:
    """The server is a WebSocket's, and what reached it was no upgrade."""
    found = refused(exchange, "response-426")
    if found:
        yield hit(found[0], **_values(exchange, found[1]))


@rule("WS429", on=Exchange, blame="client", ref="RFC 6585 section 4", symptom=True, next_steps=("ask-rate-limit",))
def response_429(exchange: Exchange) -> Iterator[Hit]:
    """Too many requests or connections."""
    found = refused(exchange, "response-429")
    if found:
        yield hit(found[0], **_values(exchange, found[1]))


# What each gateway status says about the hop behind it (nginx, HAProxy; 52x are Cloudflare's own).
GATEWAY_VARIANTS = {
    500: "500",
    502: "502",
    503: "503",
    504: "504",
    520: "cloudflare-520",
    521: "cloudflare-521",
    522: "cloudflare-522",
    523: "cloudflare-523",
    524: "cloudflare-524",
    525: "cloudflare-525",
    526: "cloudflare-526",
}


GATEWAY_CANDIDATES: dict[int, tuple[str, ...]] = {
    500: ("server-error-close", "wrong-path"),
    502: ("connection-refused", "listener-ws-scheme", "closed-without-response", "tls-to-plaintext"),
    503: ("connection-refused", "handler-never-accepts"),
    504: ("no-response", "handler-never-accepts", "connect-timeout"),
    521: ("connection-refused",),
    522: ("connect-timeout",),
    524: ("no-response",),
    525: ("tls-handshake-failed", "tls-to-plaintext"),
    526: ("tls-handshake-failed",),
}


@rule(
    "WS450",
    on=Exchange,
    blame="proxy",
    ref="RFC 9110 section 15.6",
    masks=("connection-refused", "connect-timeout"),
    symptom=True,
    candidates=("connection-refused", "server-error-close", "closed-without-response", "tls-to-plaintext"),
    next_steps=("ask-proxy-log", "ask-server-log"),
)
def response_5xx_upstream(exchange: Exchange) -> Iterator[Hit]:
    """A proxy could not reach or understand the server behind it, or the server's own handler failed."""
    found = refused(exchange, "response-5xx-upstream")
    if found:
        where, response = found
        yield hit(
            where,
            variant=GATEWAY_VARIANTS.get(response.status, ""),
            candidates=GATEWAY_CANDIDATES.get(response.status, ("connection-refused",)),
            **_values(exchange, response),
        )


@rule(
    "WS409",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.2.2",
    symptom=True,
    candidates=("wrong-path", "proxy-stripped-upgrade", "server-lacks-websocket"),
    next_steps=("curl-upgrade",),
)
def response_unexpected_status(exchange: Exchange) -> Iterator[Hit]:
    """Any other status than 101."""
    found = refused(exchange, "response-unexpected-status")
    if found:
        yield hit(found[0], **_values(exchange, found[1]))


@rule(
    "WS418",
    on=Exchange,
    blame="server",
    ref="RFC 9112 section 4",
    symptom=True,
    candidates=("listener-wrong-protocol", "response-garbage-before"),
    next_steps=("ask-what-listens",),
)
def response_not_http(exchange: Exchange) -> Iterator[Hit]:
    """An upgrade request is answered by something that is not HTTP."""
    if attempt(exchange) is None or any(isinstance(each, Response) for each in exchange.server):
        return
    first = first_element(exchange, SERVER)
    if not is_loose_text(first):
        return
    assert isinstance(first, (Foreign, Unknown))
    # A few bytes that were cut may be the beginning of anything, of "HTTP/" as well.
    if exchange.connection.server.ending != "cut" or first.span.stop - first.span.start >= len("HTTP/1.1 "):
        yield hit(first.span, detail=first_text(exchange, first), **port_of(exchange))
