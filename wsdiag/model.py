"""Every record and value that the parts of wsdiag hand to each other; how they come about is left to the other modules.

The records are `NamedTuple`s: frozen and slotted, and, unlike dataclasses, free to import (a frozen dataclass costs
0.7 ms each at start-up, which the `decode` command cannot afford) and cheap to make in the capture path.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from wsdiag.record import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Side: TypeAlias = Literal["client", "server"]
    Severity: TypeAlias = Literal["error", "warning", "note"]
    Certainty: TypeAlias = Literal["certain", "likely", "possible"]
    Blame: TypeAlias = Literal["server", "client", "proxy", "network", "nobody"]
    Verdict: TypeAlias = Literal["healthy", "faulty", "undecided"]
    # How a stream of bytes ends. "open": no close was seen, the evidence ends here. "cut": bytes are known to be
    # missing after the end (a truncated dump, a snaplen, a buffer limit), so nothing may be said about what follows.
    Ending: TypeAlias = Literal["open", "fin", "reset", "cut"]
    # What the evidence shows of the TCP handshake. "middle": the connection was already open; "unknown": no packets
    # at all.
    Opening: TypeAlias = Literal["established", "refused", "unanswered", "middle", "unknown"]
    InputKind: TypeAlias = Literal["text", "dump", "capture", "source", "keylog", "har", "live", "probe"]
else:
    # At run time nobody looks at them, and importing typing would take a tenth of what `decode` may take in all.
    Side = Severity = Certainty = Blame = Verdict = Ending = Opening = InputKind = str
Value: TypeAlias = str | int | float | bool
Values: TypeAlias = Mapping[str, Value]

NO_VALUES: Values = MappingProxyType({})

CLIENT: Side = "client"
SERVER: Side = "server"


class WsdiagError(Exception):
    """What the caller or the environment did wrong, as one line to print. `name` and `values` pick its words."""

    def __init__(self, name: str, **values: Value) -> None:
        super().__init__(name)
        self.name = name
        self.values = values


# --- Where a byte came from ------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """The bytes `start` (inclusive) to `stop` (exclusive) of one side's stream."""

    side: Side
    start: int
    stop: int


class Origin(NamedTuple):
    """A place in an input: the source's name, and a line or a packet (both counted from 1)."""

    source: str
    line: int | None = None
    packet: int | None = None


class LineSpan(NamedTuple):
    """The characters `start` to `stop` of a line of text."""

    origin: Origin
    start: int
    stop: int
    text: str  # the whole line, as it was read


class Mark(NamedTuple):
    """From `offset` on (up to the next mark) the stream's bytes came from `origin`."""

    offset: int
    origin: Origin


class Gap(NamedTuple):
    """`size` bytes (None: nobody knows) are missing in front of `offset`: the evidence lost them, not the peer."""

    offset: int
    size: int | None


class Stream(NamedTuple):
    """One direction's bytes.

    `seen` is False when the evidence says nothing of this direction (a dump of the request alone): silence may then
    not be claimed. `from_start` is False when the first bytes are missing. `total` counts the bytes that were sent,
    as far as they are known; it is larger than `len(data)` when only the first ones were kept.
    """

    data: bytes = b""
    marks: tuple[Mark, ...] = ()
    gaps: tuple[Gap, ...] = ()
    ending: Ending = "open"
    seen: bool = True
    from_start: bool = True
    total: int = 0

    def origin_at(self, offset: int) -> Origin | None:
        """The place that the byte at `offset` was read from."""
        found = None
        for mark in self.marks:
            if mark.offset > offset:
                break
            found = mark.origin
        return found


class Endpoint(NamedTuple):
    """An address as text and a port."""

    host: str
    port: int


class Transport(NamedTuple):
    """What the packets (or a HAR file, or the probe) say of the TCP connection. Times are seconds since the epoch."""

    opening: Opening = "unknown"
    syn_count: int = 0
    opened_at: float | None = None
    request_at: float | None = None  # the client's first byte
    reply_at: float | None = None  # the server's first byte
    last_data_at: float | None = None
    closer: Side | None = None  # who closed (or reset) first
    closed_at: float | None = None
    last_at: float | None = None  # the last packet of all
    client_acked: int | None = None  # how many bytes of the client's the server has acknowledged
    server_acked: int | None = None
    one_way: bool = False  # only one direction was captured

    @property
    def idle(self) -> float | None:
        """Seconds between the last byte and the close; None when either was not seen."""
        if self.closed_at is None or self.last_data_at is None:
            return None
        return self.closed_at - self.last_data_at


