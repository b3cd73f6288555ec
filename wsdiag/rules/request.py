"""Faults inside the client's upgrade request; what a proxy took out of it on the way is in `proxy`."""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import CLIENT, SERVER, Certainty, Exchange, Frame, Hit, Request, Span, wants_upgrade
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.proxy import stripped_signs
from wsdiag.rules.situation import (
    accepted,
    answered_by,
    attempt,
    end_of_head,
    is_browser,
    server_ended,
    whole_server_silence,
)
from wsdiag.wire.handshake import agreed_extensions, decoded_size, extensions

if TYPE_CHECKING:
    from typing import Any

# A refusal that any fault of the request explains.
REFUSALS = (
    "response-400",
    "response-200",
    "response-426",
    "response-404",
    "response-unexpected-status",
    "response-auth",
    "closed-without-response",
    "reset-after-request",
    "no-response",
    "response-5xx-upstream",
)
HANDSHAKE = "RFC 6455 section 4.1"
# Flaws of the head that make servers refuse a request; the others (a folded header …) are only odd.
FATAL_FLAWS = (
    "space-in-target",
    "bad-version",
    "no-colon",
    "space-before-colon",
    "control-character",
    "bare-lf",
    "bare-cr",
    "empty-name",
    "non-ascii-target",
    "non-ascii",
)
# Most servers allow 8 KiB a header line or a head (nginx large_client_header_buffers, Apache LimitRequestFieldSize).
COMMON_HEAD_LIMIT = 8 * 1024


@rule("WS301", on=Request, blame="client", ref=HANDSHAKE + " (1)", masks=REFUSALS, forgiven=True)
def request_wrong_method(request: Request) -> Iterator[Hit]:
    """An upgrade must be asked for with GET."""
    if wants_upgrade(request) and request.method.text not in ("GET", "CONNECT") and request.method.text:
        yield hit(request.method.span, method=request.method.text)


@rule("WS302", on=Request, blame="client", ref=HANDSHAKE + " (1)", masks=REFUSALS, forgiven=True)
def request_http10(request: Request) -> Iterator[Hit]:
    """An upgrade needs HTTP/1.1."""
    if wants_upgrade(request) and request.version.text in ("HTTP/1.0", "HTTP/0.9"):
        yield hit(request.version.span, version=request.version.text)


@rule("WS303", on=Request, blame="client", ref="RFC 9112 section 3.2", masks=REFUSALS, forgiven=True)
def request_missing_host(request: Request) -> Iterator[Hit]:
    """HTTP/1.1 demands Host."""
    if wants_upgrade(request) and request.version.text == "HTTP/1.1" and request.head.lacks("host"):
        yield hit(end_of_head(request), header="Host")


@rule("WS304", on=Request, blame="client", ref=HANDSHAKE + " (5)", masks=REFUSALS, forgiven=True)
def request_missing_upgrade(request: Request) -> Iterator[Hit]:
    """`Upgrade: websocket` is missing or says something else."""
    head = request.head
    if not wants_upgrade(request) or stripped_signs(request) or request.method.text == "CONNECT":
        return
    header = head.first("upgrade")
    if header is None:
        if head.lacks("upgrade"):
            yield hit(end_of_head(request), header="Upgrade")
    elif "websocket" not in head.tokens("upgrade") and head.complete:
        yield hit(header.value.span, variant="wrong-value", header="Upgrade", value=header.value.text)


@rule("WS305", on=Request, blame="client", ref=HANDSHAKE + " (6)", masks=REFUSALS, forgiven=True)
def request_missing_connection(request: Request) -> Iterator[Hit]:
    """`Connection: Upgrade` is missing or lacks the token."""
    head = request.head
    if not wants_upgrade(request) or stripped_signs(request) or not head.complete or request.method.text == "CONNECT":
        return
    if "upgrade" in head.tokens("connection") or "upgrade" in head.value("connection").lower().split():
        return
    header = head.first("connection")
    if header is None:
        yield hit(end_of_head(request), header="Connection")
    else:
        yield hit(header.value.span, variant="wrong-value", header="Connection", value=header.value.text)


def _is_hixie(request: Request) -> bool:
    return any(
        header.name.text.lower() in ("sec-websocket-key1", "sec-websocket-key2") for header in request.head.headers
    )


@rule("WS306", on=Request, blame="client", ref=HANDSHAKE + " (7)", masks=REFUSALS, forgiven=True)
def request_missing_key(request: Request) -> Iterator[Hit]:
    """Sec-WebSocket-Key is missing or empty."""
    if not wants_upgrade(request) or _is_hixie(request) or stripped_signs(request) or request.method.text == "CONNECT":
        return
    header = request.head.first("sec-websocket-key")
    if header is None:
        if request.head.lacks("sec-websocket-key"):
            yield hit(end_of_head(request), header="Sec-WebSocket-Key")
    elif not header.value.text and request.head.complete:
        yield hit(header.value.span, variant="empty", header="Sec-WebSocket-Key")


