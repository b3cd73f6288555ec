"""Reports built by hand from the model's records, for the tests of the renderers; no reader and no rule is involved."""

from wsdiag.model import (
    CLIENT,
    SERVER,
    CaptureSummary,
    Certainty,
    Connection,
    ConnectionReport,
    Element,
    Endpoint,
    Exchange,
    Finding,
    Frame,
    Head,
    Header,
    Input,
    Mark,
    NextStep,
    Note,
    Origin,
    Piece,
    Place,
    Report,
    Request,
    Response,
    Side,
    Span,
    Stream,
    Transport,
    Unknown,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
REQUEST = (
    "GET /chat HTTP/1.1\r\nHost: 127.0.0.1:2346\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
RESPONSE = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


def head(data: bytes, side: Side, base: int = 0) -> tuple[list[Piece], Head]:
    """The words of the first line and the headers of a well-formed head."""
    lines = data.split(b"\r\n\r\n")[0].split(b"\r\n")
    at = base
    pieces = []
    column = at
    for word in lines[0].split(b" ", 2):
        pieces.append(Piece(word.decode("latin-1"), Span(side, column, column + len(word))))
        column += len(word) + 1
    at += len(lines[0]) + 2
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        stripped = value.strip()
        start = at + len(name) + 1 + value.find(stripped)
        headers.append(
            Header(
                Piece(name.decode("latin-1"), Span(side, at, at + len(name))),
                Piece(stripped.decode("latin-1"), Span(side, start, start + len(stripped))),
            )
        )
        at += len(line) + 2
    stop = at + 2 if b"\r\n\r\n" in data else at
    return pieces, Head(tuple(headers), b"\r\n\r\n" in data, Span(side, base + len(lines[0]) + 2, stop))


def request(data: bytes, base: int = 0) -> Request:
    """The request that these bytes are."""
    (method, target, version), found = head(data, CLIENT, base)
    body = Span(CLIENT, found.span.stop, base + len(data)) if base + len(data) > found.span.stop else None
    return Request(Span(CLIENT, base, base + len(data)), method, target, version, found, body)


def response(data: bytes, base: int = 0) -> Response:
    """The response that these bytes are."""
    (version, status, reason), found = head(data, SERVER, base)
    stop = base + len(data)
    body = Span(SERVER, found.span.stop, stop) if stop > found.span.stop else None
    content = data[found.span.stop - base :]
    return Response(Span(SERVER, base, stop), version, int(status.text), reason, found, body, content)


def frame(payload: bytes, side: Side, base: int, opcode: int = 1) -> tuple[bytes, Frame]:
    """A short frame, masked when the client sends it, and its bytes."""
    mask = b"\x01\x02\x03\x04" if side == CLIENT else None
    sent = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    data = bytes([0x80 | opcode, (0x80 if mask else 0) | len(payload)]) + (mask or b"") + sent
    span = Span(side, base, base + len(data))
    return data, Frame(span, True, 0, opcode, mask, len(payload), payload, True)


def finding(
    name: str = "listener-ws-scheme",
    code: str = "WS201",
    *places: Place,
    certainty: Certainty = "certain",
    **fields: object,
) -> Finding:
    """A finding of severity error that the server must mend, unless told otherwise."""
    given = {"severity": "error", "blame": "server", "reference": "RFC 6455 section 4.2.1", **fields}
    return Finding(name, code, certainty=certainty, places=places, **given)  # type: ignore[arg-type]


def connection(
    number: int,
    sent: bytes = b"",
    answer: bytes = b"",
    *,
    client: tuple[Element, ...] | None = None,
    server: tuple[Element, ...] | None = None,
    findings: tuple[Finding, ...] = (),
    primary: str | None = None,
    **fields: object,
) -> ConnectionReport:
    """A connection of one request and one response (or of the elements given)."""
    origin = Origin("capture.pcap", packet=4 + number * 10)
    ending = fields.pop("ending", "open")
    given: dict[str, object] = {
        "kind": "capture",
        "client_endpoint": Endpoint("192.168.7.23", 50312 + number % 10000),
        "server_endpoint": Endpoint("10.20.30.40", 2346),
        "first_packet": 1 + number * 10,
        "last_packet": 9 + number * 10,
        **fields,
    }
    there = Stream(sent, (Mark(0, origin),), total=len(sent))
    back = Stream(answer, (Mark(0, origin._replace(packet=6 + number * 10)),), total=len(answer), ending=ending)  # type: ignore[arg-type]
    of = Connection(number, there, back, **given)  # type: ignore[arg-type]
    if client is None:
        client = (request(sent),) if sent else ()
    if server is None:
        server = (response(answer),) if answer else ()
    verdict = "faulty" if primary else "healthy"
    return ConnectionReport(Exchange(of, client, server), verdict, primary, findings)


def seed() -> Report:
    """The story that wsdiag was made for: a Workerman listener declared ws://, and its two log lines."""
    line = "recv data before handshake. Buffer:" + REQUEST.hex()
    place = Place("server.log", 1, start=0, stop=34, text=line)
    second = Place("server.log", 2, start=0, stop=35, text="Error package. package_length=false")
    cause = finding(
        "listener-ws-scheme", "WS201", place, second, values={"port": 2346, "scheme": "ws", "framework": "workerman"}
    )
    explained = finding(
        "closed-without-response", "WS509", Place("server.log", connection=0), consequence_of="listener-ws-scheme"
    )
    connected = connection(0, REQUEST, kind="dump", client_endpoint=None, server_endpoint=None, ending="fin")
    return Report(
        (Input("server.log", "text", (Note("hex-dump", {"count": len(REQUEST)}),)),),
        "faulty",
        "listener-ws-scheme",
        (cause, explained),
        (NextStep("restart-server", {}, "php start.php restart"),),
        (connected._replace(verdict="faulty", primary="listener-ws-scheme"),),
    )


def healthy() -> Report:
    """A right handshake, a message each way and a close."""
    ask, asked = frame(b"hello", CLIENT, len(REQUEST))
    say, said = frame(b"world", SERVER, len(RESPONSE))
    bye, closed = frame(b"\x03\xe8bye", SERVER, len(RESPONSE) + len(say), 8)
    connected = connection(
        0,
        REQUEST + ask,
        RESPONSE + say + bye,
        client=(request(REQUEST), asked),
        server=(response(RESPONSE), said, closed),
        transport=Transport("established", 1, 100.0, 100.001, 100.002, 101.5, SERVER, 101.6, 101.7),
        ending="fin",
    )
    note = finding("connection-established", "WS101", Place("capture.pcap", packet=6, connection=0), severity="note")
    capture = CaptureSummary(12, 1423, 0, False, "ethernet")
    return Report((Input("capture.pcap", "capture"),), "healthy", None, (note,), (), (connected,), capture)


def undecided() -> Report:
    """A browser's line that says nothing, with the candidates."""
    text = "WebSocket connection to 'ws://example.com:8080/chat' failed: "
    place = Place("console.log", 7, start=0, stop=30, text=text)
    candidates = (
        finding("connection-refused", "WS501", place, certainty="possible", values={"port": 8080}),
        finding("listener-ws-scheme", "WS201", place, certainty="possible"),
        finding("proxy-stripped-upgrade", "WS701", place, certainty="possible", blame="proxy"),
        finding("tls-to-plaintext", "WS207", place, certainty="possible", blame="client"),
    )
    steps = (NextStep("ask-server-log", {}, "php start.php start"), NextStep("run-curl", {}, "curl -i http://x/chat"))
    return Report((Input("console.log", "text"),), "undecided", None, candidates, steps)


def refused_key() -> Report:
    """A request without a key, answered by a 400: a missing header, a symptom explained, a marked status line."""
    sent = REQUEST.replace(f"Sec-WebSocket-Key: {KEY}\r\n".encode(), b"")
    answer = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Length: 3\r\n\r\nno\n"
    places = Place("capture.pcap", packet=4, connection=0, side=CLIENT, start=0, stop=len(sent))
    missing = finding("request-missing-key", "WS306", places, blame="client", values={"header": "Sec-WebSocket-Key"})
    status = Place("capture.pcap", packet=6, connection=0, side=SERVER, start=9, stop=12)
    symptom = finding("response-400", "WS400", status, consequence_of="request-missing-key", values={"status": 400})
    connected = connection(
        0,
        sent,
        answer,
        findings=(missing, symptom),
        primary="request-missing-key",
        transport=Transport("established", 1, 5.0, 5.1, 5.2, 5.2, SERVER, 5.3, 5.3),
    )
    capture = CaptureSummary(9, 1423, 2, True, "ethernet")
    return Report(
        (Input("capture.pcap", "capture"),),
        "faulty",
        "request-missing-key",
        (missing, symptom),
        (),
        (connected,),
        capture,
    )


def storm(count: int = 10_000) -> Report:
    """A capture of many connections: most meet the same cause, some another, some are healthy."""
    junk = bytes.fromhex("1603010200010001fc0303")
    connections = []
    for number in range(count):
        at = Transport("established", 1, 1000 + number * 0.01, 1000.001 + number * 0.01, None, None, SERVER)
        place = Place("capture.pcap", packet=4, connection=number, side=CLIENT, start=0, stop=16)
        if number % 10 < 7:
            found = finding("listener-ws-scheme", "WS201", place)
            each = connection(number, REQUEST, primary=found.name, findings=(found,), ending="fin", transport=at)
        elif number % 10 < 9:
            found = finding("tls-to-plaintext", "WS207", place, blame="client")
            unknown = (Unknown(Span(CLIENT, 0, len(junk))),)
            each = connection(
                number, junk, client=unknown, primary=found.name, findings=(found,), ending="reset", transport=at
            )
        else:
            each = connection(number, REQUEST, RESPONSE, transport=at)
        connections.append(each)
    places = tuple(
        Place("capture.pcap", packet=4, connection=number, side=CLIENT, start=0, stop=16) for number in range(20)
    )
    findings = (
        finding("listener-ws-scheme", "WS201", *places, values={"port": 2346}, occurrences=count * 7 // 10),
        finding("tls-to-plaintext", "WS207", *places[7:9], blame="client", occurrences=count * 2 // 10),
    )
    capture = CaptureSummary(count * 9, count * 1400, 0, False, "ethernet")
    return Report(
        (Input("capture.pcap", "capture"),),
        "faulty",
        "listener-ws-scheme",
        findings,
        (NextStep("ask-server-log", {}, "php start.php start"),),
        tuple(connections),
        capture,
    )
