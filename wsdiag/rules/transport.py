"""What TCP shows when no answer comes; the answers themselves are read in `response`, later closes in `messages`."""

from collections.abc import Iterator

from wsdiag.model import CLIENT, SERVER, Candidate, Certainty, Exchange, Hit, Span
from wsdiag.rules import declare, hit, rule
from wsdiag.rules.situation import attempt, port_of, server_ended, whole_server_silence

# A SYN is repeated after 1 s and then 2 s (RFC 6298): with two of them unanswered a loaded host is no excuse any more.
SYNS_TO_BELIEVE = 2
# A server that is only slow answers an upgrade within this time; proxies give up after 60.
SLOW_ANSWER = 5.0


@rule("WS501", on=Exchange, blame="server", ref="RFC 9293 section 3.10.7.1", masks=("connect-timeout",))
def connection_refused(exchange: Exchange) -> Iterator[Hit]:
    """The SYN is answered by a reset: nothing listens at that address and port."""
    transport = exchange.connection.transport
    if transport is not None and transport.opening == "refused":
        values = port_of(exchange)
        loopback6 = values.get("host") == "::1"
        yield hit(variant="ipv6-localhost" if loopback6 else "", count=transport.syn_count, **values)


@rule("WS502", on=Exchange, blame="network", ref="RFC 9293 section 3.8.3")
def connect_timeout(exchange: Exchange) -> Iterator[Hit]:
    """The SYNs are not answered at all: a firewall drops them, or the host is not there."""
    transport = exchange.connection.transport
    if transport is None or transport.opening != "unanswered":
        return
    values = port_of(exchange)
    if transport.syn_count >= SYNS_TO_BELIEVE:
        yield hit(count=transport.syn_count, certainty="likely" if transport.one_way else "certain", **values)
    else:
        yield hit(count=transport.syn_count, certainty="possible", **values)


declare("dns-failure", "WS503", blame="client", ref="RFC 6455 section 4.1; POSIX getaddrinfo")
declare("port-in-use", "WS504", blame="server", ref="POSIX bind(), EADDRINUSE", masks=("connection-refused",))
declare(
    "mixed-content", "WS505", blame="client", ref="W3C Mixed Content; RFC 6455 section 10", masks=("abnormal-closure",)
)
declare("client-closed-early", "WS506", blame="client", ref="WHATWG WebSockets, close()", masks=("no-response",))
declare(
    "handler-never-accepts",
    "WS507",
    blame="server",
    ref="ASGI specification, websocket.accept",
    masks=("no-response", "response-5xx-upstream"),
)

SILENT_CLOSE = (
    "listener-ws-scheme",
    "plaintext-to-tls",
    "listener-wrong-protocol",
    "origin-rejected",
    "server-error-close",
    "proxy-protocol-header",
)


def _unanswered(exchange: Exchange) -> Span | None:
    """The start line of a whole upgrade request that got not a byte; None when there is none."""
    request = attempt(exchange)
    if request is None or not request.head.complete or not whole_server_silence(exchange):
        return None
    return Span(CLIENT, request.span.start, request.head.span.start)


def _close(exchange: Exchange) -> Span:
    end = len(exchange.connection.server.data)
    return Span(SERVER, end, end)


@rule(
    "WS508",
    on=Exchange,
    blame="server",
    ref="RFC 9293 section 3.5.2",
    symptom=True,
    candidates=(
        "plaintext-to-tls",
        "server-error-close",
        "listener-wrong-protocol",
        "listener-ws-scheme",
        "origin-rejected",
    ),
    next_steps=("check-tls-port", "ask-server-log"),
)
def reset_after_request(exchange: Exchange) -> Iterator[Hit]:
    """The request is answered by a reset."""
    asked = _unanswered(exchange)
    if asked is not None and server_ended(exchange) == "reset":
        yield hit(asked, _close(exchange), **port_of(exchange))


@rule(
    "WS509",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.1",
    symptom=True,
    candidates=SILENT_CLOSE,
    next_steps=("ask-server-log", "check-tls-port"),
)
def closed_without_response(exchange: Exchange) -> Iterator[Hit]:
    """The server read the request and closed without a byte."""
    asked = _unanswered(exchange)
    if asked is not None and server_ended(exchange) == "fin":
        yield hit(asked, _close(exchange), **port_of(exchange))


@rule(
    "WS510",
    on=Exchange,
    blame="server",
    ref="RFC 6455 section 4.1",
    symptom=True,
    next_steps=("ask-server-log", "ask-what-listens"),
)
def no_response(exchange: Exchange) -> Iterator[Hit]:
    """The request was taken, nothing came back, and the client gave up."""
    asked = _unanswered(exchange)
    transport = exchange.connection.transport
    if asked is None or transport is None or transport.request_at is None:
        return
    end = transport.closed_at if transport.closed_at is not None else transport.last_at
    waited = end - transport.request_at if end is not None else 0.0
    gave_up = transport.closer == CLIENT
    if transport.closer is not None and not gave_up:
        return
    # Until somebody gives up, or has waited long, the answer may still be on its way when the capture ends.
    certainty: Certainty | None = None if gave_up or waited >= SLOW_ANSWER else "possible"
    candidates = ["handler-never-accepts", "listener-wrong-protocol", "client-closed-early"]
    if waited < SLOW_ANSWER:
        candidates = ["client-closed-early", "handler-never-accepts", "listener-wrong-protocol"]
    yield hit(
        asked,
        certainty=certainty,
        candidates=tuple(Candidate(each, values=port_of(exchange)) for each in candidates),
        seconds=round(waited, 1),
        **port_of(exchange),
    )