@rule("WS313", on=Request, blame="client", ref=HANDSHAKE + " (7)", masks=REFUSALS, forgiven=True)
def request_bad_key(request: Request) -> Iterator[Hit]:
    """A key is 16 random bytes in base64; hand-written keys are the usual culprit."""
    if not request.head.complete:
        return
    for header in request.head.all("sec-websocket-key"):
        size = decoded_size(header.value.text)
        if header.value.text and size != 16:
            variant = "not-base64" if size is None else ""
            yield hit(header.value.span, variant=variant, key=header.value.text, size=size if size is not None else 0)


@rule("WS307", on=Request, blame="client", ref=HANDSHAKE + " (9)", masks=REFUSALS, forgiven=True)
def request_missing_version(request: Request) -> Iterator[Hit]:
    """Sec-WebSocket-Version is missing."""
    if not wants_upgrade(request) or _is_hixie(request) or stripped_signs(request) or request.method.text == "CONNECT":
        return
    if request.head.lacks("sec-websocket-version") and request.head.first("sec-websocket-key") is not None:
        yield hit(end_of_head(request), header="Sec-WebSocket-Version", expected="13")


@rule("WS308", on=Request, blame="client", ref=HANDSHAKE + " (9)", masks=REFUSALS, forgiven=True)
def request_unsupported_version(request: Request) -> Iterator[Hit]:
    """Sec-WebSocket-Version is something else than 13."""
    header = request.head.first("sec-websocket-version")
    if header is not None and request.head.complete and header.value.text != "13":
        if "13" not in request.head.tokens("sec-websocket-version"):
            yield hit(header.value.span, got=header.value.text, expected="13", header="Sec-WebSocket-Version")


@rule(
    "WS309",
    on=Exchange,
    blame="client",
    ref="RFC 9112 sections 2.2 and 3",
    masks=(
        *REFUSALS,
        "request-missing-key",
        "request-missing-upgrade",
        "request-missing-connection",
        "request-truncated",
        "request-missing-version",
        "plain-http-request",
        "request-missing-host",
        "not-a-websocket-client",
    ),
    forgiven=True,
)
def request_malformed(exchange: Exchange) -> Iterator[Hit]:
    """The request breaks HTTP's grammar. In a transcript lost line ends are the paste's fault."""
    for request in exchange.client:
        if not isinstance(request, Request):
            continue
        refused = exchange.response is not None and exchange.response.status >= 400
        if not wants_upgrade(request) and not refused and not whole_server_silence(exchange):
            continue
        for flaw in request.flaws:
            if flaw.kind not in FATAL_FLAWS:
                continue
            if exchange.connection.kind == "transcript" and flaw.kind in ("bare-lf", "bare-cr"):
                continue
            yield hit(flaw.span, variant=flaw.kind, detail=flaw.detail or flaw.kind)
            return


@rule(
    "WS310",
    on=Exchange,
    blame="client",
    ref="RFC 9112 section 2.1",
    masks=(
        "no-response",
        "closed-without-response",
        "reset-after-request",
        "response-400",
        "response-unexpected-status",
    ),
)
def request_truncated(exchange: Exchange) -> Iterator[Hit]:
    """The head never ended: the client closed, or the server gave up, before the empty line came."""
    request = exchange.request
    stream = exchange.connection.client
    if request is None or request.head.complete or stream.gaps or stream.ending == "cut" or not stream.from_start:
        return
    transport = exchange.connection.transport
    if transport is None or transport.one_way or not wants_upgrade(request):
        return
    timed_out = exchange.response is not None and exchange.response.status == 408
    if stream.ending in ("fin", "reset") or server_ended(exchange) or timed_out:
        end = len(stream.data)
        yield hit(Span(CLIENT, end, end), size=end)


@rule("WS311", on=Exchange, blame="client", ref="RFC 6585 section 5", masks=(*REFUSALS, "request-malformed"))
def request_too_large(exchange: Exchange) -> Iterator[Hit]:
    """The server says that the head is too large, or refuses one that is beyond the common limit."""
    request, response = exchange.request, exchange.response
    if request is None or response is None or accepted(exchange):
        return
    size = request.head.span.stop - request.span.start
    large = max(request.head.headers, key=lambda each: each.value.span.stop - each.value.span.start, default=None)
    where = large.value.span if large is not None else request.span
    header = large.name.text if large is not None else ""
    said = response.status in (431, 414, 494) or b"Header Or Cookie Too Large" in response.content
    if said and request.head.complete:
        yield hit(
            where,
            Span(SERVER, response.span.start, response.head.span.start),
            size=size,
            header=header,
            status=response.status,
        )
    elif said:
        yield hit(request.span, size=size, status=response.status)
    elif size > COMMON_HEAD_LIMIT and response.status in (400, 413, 520):
        yield hit(
            where,
            variant="over-common-limit",
            certainty="likely",
            size=size,
            limit=COMMON_HEAD_LIMIT,
            header=header,
            status=response.status,
        )


