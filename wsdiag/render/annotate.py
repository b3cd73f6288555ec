"""Splits the elements of an exchange into named rows (a request line, a header, a frame's mask …) with their offsets.

Terminal and HTML draw these rows and mark in them what the findings are about; the words are looked up there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from wsdiag.model import (
    CLIENT,
    NO_VALUES,
    SERVER,
    ClientHello,
    Element,
    Exchange,
    Finding,
    Foreign,
    Frame,
    Http2Frames,
    Http2Preface,
    ProxyHeader,
    Request,
    Response,
    ServerHello,
    Side,
    Stream,
    TlsAlert,
    TlsData,
    Value,
    Values,
)
from wsdiag.record import TYPE_CHECKING, NamedTuple
from wsdiag.wire.tls import ALERTS

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    # line: characters of a text protocol · field: bytes of a binary one, with a name · hex: bytes that have none ·
    # fact: something read out of the bytes above · missing: what should stand here and does not · cut: rows left out
    RowKind: TypeAlias = Literal["line", "field", "hex", "fact", "missing", "cut"]


# A head of more lines than this, or a body of more bytes, says nothing more about the handshake.
MAX_HEAD_LINES = 200
MAX_HEX_BYTES = 256
MAX_BODY_BYTES = 1024

OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
# RFC 8446 section 6 and RFC 5246 section 7.2: the alerts that handshakes end with.
TLS_VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
# Which header a finding misses, where its values do not say it.
MISSING = {
    "request-missing-host": "Host",
    "request-missing-upgrade": "Upgrade",
    "request-missing-connection": "Connection",
    "request-missing-key": "Sec-WebSocket-Key",
    "request-missing-version": "Sec-WebSocket-Version",
    "response-missing-upgrade": "Upgrade",
    "response-missing-connection": "Connection",
    "response-missing-accept": "Sec-WebSocket-Accept",
    "proxy-stripped-upgrade": "Upgrade",
}
_RECORD_HEADER = 5  # type, version, length: RFC 8446 section 5.1


class Row(NamedTuple):
    """Bytes `start` to `stop` of a stream under one name. `name` and `values` pick the words of the annotation."""

    kind: RowKind
    start: int
    stop: int
    name: str
    data: bytes = b""
    values: Values = NO_VALUES
    side: Side = CLIENT  # whose header it is: some mean another thing in an answer


class Telling(NamedTuple):
    """Bytes that a finding is about; `number` is the finding's place in the report's list."""

    side: Side
    start: int
    stop: int
    number: int
    finding: Finding


def tellings(findings: Sequence[Finding], connection: int) -> list[Telling]:
    """Where in the bytes of that connection the findings show, the most important finding first."""
    return [
        Telling(place.side, place.start, place.stop, number, finding)
        for number, finding in enumerate(findings)
        for place in finding.places
        if place.connection == connection
        and place.side is not None
        and place.start is not None
        and place.stop is not None
    ]


def missing_header(finding: Finding) -> str | None:
    """The header whose absence the finding is about, if it is about an absence."""
    if finding.name not in MISSING:
        return None
    return str(finding.values.get("header") or MISSING[finding.name])


def side_rows(exchange: Exchange, side: Side, told: Sequence[Telling] = ()) -> Iterator[tuple[Element, list[Row]]]:
    """Every element of that side with its rows, the missing headers of `told` included where they should stand."""
    stream = exchange.connection.stream(side)
    for element in exchange.elements(side):
        absent = [
            header
            for telling in told
            if telling.side == side and _inside(telling, element) and (header := missing_header(telling.finding))
        ]
        yield element, list(element_rows(element, stream, absent))


def element_rows(element: Element, stream: Stream, absent: Iterable[str] = ()) -> Iterator[Row]:
    """The rows of one element; `absent` are the names of headers that should be there."""
    data = stream.data
    match element:
        case Request() | Response():
            yield from _head_rows(element, data, absent)
        case Frame():
            yield from _frame_rows(element, data)
        case ClientHello() | ServerHello() | TlsAlert() | TlsData():
            yield from _tls_rows(element, data)
        case ProxyHeader(version=1) | Http2Preface():
            yield from _lines(data, element.span.start, element.span.stop, "line")
        case ProxyHeader():
            yield from _proxy_rows(element, data)
        case Http2Frames():
            yield from _http2_rows(element, data)
        case Foreign():
            values = {"protocol": element.protocol, "detail": element.detail}
            yield Row("fact", element.span.start, element.span.start, "foreign", values=values)
            yield from _hex(data, element.span.start, element.span.stop)
        case _:
            yield from _hex(data, element.span.start, element.span.stop)


def _inside(telling: Telling, element: Element) -> bool:
    return element.span.start <= telling.start and telling.stop <= element.span.stop


def _head_rows(element: Request | Response, data: bytes, absent: Iterable[str]) -> Iterator[Row]:
    stop = element.body.start if element.body else element.span.stop
    headers = {header.name.span.start: header.name.text.lower() for header in element.head.headers}
    first = "request-line" if isinstance(element, Request) else "status-line"
    for count, row in enumerate(_lines(data, element.span.start, stop, first), 1):
        if count > MAX_HEAD_LINES:
            yield Row("cut", row.start, stop, "more-lines", values={"count": stop - row.start})
            break
        if row.data in (b"\r\n", b"\n"):
            yield from (Row("missing", row.start, row.start, "missing", values={"header": name}) for name in absent)
            yield row._replace(name="end-of-head")
        elif count > 1:
            yield row._replace(name=headers.get(row.start, "line"), side=element.span.side)
        else:
            yield row
    if element.body:
        yield from _body(data, element.body.start, element.body.stop)


def _lines(data: bytes, start: int, stop: int, first: str) -> Iterator[Row]:
    stop = min(stop, len(data))
    name = first
    while start < stop:
        end = data.find(b"\n", start, stop)
        end = stop if end < 0 else end + 1
        yield Row("line", start, end, name, data[start:end])
        start, name = end, "line"


def _body(data: bytes, start: int, stop: int) -> Iterator[Row]:
    """A body: as lines when it is text, else in hexadecimal; the start of it only."""
    stop = min(stop, len(data))
    shown = min(stop, start + MAX_BODY_BYTES)
    if not is_text(data[start:shown]):
        yield from _hex(data, start, stop, "body")
        return
    yield from _lines(data, start, shown, "body")
    if shown < stop:
        yield Row("cut", shown, stop, "more-bytes", values={"count": stop - shown})


def is_text(data: bytes) -> bool:
    """True for bytes that read as text: UTF-8 (cut anywhere) without control characters but line ends and tabs."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(data) or len(data) - error.start > 3:
            return False
        text = data[: error.start].decode("utf-8")
    return bool(text) and not any(char < " " and char not in "\r\n\t\x1b" for char in text)