# --- What the bytes are ----------------------------------------------------------------------------------------------


class Flaw(NamedTuple):
    """Something odd that a reader met; whether it matters is for the rules. `kind` is a short slug."""

    kind: str
    span: Span
    detail: str = ""


class Piece(NamedTuple):
    """A piece of a text protocol: its characters (bytes as latin-1) and where they stand."""

    text: str
    span: Span


class Header(NamedTuple):
    """One header field; `name` keeps the case that was sent, `value` is stripped of white space around it."""

    name: Piece
    value: Piece


class Head(NamedTuple):
    """The header fields of a request or a response, in the order sent. `complete`: the empty line was seen."""

    headers: tuple[Header, ...]
    complete: bool
    span: Span

    def all(self, name: str) -> list[Header]:
        """The headers of that name, in any case."""
        name = name.lower()
        return [header for header in self.headers if header.name.text.lower() == name]

    def first(self, name: str) -> Header | None:
        """The first header of that name, in any case, or None."""
        name = name.lower()
        for header in self.headers:
            if header.name.text.lower() == name:
                return header
        return None

    def value(self, name: str) -> str:
        """The value of the first header of that name; the empty string when there is none."""
        header = self.first(name)
        return header.value.text if header else ""

    def tokens(self, name: str) -> list[str]:
        """The comma-separated tokens of all headers of that name, in lower case."""
        return [
            token.strip().lower()
            for header in self.all(name)
            for token in header.value.text.split(",")
            if token.strip()
        ]

    def lacks(self, name: str) -> bool:
        """True only if the whole head was seen and has no such header (absence in a cut head proves nothing)."""
        return self.complete and self.first(name) is None


class Request(NamedTuple):
    """An HTTP/1 request: RFC 9112 section 3. `body` is the span of what belongs to it after the head."""

    span: Span
    method: Piece
    target: Piece
    version: Piece  # "HTTP/1.1"; empty in an HTTP/0.9 request
    head: Head
    body: Span | None = None
    flaws: tuple[Flaw, ...] = ()


class Response(NamedTuple):
    """An HTTP/1 response: RFC 9112 section 4. `content` is the start of the body (at most 4096 bytes)."""

    span: Span
    version: Piece
    status: int
    reason: Piece
    head: Head
    body: Span | None = None
    content: bytes = b""
    flaws: tuple[Flaw, ...] = ()


class Frame(NamedTuple):
    """A WebSocket frame: RFC 6455 section 5.2. `payload` is unmasked and at most 4096 bytes of it are kept.

    `rsv` holds the three reserved bits as a number 0 to 7 (RSV1 is 4). `complete`: all `length` bytes were seen.
    """

    span: Span
    fin: bool
    rsv: int
    opcode: int
    mask: bytes | None
    length: int
    payload: bytes
    complete: bool
    flaws: tuple[Flaw, ...] = ()
    others: int = 0  # further healthy frames that `span` covers, where there are too many to tell each


class ClientHello(NamedTuple):
    """A TLS ClientHello: RFC 8446 section 4.1.2. Versions are the wire's numbers, 0x0303 for TLS 1.2."""

    span: Span
    record_version: int
    versions: tuple[int, ...]
    server_name: str
    alpn: tuple[str, ...]
    complete: bool
    flaws: tuple[Flaw, ...] = ()


class ServerHello(NamedTuple):
    """A TLS ServerHello: the version and the ALPN protocol that the server chose."""

    span: Span
    version: int
    alpn: str
    complete: bool


class TlsAlert(NamedTuple):
    """A TLS alert in clear text: RFC 8446 section 6. `description` is the number, 40 for handshake_failure."""

    span: Span
    level: int
    description: int


class TlsData(NamedTuple):
    """TLS records that are no hello and no readable alert; `records` of them, `encrypted` when type 23."""

    span: Span
    records: int
    encrypted: bool


