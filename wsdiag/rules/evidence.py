"""What is told without anything being wrong: a handshake that succeeded, a correct request alone, harmless noise."""

from collections.abc import Iterator

from wsdiag.model import CLIENT, SERVER, Exchange, Foreign, Hit, Span, Unknown, wants_upgrade
from wsdiag.rules import hit, rule
from wsdiag.rules.situation import accepted, attempt, port_of, whole_server_silence
from wsdiag.wire.handshake import decoded_size

# Paths that browsers and checks ask for by themselves.
NOISE_PATHS = ("/favicon.ico", "/robots.txt", "/apple-touch-icon")
HEALTH_AGENTS = ("elb-healthchecker", "kube-probe", "googlehc", "haproxy", "consul", "uptime", "pingdom", "health")


@rule("WS101", on=Exchange, severity="note", blame="nobody", ref="RFC 6455 section 4.2.2")
def connection_established(exchange: Exchange) -> Iterator[Hit]:
    """A 101 with the right Sec-WebSocket-Accept."""
    response = exchange.response
    if not accepted(exchange) or response is None:
        return
    where = Span(SERVER, response.span.start, response.head.span.start)
    if response.version.text == "HTTP/2":
        yield hit(where, variant="http2", status=response.status, **port_of(exchange))
    elif exchange.request is None:
        # Without the request there is no key that the accept could be checked against.
        yield hit(where, variant="unchecked", certainty="likely", status=101, **port_of(exchange))
    else:
        yield hit(where, status=101, **port_of(exchange))


@rule("WS102", on=Exchange, severity="note", blame="nobody", ref="RFC 9110 section 9.3.1")
def harmless_noise(exchange: Exchange) -> Iterator[Hit]:
    """What a browser or a health check asks for by itself; it has nothing to do with the WebSocket."""
    request = exchange.request
    if request is None or wants_upgrade(request) or not request.head.complete:
        return
    where = Span(CLIENT, request.span.start, request.head.span.start)
    if is_noise_path(request.target.text):
        yield hit(where, variant="favicon", path=request.target.text)
    elif is_health_check(request.head.value("user-agent")):
        yield hit(where, variant="health-check", path=request.target.text, **port_of(exchange))


@rule(
    "WS103",
    on=Exchange,
    severity="note",
    blame="nobody",
    ref="RFC 6455 section 4.1",
    candidates=("listener-ws-scheme", "proxy-stripped-upgrade", "handler-never-accepts"),
    next_steps=("ask-server-log",),
)
def correct_request(exchange: Exchange) -> Iterator[Hit]:
    """An upgrade request with nothing wrong in it, whose answer is not in the evidence.

    Somebody pastes the bytes of a right request because a program printed them in anger. The program that is known to
    do so is Workerman with a ws:// listener, so that is the first thing to check; but the bytes alone accuse nobody.
    """
    connection = exchange.connection
    request = attempt(exchange)
    if request is None or connection.kind not in ("dump", "transcript") or connection.server.seen:
        return
    head = request.head
    if (
        head.complete
        and request.method.text == "GET"
        and request.version.text == "HTTP/1.1"
        and not request.flaws
        and head.value("sec-websocket-version") == "13"
        and "websocket" in head.tokens("upgrade")
        and "upgrade" in head.tokens("connection")
        and decoded_size(head.value("sec-websocket-key")) == 16
        and head.first("host") is not None
    ):
        yield hit(Span(CLIENT, request.span.start, request.head.span.start), **port_of(exchange))


@rule("WS104", on=Exchange, severity="note", blame="nobody", ref="RFC 9293 section 3.6")
def nothing_sent(exchange: Exchange) -> Iterator[Hit]:
    """A connection that was opened and carried no byte: a health check, a port scan, or an idle pre-connection."""
    connection = exchange.connection
    transport = connection.transport
    if (
        connection.kind == "capture"
        and transport is not None
        and transport.opening == "established"
        and not transport.one_way
        and not connection.client.data
        and not connection.client.total
        and whole_server_silence(exchange)
    ):
        yield hit(**port_of(exchange))


def is_noise_path(path: str) -> bool:
    """True for what a browser fetches by itself beside a page."""
    return path.startswith(NOISE_PATHS)


def is_health_check(agent: str) -> bool:
    """True when the User-Agent names a health checker."""
    lower = agent.lower()
    return any(word in lower for word in HEALTH_AGENTS)


def first_text(exchange: Exchange, element: Foreign | Unknown) -> str:
    """The first line of the element as text, at most 80 characters, for quoting (renderers clean it)."""
    data = exchange.connection.stream(element.span.side).data[element.span.start : element.span.stop]
    return data.split(b"\n", 1)[0][:80].decode("latin-1").strip()
