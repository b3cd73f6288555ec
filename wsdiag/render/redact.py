"""Replaces secrets in a report, so that every renderer is given data that may be shared; `secrets` finds them.

The same secret always becomes the same placeholder within a report. In streams and quoted lines a placeholder is as
long as the secret, so that offsets, marks and the hexadecimal view stay right; elsewhere it is `‹cookie-1›`.
"""

import re
from collections.abc import Sequence

from wsdiag.model import (
    CLIENT,
    SERVER,
    ConnectionReport,
    Element,
    Endpoint,
    Exchange,
    Finding,
    Flaw,
    Foreign,
    Frame,
    Http2Frames,
    Input,
    NextStep,
    Note,
    Place,
    ProxyHeader,
    Report,
    Request,
    Response,
    Side,
    Stream,
    Value,
    Values,
)
from wsdiag.render.annotate import SIDES
from wsdiag.render.blank import (
    FILL,
    PROXY_V2_ADDRESS,
    blank,
    blank_http2,
    frame_head_size,
    masked,
    reread_head,
    reread_piece,
)
from wsdiag.render.secret_names import secret_name
from wsdiag.render.secrets import Secret, secrets_in

# Of a long line only this much around the mark is shown anywhere; the rest is blanked without being read.
LINE_WINDOW = 4096
# A value, a note or a command that is longer is cut: no renderer shows more of it.
MAX_TEXT = 8192
# A known secret of fewer characters is not looked for in other texts: "1", "abc" and "admin" occur everywhere.
MIN_KNOWN = 8
# More known secrets than this come from a capture of many clients; each is found in its own place anyway.
MAX_KNOWN = 2000
# Another protocol's first bytes name it; what follows may be a password (MQTT CONNECT, Redis AUTH, FTP USER).
FOREIGN_KEPT = 8
_HEX_RUN = re.compile(r"(?:(?:0x|\\x|%)?[0-9A-Fa-f]{2}[ \t,:;\-]{0,3}){12,}")
_HEX_BYTE = re.compile(r"(?<![0-9A-Fa-f])0x(?P<a>[0-9A-Fa-f]{2})|(?P<b>[0-9A-Fa-f]{2})")


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path's last part; as many parts as it takes where two files have the same name."""
    parts = {path: path.replace("\\", "/").split("/") for path in paths}
    short = {}
    for path, own in parts.items():
        depth = 1
        while depth < len(own) and any(own[-depth:] == other[-depth:] for each, other in parts.items() if each != path):
            depth += 1
        short[path] = "/".join(own[-depth:])
    return short