class ProxyHeader(NamedTuple):
    """A PROXY protocol header, version 1 or 2."""

    span: Span
    version: int
    source: Endpoint | None
    destination: Endpoint | None
    complete: bool


class Http2Preface(NamedTuple):
    """The connection preface of HTTP/2: RFC 9113 section 3.4."""

    span: Span
    complete: bool


class Http2Frames(NamedTuple):
    """HTTP/2 frames, with what matters of them: SETTINGS, and the header lists that hpack could read."""

    span: Span
    frames: int
    settings: tuple[tuple[int, int], ...]  # (identifier, value), in the order sent
    headers: tuple[tuple[tuple[str, str], ...], ...]  # one list of (name, value) for each HEADERS
    errors: tuple[int, ...] = ()  # error codes of GOAWAY and RST_STREAM


class Foreign(NamedTuple):
    """The first bytes of another protocol: "mqtt", "redis", "ssh", "mysql", "rdp", "flash-policy", "hixie-frame" …"""

    span: Span
    protocol: str
    detail: str = ""


class Unknown(NamedTuple):
    """Bytes that are nothing that we know."""

    span: Span


Element: TypeAlias = (
    Request
    | Response
    | Frame
    | ClientHello
    | ServerHello
    | TlsAlert
    | TlsData
    | ProxyHeader
    | Http2Preface
    | Http2Frames
    | Foreign
    | Unknown
)


class Tally(NamedTuple):
    """How many frames each side sent and how many bytes they carried; all of them, kept or not."""

    client_frames: int = 0
    server_frames: int = 0
    client_bytes: int = 0
    server_bytes: int = 0


class Tls(NamedTuple):
    """What was agreed on by a TLS connection that has been decrypted; numbers are the wire's, 0x0304 for TLS 1.3."""

    version: int
    cipher: int
    server_name: str
    alpn: str


class Connection(NamedTuple):
    """One connection, wherever it was seen: two streams and what is known around them.

    `kind` says what it was made of: "dump" (hex and the like), "transcript" (a head quoted in text), "capture",
    "har" or "probe". `frames` are notable frames after the bytes that were kept (each flawed one, the close frames);
    `tally` counts all.
    """

    id: int
    client: Stream
    server: Stream
    kind: Literal["dump", "transcript", "capture", "har", "probe"] = "dump"
    client_endpoint: Endpoint | None = None
    server_endpoint: Endpoint | None = None
    transport: Transport | None = None
    first_packet: int | None = None
    last_packet: int | None = None
    frames: tuple[Frame, ...] = ()
    tally: Tally | None = None
    notes: tuple[Note, ...] = ()
    tls: Tls | None = None  # set when the streams hold what was said inside TLS
    notation: str = ""  # of a dump: how its bytes were written ("hex", "xxd", "node-buffer" …)

    def stream(self, side: Side) -> Stream:
        """The bytes that this side sent."""
        return self.client if side == CLIENT else self.server


class Exchange(NamedTuple):
    """A connection read: the elements of each side tile its stream (consecutive spans that cover it)."""

    connection: Connection
    client: tuple[Element, ...]
    server: tuple[Element, ...]

    def elements(self, side: Side) -> tuple[Element, ...]:
        """The elements of that side, in the order of their bytes."""
        return self.client if side == CLIENT else self.server

    @property
    def request(self) -> Request | None:
        """The request that counts: the last one that asks for an upgrade, else the last one."""
        found = None
        for element in self.client:
            if isinstance(element, Request) and (found is None or wants_upgrade(element) or not wants_upgrade(found)):
                found = element
        return found

    @property
    def response(self) -> Response | None:
        """The answer to `request`: the response at the same place in the row (100 Continue is passed over)."""
        requests = [element for element in self.client if isinstance(element, Request)]
        responses = [
            element
            for element in self.server
            if isinstance(element, Response) and (element.status >= 200 or element.status == 101)
        ]
        wanted = self.request
        if wanted is None or not requests:
            return responses[-1] if responses else None
        index = requests.index(wanted)
        return responses[index] if index < len(responses) else None

    @property
    def upgraded(self) -> bool:
        """True when the server answered 101."""
        response = self.response
        return response is not None and response.status == 101


