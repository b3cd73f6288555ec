"""Causes in which the two sides do not speak the same protocol at all; faults inside a handshake are in `request` and
`response`.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsdiag.model import (
    CLIENT,
    SERVER,
    Blame,
    Certainty,
    ClientHello,
    Exchange,
    Foreign,
    Frame,
    Hit,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Request,
    Response,
    ServerHello,
    Span,
    TlsAlert,
    TlsData,
    Unknown,
    wants_upgrade,
)
from wsdiag.pattern import pattern
from wsdiag.record import TYPE_CHECKING
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.evidence import first_text, is_health_check, is_noise_path
from wsdiag.rules.situation import (
    accepted,
    answered_by,
    attempt,
    first_element,
    is_loose_text,
    port_of,
    server_ended,
    whole_server_silence,
)

if TYPE_CHECKING:
    from typing import Any

# Silence longer than this after a ClientHello or a request means that the server waits for something else; a loaded
# server answers a hello within a second.
PATIENCE = 2.0

# TLS alert descriptions (RFC 8446 section 6.2) and the variant of the words that explains them.
ALERT_VARIANTS = {
    40: "no-cipher",
    42: "bad-certificate",
    43: "bad-certificate",
    44: "revoked",
    45: "expired",
    46: "certificate-unknown",
    48: "unknown-ca",
    70: "version",
    71: "no-cipher",
    86: "version",
    112: "name",
    116: "client-certificate",
    120: "alpn",
}
CLOSE_NOTIFY = 0
USER_CANCELED = 90

declare(
    "listener-ws-scheme",
    "WS201",
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
    elif is_loose_text(first) and exchange.connection.kind == "capture" and _server_refused(exchange):
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
    "WS207",
    on=Exchange,
    blame="client",
    ref="RFC 8446 section 4.1.2; RFC 6455 section 3",
    masks=(
        "response-400",
        "response-200",
        "closed-without-response",
        "reset-after-request",
        "no-response",
        "response-not-http",
        "response-unexpected-status",
        "request-malformed",
        "not-a-websocket-client",
        "tls-handshake-failed",
        "plain-http-request",
        "abnormal-closure",
        "response-426",
    ),
)
def tls_to_plaintext(exchange: Exchange) -> Iterator[Hit]:
    """A ClientHello that is answered in clear text, or by a close, or by nothing."""
    hello = first_element(exchange, CLIENT)
    if not isinstance(hello, ClientHello):
        return
    values = {**port_of(exchange), "sni": hello.server_name} if hello.server_name else port_of(exchange)
    connection = exchange.connection
    if any(isinstance(each, (ServerHello, TlsAlert, TlsData)) for each in exchange.server):
        return
    if exchange.server and isinstance(exchange.server[0], (Response, Foreign, Frame, Unknown, Http2Frames)):
        answer = exchange.server[0]
        yield hit(hello.span, Span(SERVER, answer.span.start, min(answer.span.stop, answer.span.start + 64)), **values)
    elif not connection.server.seen:
        yield hit(hello.span, certainty="likely", variant="dump", **values)
    elif whole_server_silence(exchange):
        ended = server_ended(exchange)
        waited = _waited(exchange)
        if ended:
            yield hit(hello.span, certainty="likely", variant=f"closed-{ended}", **values)
        elif waited is not None and waited >= PATIENCE:
            yield hit(hello.span, certainty="likely", variant="silent", seconds=round(waited, 1), **values)


def _waited(exchange: Exchange) -> float | None:
    """Seconds that the client waited after its first byte, up to the close or the end of the capture."""
    transport = exchange.connection.transport
    if transport is None or transport.request_at is None:
        return None
    end = transport.closed_at if transport.closed_at is not None else transport.last_at
    return None if end is None else end - transport.request_at


# How servers say in clear text that they wanted TLS; the first two are nginx's, then Go's, Apache's and Tomcat's.
TLS_WANTED = (
    b"plain HTTP request was sent to HTTPS port",
    b"Client sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"This combination of host and port requires TLS",
)


@rule(
    "WS208",
    on=Exchange,
    blame="client",
    ref="RFC 6455 section 3",
    masks=(
        "response-400",
        "response-unexpected-status",
        "closed-without-response",
        "reset-after-request",
        "response-not-http",
        "response-5xx-upstream",
        "no-response",
        "tls-handshake-failed",
    ),
)
def plaintext_to_tls(exchange: Exchange) -> Iterator[Hit]:
    """A request in clear text that is answered by a TLS alert, or by the words of a server that wanted TLS."""
    asked = first_element(exchange, CLIENT)
    if not isinstance(asked, (Request, Http2Preface)):
        return
    where = Span(CLIENT, asked.span.start, asked.head.span.start if isinstance(asked, Request) else asked.span.stop)
    first = first_element(exchange, SERVER)
    if isinstance(first, TlsAlert):
        yield hit(where, first.span, variant="alert", alert=first.description, **port_of(exchange))
    response = exchange.response
    if response is not None and (response.status == 497 or any(words in response.content for words in TLS_WANTED)):
        yield hit(where, response.body or response.span, server=answered_by(response), **port_of(exchange))


@rule(
    "WS209",
    on=Exchange,
    blame="server",
    ref="RFC 8446 section 6.2",
    masks=("tls-to-plaintext", "abnormal-closure", "closed-without-response", "reset-after-request"),
)
def tls_handshake_failed(exchange: Exchange) -> Iterator[Hit]:
    """A fatal alert in clear text, or the short farewell of a client that did not like the certificate (TLS 1.3)."""
    hello = first_element(exchange, CLIENT)
    if not isinstance(hello, ClientHello):
        return
    values = {**port_of(exchange), "sni": hello.server_name} if hello.server_name else port_of(exchange)
    if exchange.server and not isinstance(first_element(exchange, SERVER), (ServerHello, TlsAlert, TlsData)):
        return  # the server speaks no TLS at all: what the client's alert says of it is beside the point
    for alert in (*exchange.server, *exchange.client):
        if isinstance(alert, TlsAlert) and alert.description not in (CLOSE_NOTIFY, USER_CANCELED):
            side = alert.span.side
            variant = ALERT_VARIANTS.get(alert.description, "")
            blame: Blame = "client" if side == SERVER and variant in ("version", "no-cipher", "alpn") else "server"
            yield hit(alert.span, variant=variant, blame=blame, alert=alert.description, side=side, **values)
            return
    if not any(isinstance(each, ServerHello) for each in exchange.server):
        return
    if _refused_in_silence(exchange):
        span = Span(CLIENT, hello.span.stop, len(exchange.connection.client.data))
        yield hit(span, variant="hidden", certainty="likely", **values)


# TLS 1.3 records of a client that refuses the certificate: an alert is 2 bytes, a content type and a tag of 16 bytes.
ALERT_RECORD = 19
# The smallest Finished of TLS 1.3 is 32 bytes, a header of 4, a content type and the tag.
FINISHED_RECORD = 53


def _refused_in_silence(exchange: Exchange) -> bool:
    """True when the client, after the server's hello, left with no Finished: an alert's record at most."""
    connection = exchange.connection
    transport = connection.transport
    if transport is None or connection.client.gaps or connection.client.ending not in ("fin", "reset"):
        return False
    sizes = []
    for element in exchange.client:
        if isinstance(element, TlsData):
            data = connection.client.data[element.span.start : element.span.stop]
            offset = 0
            while offset + 5 <= len(data):
                size = int.from_bytes(data[offset + 3 : offset + 5], "big")
                if data[offset] == 23:
                    sizes.append(size)
                offset += 5 + size
    if any(size >= FINISHED_RECORD for size in sizes):
        return False
    tls12 = any(isinstance(each, ServerHello) and each.version <= 0x0303 for each in exchange.server)
    return not tls12 and len(sizes) <= 1


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