def _frame_rows(frame: Frame, data: bytes) -> Iterator[Row]:
    start, stop = frame.span.start, min(frame.span.stop, len(data))
    if start >= len(data):  # a frame after the bytes that were kept
        yield Row("fact", start, start, "frame-kept", values=_frame_values(frame))
        return
    fields: list[tuple[str, int, dict[str, Value]]] = [
        ("frame-bits", 1, {"fin": int(frame.fin), "rsv": f"{frame.rsv:03b}", "opcode": _opcode(frame.opcode)}),
    ]
    coded = data[start + 1] & 0x7F if start + 1 < stop else 0
    size = 1 + (2 if coded == 126 else 8 if coded == 127 else 0)
    fields.append(("frame-length", size, {"mask": int(frame.mask is not None), "length": frame.length}))
    if frame.mask is not None:
        fields.append(("frame-mask", 4, {}))
    for name, length, values in fields:
        end = min(start + length, stop)
        if start < end:
            yield Row("field", start, end, name, data[start:end], values)
        start = end
    if start < stop:
        yield Row("field", start, stop, "frame-payload", data[start:stop], _frame_values(frame))


def _frame_values(frame: Frame) -> dict[str, Value]:
    """What a frame carries, as text: a close frame's code and reason (RFC 6455 section 5.5.1), else the payload."""
    values: dict[str, Value] = {"opcode": _opcode(frame.opcode), "length": frame.length}
    payload = frame.payload
    if frame.opcode == 8 and len(payload) >= 2:
        values["code"] = int.from_bytes(payload[:2], "big")
        payload = payload[2:]
    if frame.opcode in (1, 8, 9, 10) or payload.isascii():
        values["text"] = payload.decode("utf-8", "surrogateescape")
    else:
        values["text"] = payload[:MAX_HEX_BYTES].hex(" ")
    return values