def wants_upgrade(request: Request) -> bool:
    """True when the request shows any sign of a WebSocket handshake."""
    return any(
        header.name.text.lower().startswith("sec-websocket-")
        or (header.name.text == ":protocol" and header.value.text.lower() == "websocket")  # RFC 8441
        or (header.name.text.lower() == "upgrade" and "websocket" in header.value.text.lower())
        for header in request.head.headers
    )


# --- What people and programs said -----------------------------------------------------------------------------------


class LogLine(NamedTuple):
    """A line of text, without its line end and without terminal escapes."""

    text: str
    origin: Origin


class Note(NamedTuple):
    """Something to tell about an input that is no finding ("xxd dump, 224 bytes", "cut at 4 KiB")."""

    name: str
    values: Values = NO_VALUES


class Input(NamedTuple):
    """One thing the user gave: its name, what it was recognised as and what is to be told about it."""

    source: str
    kind: InputKind
    notes: tuple[Note, ...] = ()


class CaptureSummary(NamedTuple):
    """Counts of a capture file or a live capture."""

    packets: int
    bytes: int
    dropped: int
    truncated: bool
    link: str


class Pairing(NamedTuple):
    """Two connections with the same key: `outer` (its id) came first, `inner` is what the proxy made of it.

    `lost` and `added` are names of header fields, in lower case, that only the outer or only the inner request has.
    """

    key: str
    outer: int
    inner: int
    lost: tuple[str, ...]
    added: tuple[str, ...]


class Evidence(NamedTuple):
    """All that the intake makes of the user's inputs."""

    inputs: tuple[Input, ...] = ()
    connections: tuple[Connection, ...] = ()
    lines: tuple[LogLine, ...] = ()
    capture: CaptureSummary | None = None
    pairings: tuple[Pairing, ...] = ()


# --- What we think of it ---------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A plausible cause of a symptom, with the variant of its words and its values."""

    name: str
    variant: str = ""
    values: Values = NO_VALUES


class Hit(NamedTuple):
    """A rule's finding before anybody speaks: where, with which values.

    `candidates` are the causes of a symptom in the order an expert would check them; `next_steps` name the words of
    the steps that separate them. `certainty` overrides the rule's own. `variant` picks finer words.
    """

    spans: tuple[Span | LineSpan, ...]
    values: Values = NO_VALUES
    variant: str = ""
    certainty: Certainty | None = None
    blame: Blame | None = None
    candidates: tuple[Candidate, ...] = ()
    next_steps: tuple[str, ...] = ()
    severity: Severity | None = None


class Place(NamedTuple):
    """Where a finding shows: in a line, or in the bytes `start` to `stop` of a connection's side."""

    source: str
    line: int | None = None
    packet: int | None = None
    connection: int | None = None
    side: Side | None = None
    start: int | None = None
    stop: int | None = None
    text: str = ""  # the line that start and stop count in, for places in text


class Finding(NamedTuple):
    """One thing to tell. Its words (title, why, fix) are looked up by name and variant and filled with `values`."""

    name: str
    code: str
    severity: Severity
    certainty: Certainty
    blame: Blame
    reference: str
    values: Values = NO_VALUES
    variant: str = ""
    places: tuple[Place, ...] = ()
    consequence_of: str | None = None
    occurrences: int = 1  # how many connections or lines show it
    next_steps: tuple[str, ...] = ()  # names of the steps that would tell more


class NextStep(NamedTuple):
    """What to do to learn more; `command` is a line to copy, if there is one."""

    name: str
    values: Values = NO_VALUES
    command: str | None = None


class ConnectionReport(NamedTuple):
    """One connection's own verdict."""

    exchange: Exchange
    verdict: Verdict
    primary: str | None
    findings: tuple[Finding, ...]


class Report(NamedTuple):
    """The whole answer: what every renderer is given."""

    inputs: tuple[Input, ...]
    verdict: Verdict
    primary: str | None
    findings: tuple[Finding, ...]
    next_steps: tuple[NextStep, ...]
    connections: tuple[ConnectionReport, ...] = ()
    capture: CaptureSummary | None = None