class Redactor:
    """The placeholders of one report. `reveal` makes every method give back what it was given."""

    def __init__(self, report: Report | None = None, *, reveal: bool = False) -> None:
        self.reveal = reveal
        self._names: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._count: dict[str, int] = {}
        self._known: re.Pattern[str] | None = None
        self._harmless, self._servers = _kept(report) if report else (frozenset[str](), frozenset[str]())

    def report(self, report: Report) -> Report:
        """The report without its secrets; verdicts, spans and offsets are the same."""
        if self.reveal:
            return report
        if not (self._harmless or self._servers):
            self._harmless, self._servers = _kept(report)
        # What a log line names as a secret is one in the bytes too, and the reverse.
        for finding in report.findings:
            self._finding(finding, frozenset())
        self._know()
        self._files = _short_names([each.source for each in report.inputs])
        connections = tuple(self.connection(each) for each in report.connections)
        self._know()
        hidden = _hidden_lines(report.connections, connections)
        return report._replace(
            inputs=tuple(self._input(each) for each in report.inputs),
            findings=tuple(self._finding(each, hidden) for each in report.findings),
            next_steps=tuple(self._step(each) for each in report.next_steps),
            connections=connections,
        )

    def text(self, text: str) -> str:
        """The text with a readable placeholder (`‹token-1›`) for each secret."""
        if self.reveal:
            return text
        if len(text) > MAX_TEXT:
            text = text[: MAX_TEXT - 1] + "…"
        parts, at = [], 0
        for secret in self._secrets(text):
            parts.append(text[at : secret.start] + f"‹{self._name(text, secret)}›")
            at = secret.stop
        return self._hex_runs("".join(parts) + text[at:])

    def same_length(self, text: str) -> str:
        """The text with placeholders that are as long as the secrets; bytes written in hexadecimal are read too."""
        if self.reveal:
            return text
        return self._hex_runs(self._replaced(text))

    def redact_bytes(self, data: bytes) -> bytes:
        """The bytes with placeholders of the same length for the secrets in their text."""
        if self.reveal or not data:
            return data
        return self._replaced(data.decode("latin-1")).encode("latin-1", "replace")

    def connection(self, connected: ConnectionReport) -> ConnectionReport:
        """A connection with redacted streams, elements read anew out of them, and the client's address replaced."""
        if self.reveal:
            return connected
        exchange = connected.exchange
        of = exchange.connection
        client, server = self._stream(exchange, CLIENT), self._stream(exchange, SERVER)
        endpoint = of.client_endpoint
        changed = of._replace(
            client=client,
            server=server,
            client_endpoint=self._endpoint(endpoint),
            frames=tuple(self._frame(each, None) for each in of.frames),
            notes=tuple(self._note(each) for each in of.notes),
        )
        elements: dict[Side, tuple[Element, ...]] = {
            side: tuple(self._element(each, changed.stream(side).data) for each in exchange.elements(side))
            for side in SIDES
        }
        findings = tuple(self._finding(each, frozenset()) for each in connected.findings)
        return connected._replace(exchange=Exchange(changed, elements[CLIENT], elements[SERVER]), findings=findings)

    def capture_payload(self, data: bytes) -> bytes:
        """The payload of a packet for a capture that is written anew: the same length."""
        return self.redact_bytes(data)

    # --- What a secret is called

    def _name(self, text: str, secret: Secret) -> str:
        value = text[secret.start : secret.stop]
        name = self._names.get(value)
        if name is None:
            number = self._count[secret.kind] = self._count.get(secret.kind, 0) + 1
            name = self._names[value] = f"{secret.kind}-{number}"
        return name

    def _secrets(self, text: str) -> list[Secret]:
        """The secrets of a text, those included that were met elsewhere in this report."""
        found = secrets_in(text, self._harmless, self._servers)
        for secret in found:
            self._name(text, secret)
        if self._known is None:
            return found
        taken = [(each.start, each.stop) for each in found]
        for match in self._known.finditer(text):
            if not any(start < match.end() and match.start() < stop for start, stop in taken):
                kind = self._names[match[0]].rpartition("-")[0]
                found.append(Secret(match.start(), match.end(), kind))
        return sorted(found)

    def _know(self) -> None:
        """From now on, look for every secret met so far; what has a shape of its own is found without."""
        known = [
            value
            for value, name in self._names.items()
            if len(value) >= MIN_KNOWN and not name.startswith(("address-", "email-", "jwt-"))
        ]
        known = sorted(known[:MAX_KNOWN], key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def _replaced(self, text: str) -> str:
        parts, at = [], 0
        for secret in self._secrets(text):
            parts.append(text[at : secret.start] + fitted(self._name(text, secret), secret.stop - secret.start))
            at = secret.stop
        return "".join(parts) + text[at:]

    def _hex_runs(self, text: str) -> str:
        return _HEX_RUN.sub(self._hex_run, text) if _HEX_RUN.search(text) else text

    def _hex_run(self, match: re.Match[str]) -> str:
        """A run of hexadecimal whose bytes hold secrets, with the digits of the redacted bytes."""
        run = match[0]
        places = [each.start("a") if each["a"] else each.start("b") for each in _HEX_BYTE.finditer(run)]
        data = bytes(int(run[place : place + 2], 16) for place in places)
        changed = self.redact_bytes(data)
        if changed == data:
            return run
        digits = list(run)
        for place, old, new in zip(places, data, changed, strict=True):
            if old != new:
                digits[place : place + 2] = f"{new:02X}" if run[place : place + 2].isupper() else f"{new:02x}"
        return "".join(digits)

    # --- The parts of a report

    def _stream(self, exchange: Exchange, side: Side) -> Stream:
        stream = exchange.connection.stream(side)
        data = bytearray(self.redact_bytes(stream.data))
        for element in exchange.elements(side):
            start, stop = element.span.start, min(element.span.stop, len(data))
            if isinstance(element, Frame):
                self._blank_frame(element, data, stream.data[start:stop])
            elif isinstance(element, Foreign):
                blank(data, start + FOREIGN_KEPT, stop)
            elif isinstance(element, Http2Frames):
                blank_http2(data, start, stop)
            elif isinstance(element, ProxyHeader) and element.version == 2:
                blank(data, start + PROXY_V2_ADDRESS, stop)
            elif isinstance(element, Response) and element.body and element.head.first("content-encoding"):
                blank(data, element.body.start, min(element.body.stop, stop))
        return stream._replace(data=bytes(data))

    def _blank_frame(self, frame: Frame, data: bytearray, sent: bytes) -> None:
        """Redact a frame's payload where it stands: under its mask; compressed payloads are blanked as a whole."""
        head = min(frame_head_size(sent), len(sent))
        payload = sent[head:]
        mask = frame.mask
        plain = masked(payload, mask) if mask else payload
        changed = self._payload(frame, plain)
        start = frame.span.start
        # The head's bytes and the mask are no text; what was taken for a secret in them is put back.
        data[start : start + len(sent)] = sent[:head] + (masked(changed, mask) if mask else changed)

    def _payload(self, frame: Frame, plain: bytes) -> bytes:
        if frame.rsv & 4:
            return FILL.encode() * len(plain)
        if frame.opcode == 8:
            return plain[:2] + self.redact_bytes(plain[2:])
        return self.redact_bytes(plain)

    def _frame(self, frame: Frame, data: bytes | None) -> Frame:
        """A frame with the payload that stands in the redacted stream, or (kept apart) a redacted one."""
        if data is None:
            return frame._replace(payload=self._payload(frame, frame.payload))
        sent = data[frame.span.start : frame.span.stop]
        payload = sent[frame_head_size(sent) :][: len(frame.payload)]
        return frame._replace(payload=masked(payload, frame.mask) if frame.mask else payload)

    def _element(self, element: Element, data: bytes) -> Element:
        """The element with its texts taken from the redacted bytes."""
        match element:
            case Request():
                return element._replace(
                    method=reread_piece(element.method, data),
                    target=reread_piece(element.target, data),
                    version=reread_piece(element.version, data),
                    head=reread_head(element.head, data),
                    flaws=self._flaws(element.flaws),
                )
            case Response():
                body = element.body
                content = data[body.start : body.start + len(element.content)] if body else b""
                if len(content) != len(element.content):  # a body that was decoded (chunked) is no slice of the stream
                    content = self.redact_bytes(element.content)
                return element._replace(
                    reason=reread_piece(element.reason, data),
                    head=reread_head(element.head, data),
                    content=content,
                    flaws=self._flaws(element.flaws),
                )
            case Frame():
                kept = element.span.start < len(data)
                return self._frame(element, data if kept else None)._replace(flaws=self._flaws(element.flaws))
            case ProxyHeader():
                return element._replace(source=self._endpoint(element.source))
            case Http2Frames():
                headers = tuple(
                    tuple((name, self._header(name, value)) for name, value in each) for each in element.headers
                )
                return element._replace(headers=headers)
            case Foreign():
                return element._replace(detail=self.text(element.detail))
            case _:
                return element

    def _flaws(self, flaws: Sequence[Flaw]) -> tuple[Flaw, ...]:
        return tuple(each._replace(detail=self.text(each.detail)) for each in flaws)

    def _header(self, name: str, value: str) -> str:
        """A header's value alone: its name tells whether it is a secret."""
        prefix = f"{name}: "
        return self.text(prefix + value)[len(prefix) :]

    def _endpoint(self, endpoint: Endpoint | None) -> Endpoint | None:
        if endpoint is None:
            return None
        return endpoint._replace(host=self.text(endpoint.host))

    def _finding(self, finding: Finding, hidden: frozenset[tuple[str, int]]) -> Finding:
        return finding._replace(
            values=self._values(finding.values),
            places=tuple(self._place(each, hidden) for each in finding.places),
        )

    def _place(self, place: Place, hidden: frozenset[tuple[str, int]]) -> Place:
        if not place.text:
            return place._replace(source=self._source(place.source))
        text = place.text
        begin = max((place.start or 0) - LINE_WINDOW, 0)
        end = (place.start or 0) + LINE_WINDOW
        shown = self.same_length(text[begin:end])
        if place.line is not None and (place.source, place.line) in hidden and shown == text[begin:end]:
            shown = re.sub(r"[0-9A-Za-z+/]", FILL, shown)
        text = FILL * begin + shown + FILL * max(len(text) - end, 0)
        return place._replace(text=text, source=self._source(place.source))

    def _values(self, values: Values) -> Values:
        named = str(values.get("header", ""))
        changed: dict[str, Value] = {}
        for name, value in values.items():
            if not isinstance(value, str):
                changed[name] = value
            elif name in ("value", "got", "detail") and named and secret_name(named):
                changed[name] = self._header(named, value)
            else:
                changed[name] = self.text(value)
        return changed

    def _note(self, note: Note) -> Note:
        return note._replace(values=self._values(note.values))

    def _input(self, each: Input) -> Input:
        return each._replace(source=self._source(each.source), notes=tuple(self._note(note) for note in each.notes))

    def _source(self, name: str) -> str:
        """The file's name without the folders that tell of its owner's machine."""
        return self.text(self._files.get(name, name))

    def _step(self, step: NextStep) -> NextStep:
        command = self.text(step.command) if step.command else step.command
        return step._replace(values=self._values(step.values), command=command)


def fitted(name: str, size: int) -> str:
    """A placeholder of exactly that many characters: `[cookie-1~~~~]`, shortened where the secret is short."""
    if size >= len(name) + 2:
        return f"[{name}{FILL * (size - len(name) - 2)}]"
    kind, _, number = name.rpartition("-")
    short = f"{kind[:1]}{number}"
    return f"[{short}{FILL * (size - len(short) - 2)}]" if size >= len(short) + 2 else FILL * size


def _kept(report: Report) -> tuple[frozenset[str], frozenset[str]]:
    """What must stay: the keys and accepts of the handshakes, and the servers' own addresses."""
    harmless: set[str] = set()
    servers: set[str] = set()
    clients: set[str] = set()
    for each in report.connections:
        of = each.exchange.connection
        if of.server_endpoint:
            servers.add(of.server_endpoint.host)
        if of.client_endpoint:
            clients.add(of.client_endpoint.host)
        for side in SIDES:
            for element in each.exchange.elements(side):
                if isinstance(element, Request | Response):
                    for name in ("sec-websocket-key", "sec-websocket-accept"):
                        harmless.update(header.value.text for header in element.head.all(name))
    for finding in report.findings:
        harmless.update(str(finding.values[name]) for name in ("key", "accept") if name in finding.values)
        if finding.name in ("response-bad-accept", "client-accept-check-wrong"):
            harmless.update(str(finding.values[name]) for name in ("expected", "got") if name in finding.values)
    return frozenset(each for each in harmless if each), frozenset(servers - clients)


def _hidden_lines(before: Sequence[ConnectionReport], after: Sequence[ConnectionReport]) -> frozenset[tuple[str, int]]:
    """The lines of input whose bytes were changed in a stream.

    A dump's line may hold a part of a secret that nobody can recognise by that line alone.
    """
    lines: set[tuple[str, int]] = set()
    for old, new in zip(before, after, strict=True):
        for side in SIDES:
            was, now = old.exchange.connection.stream(side), new.exchange.connection.stream(side)
            if was.data == now.data:
                continue
            stops = [*(mark.offset for mark in was.marks[1:]), len(was.data)]
            for mark, stop in zip(was.marks, stops, strict=True):
                if mark.origin.line is not None and was.data[mark.offset : stop] != now.data[mark.offset : stop]:
                    lines.add((mark.origin.source, mark.origin.line))
    return frozenset(lines)
