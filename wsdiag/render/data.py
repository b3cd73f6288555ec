"""The report as data for programs: the JSON document and the NDJSON lines, with the fields of the `wsdiag.report/1`
contract in its order; what is redacted was decided before.

Text keeps its characters (JSON escapes controls itself), bytes never appear, and a number is always finite.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsdiag.model import (
    ClientHello,
    ConnectionReport,
    Element,
    Endpoint,
    Finding,
    Foreign,
    Frame,
    Http2Frames,
    Http2Preface,
    NextStep,
    Place,
    ProxyHeader,
    Report,
    Request,
    Response,
    ServerHello,
    TlsAlert,
    TlsData,
    Value,
)
from wsdiag.render.annotate import OPCODES, SIDES, alert_name, tls_version
from wsdiag.render.clean import hidden

if TYPE_CHECKING:
    from wsdiag.render.words import Words

SCHEMA = "wsdiag.report/1"
# Text of a frame or a header value longer than this is cut; the capture itself holds the rest.
MAX_TEXT_LENGTH = 4096

KINDS: dict[type[Any], str] = {
    Request: "request",
    Response: "response",
    Frame: "frame",
    ClientHello: "client-hello",
    ServerHello: "server-hello",
    TlsAlert: "tls-alert",
    TlsData: "tls-data",
    ProxyHeader: "proxy-header",
    Http2Preface: "http2-preface",
    Http2Frames: "http2-frames",
    Foreign: "foreign",
}


def document(report: Report, words: "Words", *, indent: int | None = 2) -> str:
    """The JSON document as text, with its line end."""
    return dump(as_json(report, words), indent) + "\n"


def as_json(report: Report, words: "Words") -> dict[str, Any]:
    """The report as the dictionaries and lists of the contract."""
    import wsdiag

    return {
        "schema": SCHEMA,
        "version": getattr(wsdiag, "__version__", "0"),
        "inputs": [
            {"source": each.source, "kind": each.kind, "notes": [words.note(note) for note in each.notes]}
            for each in report.inputs
        ],
        "verdict": report.verdict,
        "primary": report.primary,
        "findings": [_finding(each, words) for each in report.findings],
        "next_steps": [_step(each, words) for each in report.next_steps],
        "connections": [connection(each) for each in report.connections],
        "capture": _capture(report),
    }


def connection_line(connected: ConnectionReport) -> str:
    """One connection as a line of NDJSON, its line end excepted: the document's object, plus findings without prose."""
    findings = [
        {
            "name": each.name,
            "code": each.code,
            "severity": each.severity,
            "certainty": each.certainty,
            "blame": each.blame,
            "consequence_of": each.consequence_of,
            "values": _values(each.values),
            "places": [_place(place) for place in each.places],
        }
        for each in connected.findings
    ]
    return dump({"type": "connection", **connection(connected), "findings": findings})


def summary_line(report: Report, causes: Mapping[str, int] | None = None) -> str:
    """The last line of NDJSON, its line end excepted: how many connections of each verdict and cause, and the capture.

    `causes` counts the primary causes where the connections are no longer in the report (a live capture).
    """
    if causes is None:
        causes = count_causes(report.connections)
    verdicts = Counter(each.verdict for each in report.connections)
    return dump(
        {
            "type": "summary",
            "schema": SCHEMA,
            "verdict": report.verdict,
            "primary": report.primary,
            "connections": len(report.connections) or sum(causes.values()),
            "verdicts": dict(sorted(verdicts.items())),
            "causes": dict(causes),
            "capture": _capture(report),
        }
    )


def count_causes(connections: Sequence[ConnectionReport]) -> dict[str, int]:
    """How many connections have each primary cause, the most frequent first."""
    return dict(Counter(each.primary for each in connections if each.primary).most_common())


def connection(connected: ConnectionReport) -> dict[str, Any]:
    """A connection: who, which packets, its verdict, and what its bytes are."""
    of = connected.exchange.connection
    elements = [_element(each, side) for side in SIDES for each in connected.exchange.elements(side)] + [
        _element(frame, frame.span.side) for frame in of.frames
    ]
    return {
        "id": of.id,
        "client": _endpoint(of.client_endpoint),
        "server": _endpoint(of.server_endpoint),
        "first_packet": of.first_packet,
        "last_packet": of.last_packet,
        "verdict": connected.verdict,
        "primary": connected.primary,
        "elements": elements,
    }


