"""Faults of the server's answer, and the statuses that are only symptoms of something else."""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import SERVER, Blame, Certainty, Exchange, Foreign, Frame, Hit, Response, Span, Unknown, wants_upgrade
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.evidence import first_text
from wsdiag.rules.situation import (
    accepted,
    answered_by,
    attempt,
    came_through_proxy,
    first_element,
    foreign_origin,
    is_loose_text,
    port_of,
)
from wsdiag.rules.status import cause_of_status
from wsdiag.wire.handshake import SAMPLE_ACCEPT, SAMPLE_KEY, accept_for, agreed_extensions, extensions

if TYPE_CHECKING:
    from typing import Any

# A client that gets a wrong 101 closes at once; what the close looks like is then only a consequence.
AFTER_101 = ("abnormal-closure", "idle-timeout", "server-error-close", "client-closed-early")
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


def _switching(exchange: Exchange) -> Response | None:
    """The 101 of a WebSocket handshake: to a request that asked for it, or, without a request, one that shows it."""
    response, request = exchange.response, exchange.request
    if response is None or response.status != 101:
        return None
    if request is not None:
        return response if wants_upgrade(request) else None
    shows = response.head.first("sec-websocket-accept") is not None or "websocket" in response.head.tokens("upgrade")
    return response if shows else None


@rule("WS410", on=Exchange, blame="server", ref="RFC 6455 section 4.2.2 (5.4)", masks=AFTER_101)
def response_bad_accept(exchange: Exchange) -> Iterator[Hit]:
    """Sec-WebSocket-Accept is not what the key demands: base64(SHA-1(key + GUID))."""
    response, request = _switching(exchange), exchange.request
    if response is None or request is None:
        return
    keys, accepts = request.head.all("sec-websocket-key"), response.head.all("sec-websocket-accept")
    if len(keys) != 1 or not accepts:
        return
    key, got = keys[0].value.text, accepts[0].value.text
    expected = accept_for(key)
    if got == expected or (not request.head.complete and keys[0].value.span.stop == request.head.span.stop):
        return
    variant = ""
    if got == SAMPLE_ACCEPT and key != SAMPLE_KEY:
        variant = "sample"  # the sample of RFC 6455 was copied into the server, or a stored answer is replayed
    yield hit(accepts[0].value.span, keys[0].value.span, variant=variant, key=key, got=got, expected=expected)


@rule("WS411", on=Exchange, blame="server", ref="RFC 6455 section 4.2.2 (5.4)", masks=AFTER_101)
def response_missing_accept(exchange: Exchange) -> Iterator[Hit]:
    """A 101 without Sec-WebSocket-Accept."""
    response = _switching(exchange)
    if response is None:
        return
    header = response.head.first("sec-websocket-accept")
    request = exchange.request
    key = request.head.value("sec-websocket-key") if request is not None else ""
    values: dict[str, Any] = {"expected": accept_for(key)} if key else {}
    if header is None and response.head.lacks("sec-websocket-accept") and response.head.lacks("sec-websocket-location"):
        end = response.head.span.stop
        yield hit(Span(SERVER, end, end), header="Sec-WebSocket-Accept", **values)
    elif header is not None and not header.value.text and response.head.complete:
        yield hit(header.value.span, header="Sec-WebSocket-Accept", **values)


@rule("WS412", on=Exchange, blame="server", ref="RFC 6455 section 4.2.2 (5.2)", masks=AFTER_101)
def response_missing_upgrade(exchange: Exchange) -> Iterator[Hit]:
    """A 101 without `Upgrade: websocket`."""
    response = _switching(exchange)
    if response is None or not response.head.complete:
        return
    header = response.head.first("upgrade")
    if header is None:
        end = response.head.span.stop
        yield hit(Span(SERVER, end, end), header="Upgrade")
    elif "websocket" not in response.head.tokens("upgrade"):
        yield hit(header.value.span, variant="wrong-value", header="Upgrade", value=header.value.text)


@rule("WS421", on=Exchange, blame="server", ref="RFC 6455 section 4.2.2 (5.3)", masks=AFTER_101)
def response_missing_connection(exchange: Exchange) -> Iterator[Hit]:
    """A 101 without `Connection: Upgrade`."""
    response = _switching(exchange)
    if response is None or not response.head.complete or "upgrade" in response.head.tokens("connection"):
        return
    header = response.head.first("connection")
    if header is None:
        end = response.head.span.stop
        yield hit(Span(SERVER, end, end), header="Connection")
    else:
        yield hit(header.value.span, variant="wrong-value", header="Connection", value=header.value.text)