@rule(
    "WS312",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 10.2",
    masks=("response-auth", "response-404", "response-400"),
)
def origin_rejected(exchange: Exchange) -> Iterator[Hit]:
    """A refusal whose words blame the origin, or a 403 to a browser whose origin is another host's."""
    request, response = exchange.request, exchange.response
    if request is None or response is None or response.status == 101 or response.status < 400:
        return
    origin = request.head.first("origin")
    if origin is None:
        return
    head = response.content[:1024].lower()
    values: dict[str, Any] = {
        "origin": origin.value.text,
        "host": request.head.value("host"),
        "status": response.status,
        "server": answered_by(response),
    }
    if b"origin" in head:
        yield hit(origin.value.span, response.body or response.span, **values)


@rule(
    "WS314",
    on=Exchange,
    blame="server",
    ref="RFC 6455 sections 4.1 and 4.2.2",
    masks=("response-400", "response-426", "abnormal-closure"),
)
def subprotocol_mismatch(exchange: Exchange) -> Iterator[Hit]:
    """The 101 names a subprotocol that was not offered, or names none and the client left for that."""
    request, response = attempt(exchange), exchange.response
    if request is None or response is None:
        return
    offered = [token for header in request.head.all("sec-websocket-protocol") for token in _tokens(header.value.text)]
    if not offered:
        return
    chosen = response.head.first("sec-websocket-protocol")
    where = request.head.all("sec-websocket-protocol")[0].value.span
    values: dict[str, Any] = {"subprotocol": ", ".join(offered), "header": "Sec-WebSocket-Protocol"}
    if response.status == 101 and chosen is not None and chosen.value.text not in offered and response.head.complete:
        yield hit(where, chosen.value.span, variant="not-offered", got=chosen.value.text, **values)
    elif response.status == 101 and response.head.lacks("sec-websocket-protocol"):
        place = Span(SERVER, response.head.span.stop, response.head.span.stop)
        if _client_left(exchange):
            certainty: Certainty = "certain" if is_browser(request) else "likely"
            yield hit(where, place, certainty=certainty, **values)
        elif is_browser(request) and exchange.connection.transport is None:
            yield hit(where, place, certainty="likely", **values)
        else:
            yield hit(where, place, severity="warning", **values)
    elif response.status >= 400 and b"sec-websocket-protocol" in response.content.lower():
        yield hit(where, response.body or response.span, variant="refused", status=response.status, **values)


def _tokens(value: str) -> list[str]:
    return [token.strip() for token in value.split(",") if token.strip()]


def _client_left(exchange: Exchange) -> bool:
    """True when the client closed after the 101 and sent no message: it did not like the handshake."""
    transport = exchange.connection.transport
    if transport is None or transport.closer != CLIENT:
        return False
    frames = [
        each
        for each in (*exchange.client, *exchange.connection.frames)
        if isinstance(each, Frame) and each.span.side == CLIENT
    ]
    # In a survey healthy frames are only counted: every frame that was counted must be among those that are known.
    tally = exchange.connection.tally
    return all(frame.opcode == 8 for frame in frames) and (tally is None or tally.client_frames <= len(frames))


@rule("WS315", on=Exchange, blame="server", ref="RFC 7692 section 7.1", masks=("abnormal-closure",))
def extension_mismatch(exchange: Exchange) -> Iterator[Hit]:
    """The 101 answers an offered extension with parameters that the offer does not allow."""
    request, response = attempt(exchange), exchange.response
    if request is None or response is None or response.status != 101 or not request.head.complete:
        return
    offered = {each.name: dict(each.parameters) for each in agreed_extensions(request.head)}
    window = "client_max_window_bits"
    known = {"server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", window}
    for header in response.head.all("sec-websocket-extensions"):
        for extension in extensions(header.value.text):
            if extension.name != "permessage-deflate" or extension.name not in offered:
                continue
            names = dict(extension.parameters)
            if window in names and window not in offered[extension.name]:
                yield hit(header.value.span, extension=extension.name, value=window)
            elif names.keys() - known:
                yield hit(header.value.span, extension=extension.name, value=header.value.text)


declare(
    "wrong-path",
    "WS316",
    blame="client",
    ref="RFC 6455 section 4.2.2",
    masks=("response-404", "response-auth", "response-400", "response-200", "response-5xx-upstream"),
)