def facts(element: Element) -> dict[str, Any]:
    """The main facts of an element, under names that do not change."""
    match element:
        case Request():
            return {
                "method": _text(element.method.text),
                "target": _text(element.target.text),
                "version": _text(element.version.text),
                "headers": _headers(element),
                "complete": element.head.complete,
            }
        case Response():
            return {
                "version": _text(element.version.text),
                "status": element.status,
                "reason": _text(element.reason.text),
                "headers": _headers(element),
                "complete": element.head.complete,
            }
        case Frame():
            close = element.opcode == 8 and len(element.payload) >= 2
            return {
                "fin": element.fin,
                "rsv": element.rsv,
                "opcode": element.opcode,
                "type": OPCODES.get(element.opcode),
                "masked": element.mask is not None,
                "length": element.length,
                "complete": element.complete,
                "others": element.others,
                "close_code": int.from_bytes(element.payload[:2], "big") if close else None,
            }
        case ClientHello():
            return {
                "versions": [tls_version(version) for version in element.versions],
                "server_name": _text(element.server_name),
                "alpn": [_text(each) for each in element.alpn],
                "complete": element.complete,
            }
        case ServerHello():
            return {"tls_version": tls_version(element.version), "alpn": _text(element.alpn)}
        case TlsAlert():
            return {"level": element.level, "description": alert_name(element.description)}
        case TlsData():
            return {"records": element.records, "encrypted": element.encrypted}
        case ProxyHeader():
            return {
                "proxy_version": element.version,
                "source": _endpoint(element.source),
                "destination": _endpoint(element.destination),
            }
        case Http2Frames():
            return {"frames": element.frames, "errors": list(element.errors)}
        case Foreign():
            return {"protocol": element.protocol, "detail": _text(element.detail)}
        case _:
            return {}


def kind(element: Element) -> str:
    """The element's kind, as the report names it."""
    return KINDS.get(type(element), "unknown")


def _element(element: Element, side: str) -> dict[str, Any]:
    found = {"side": side, "kind": kind(element), "start": element.span.start, "stop": element.span.stop}
    found.update(facts(element))
    if flaws := getattr(element, "flaws", ()):
        found["flaws"] = [
            {"kind": flaw.kind, "start": flaw.span.start, "stop": flaw.span.stop, "detail": _text(flaw.detail)}
            for flaw in flaws
        ]
    return found


def _headers(element: Request | Response) -> list[dict[str, str]]:
    return [{"name": _text(each.name.text), "value": _text(each.value.text)} for each in element.head.headers]


def _finding(finding: Finding, words: "Words") -> dict[str, Any]:
    from wsdiag.render.fixes import diff

    title, why, fix = words.finding(finding)
    return {
        "name": finding.name,
        "code": finding.code,
        "severity": finding.severity,
        "certainty": finding.certainty,
        "blame": finding.blame,
        "consequence_of": finding.consequence_of,
        "title": title,
        "why": why,
        "fix": fix,
        "diff": diff(finding),
        "values": _values(finding.values),
        "reference": finding.reference,
        "places": [_place(place) for place in finding.places],
        "variant": finding.variant or None,
        "occurrences": finding.occurrences,
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "source": place.source,
        "line": place.line,
        "packet": place.packet,
        "connection": place.connection,
        "side": place.side,
        "start": place.start,
        "stop": place.stop,
    }


def _step(step: NextStep, words: "Words") -> dict[str, Any]:
    return {"name": step.name, "text": words.step(step), "command": step.command}


def _endpoint(endpoint: Endpoint | None) -> dict[str, Any] | None:
    return {"host": endpoint.host, "port": endpoint.port} if endpoint else None


def _capture(report: Report) -> dict[str, Any] | None:
    return dict(report.capture._asdict()) if report.capture else None


def _values(values: Mapping[str, Value]) -> dict[str, Value | None]:
    """The values; a number that JSON cannot write is null."""
    return {
        name: _text(value) if isinstance(value, str) else value if _finite(value) else None
        for name, value in values.items()
    }


def _finite(value: float) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")


def _text(text: str) -> str:
    """Text that any JSON reader takes: lone surrogates become escapes, and endless text is cut."""
    if len(text) > MAX_TEXT_LENGTH:
        text = text[: MAX_TEXT_LENGTH - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def dump(value: Any, indent: int | None = None) -> str:
    """JSON in which no character is one that a terminal obeys or hides."""
    import json

    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_escape(char) if char != "\n" and hidden(char) else char for char in text)


def _escape(char: str) -> str:
    """A character that a terminal might obey, as JSON's escape for it: still the same document (RFC 8259 section 7)."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