@rule("WS413", on=Exchange, blame="server", ref="RFC 6455 section 11.3.3", masks=AFTER_101)
def response_duplicate_header(exchange: Exchange) -> Iterator[Hit]:
    """A header that must stand once in the 101 stands twice (often once by the server and once by a proxy)."""
    response = _switching(exchange)
    if response is None:
        return
    for name in ("sec-websocket-accept", "sec-websocket-protocol", "upgrade"):
        headers = response.head.all(name)
        if len(headers) > 1:
            yield hit(*(each.value.span for each in headers), header=headers[0].name.text, count=len(headers))


@rule("WS414", on=Exchange, blame="server", ref="RFC 6455 section 4.1", masks=AFTER_101)
def response_unrequested_subprotocol(exchange: Exchange) -> Iterator[Hit]:
    """The 101 names a subprotocol though none was offered."""
    response, request = _switching(exchange), attempt(exchange)
    if response is None or request is None or not request.head.lacks("sec-websocket-protocol"):
        return
    header = response.head.first("sec-websocket-protocol")
    if header is not None and header.value.text:
        yield hit(header.value.span, subprotocol=header.value.text)


@rule(
    "WS415",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.1; RFC 7692 section 5",
    masks=(*AFTER_101, "missing-extension-deflate"),
)
def response_unrequested_extension(exchange: Exchange) -> Iterator[Hit]:
    """The 101 names an extension that was not offered (on this leg)."""
    response, request = _switching(exchange), attempt(exchange)
    if response is None or request is None or not request.head.complete:
        return
    offered = {each.name for each in agreed_extensions(request.head)}
    for header in response.head.all("sec-websocket-extensions"):
        for extension in extensions(header.value.text):
            if extension.name not in offered:
                blame: Blame = "proxy" if came_through_proxy(request) else "server"
                yield hit(header.value.span, extension=extension.name, blame=blame)
                break


@rule(
    "WS416",
    on=Exchange,
    blame="server",
    ref="RFC 9112 section 4",
    masks=("response-not-http", *AFTER_101, "response-bad-accept"),
)
def response_garbage_before(exchange: Exchange) -> Iterator[Hit]:
    """Bytes in front of the status line: a BOM, a PHP warning, an echo, a greeting."""
    if not exchange.connection.server.from_start:
        return
    first = exchange.server[0] if exchange.server else None
    if not is_loose_text(first):
        return
    assert isinstance(first, (Foreign, Unknown))
    data = exchange.connection.server.data[first.span.start : first.span.stop]
    followed = len(exchange.server) > 1 and isinstance(exchange.server[1], Response)
    if not followed and not _is_warning(data):
        return
    variant = ""
    if data.startswith(b"\xef\xbb\xbf"):
        variant = "bom"
    elif not data.strip(b"\r\n"):
        variant = "empty-line"
    elif _is_warning(data):
        variant = "php-warning"
    certainty: Certainty | None = None if followed else "likely"
    yield hit(first.span, variant=variant, certainty=certainty, size=len(data), detail=first_text(exchange, first))


def _is_warning(data: bytes) -> bool:
    """True for what PHP prints in front of everything when display_errors is on."""
    start = data[:64].lstrip().removeprefix(b"<br />").lstrip().removeprefix(b"<b>")
    return start.startswith((b"Warning", b"Notice", b"Deprecated", b"Fatal error", b"Parse error", b"PHP "))


@rule(
    "WS417",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 5",
    masks=(
        "bad-opcode",
        "reserved-bits",
        "bad-control-frame",
        "missing-extension-deflate",
        "invalid-utf8",
        "masked-server-frame",
        *AFTER_101,
    ),
)
def response_garbage_after(exchange: Exchange) -> Iterator[Hit]:
    """After the 101 comes text instead of frames (a body, a second response, a PHP warning)."""
    if not accepted(exchange):
        return
    closed = False
    for element in (*exchange.server, *(each for each in exchange.connection.frames if each.span.side == SERVER)):
        if isinstance(element, Frame) and element.opcode == 8 and not element.flaws:
            closed = True  # what follows a close frame is to be ignored (RFC 6455 section 1.4)
        if closed:
            continue
        flawed = isinstance(element, Frame) and any(flaw.kind == "looks-like-text" for flaw in element.flaws)
        if flawed or (
            isinstance(element, Response)
            and element is not exchange.response
            and element.span.start > _switch(exchange)
        ):
            data = exchange.connection.server.data[element.span.start : element.span.start + 80]
            yield hit(element.span, detail=data.split(b"\n", 1)[0].decode("latin-1").strip())
            return


def _switch(exchange: Exchange) -> int:
    response = exchange.response
    return response.span.start if response is not None else 0


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


declare(
    "client-accept-check-wrong",
    "WS419",
    blame="client",
    ref="RFC 6455 section 4.2.2 (5.4)",
    masks=("response-bad-accept", *AFTER_101),
)
