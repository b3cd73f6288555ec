"""Faults of the server's answer, and the statuses that are only symptoms of something else."""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import SERVER, Blame, Certainty, Exchange, Foreign, Frame, Hit, Response, Span, Unknown, wants_upgrade
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.evidence import first_text
from wsdiag.rules.situation import (
    accepted,
    attempt,
    came_through_proxy,
    is_loose_text,
)
from wsdiag.wire.handshake import SAMPLE_ACCEPT, SAMPLE_KEY, accept_for, agreed_extensions, extensions

if TYPE_CHECKING:
    from typing import Any

# A client that gets a wrong 101 closes at once; what the close looks like is then only a consequence.
AFTER_101 = ("abnormal-closure", "idle-timeout", "server-error-close", "client-closed-early")


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


declare(
    "client-accept-check-wrong",
    "WS419",
    blame="client",
    ref="RFC 6455 section 4.2.2 (5.4)",
    masks=("response-bad-accept", *AFTER_101),
)