def _opcode(number: int) -> str:
    return f"{number} {OPCODES[number]}" if number in OPCODES else str(number)


def tls_version(number: int) -> str:
    """The name of a TLS version number on the wire."""
    return TLS_VERSIONS.get(number, f"0x{number:04x}")


def alert_name(number: int) -> str:
    """The name of a TLS alert, or its number."""
    return ALERTS.get(number, str(number))


def _tls_rows(element: ClientHello | ServerHello | TlsAlert | TlsData, data: bytes) -> Iterator[Row]:
    start, stop = element.span.start, element.span.stop
    end = min(start + _RECORD_HEADER, stop, len(data))
    header = data[start:end]
    values: dict[str, Value] = {}
    if len(header) == _RECORD_HEADER:
        version, length = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
        values = {"class": header[0], "version": tls_version(version), "length": length}
    yield Row("field", start, end, "tls-record", header, values)
    facts: list[tuple[str, Value]] = []
    if isinstance(element, ClientHello):
        facts = [
            ("sni", element.server_name),
            ("alpn", ", ".join(element.alpn)),
            ("versions", ", ".join(tls_version(version) for version in element.versions)),
        ]
    elif isinstance(element, ServerHello):
        facts = [("versions", tls_version(element.version)), ("alpn", element.alpn)]
    elif isinstance(element, TlsAlert):
        facts = [("alert", alert_name(element.description))]
    else:
        facts = [("tls-records", element.records)]
    for name, value in facts:
        if value:
            yield Row("fact", start, start, name, values={"value": value})
    yield from _hex(data, end, stop)


def _proxy_rows(element: ProxyHeader, data: bytes) -> Iterator[Row]:
    for name, endpoint in (("proxy-source", element.source), ("proxy-destination", element.destination)):
        if endpoint:
            values: Values = {"host": endpoint.host, "port": endpoint.port}
            yield Row("fact", element.span.start, element.span.start, name, values=values)
    yield from _hex(data, element.span.start, element.span.stop)


def _http2_rows(element: Http2Frames, data: bytes) -> Iterator[Row]:
    start = element.span.start
    yield Row("fact", start, start, "http2-frames", values={"count": element.frames})
    for identifier, value in element.settings:
        yield Row("fact", start, start, "http2-setting", values={"number": identifier, "value": value})
    for headers in element.headers:
        for name, value_text in headers:
            yield Row("fact", start, start, "http2-header", values={"header": name, "value": value_text})
    for error in element.errors:
        yield Row("fact", start, start, "http2-error", values={"number": error})
    yield from _hex(data, start, element.span.stop)


def _hex(data: bytes, start: int, stop: int, name: str = "bytes") -> Iterator[Row]:
    stop = min(stop, len(data))
    if start >= stop:
        return
    shown = min(stop, start + MAX_HEX_BYTES)
    yield Row("hex", start, shown, name, data[start:shown])
    if shown < stop:
        yield Row("cut", shown, stop, "more-bytes", values={"count": stop - shown})


SIDES: tuple[Side, Side] = (CLIENT, SERVER)
