"""Causes around TLS: one side speaks it and the other does not, or its own handshake fails. What is said inside TLS is
judged like any other connection, once a key log has opened it.
"""

from collections.abc import Iterator

from wsdiag.model import (
    CLIENT,
    SERVER,
    Blame,
    ClientHello,
    Exchange,
    Foreign,
    Frame,
    Hit,
    Http2Frames,
    Http2Preface,
    Request,
    Response,
    ServerHello,
    Span,
    TlsAlert,
    TlsData,
    Unknown,
)
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import (
    answered_by,
    first_element,
    port_of,
    server_ended,
    whole_server_silence,
)

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
