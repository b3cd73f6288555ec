"""HAR files, as browsers, proxies and test drivers export them: the entries of WebSockets become connections.

What an export never keeps (the bytes, other headers than it cares for, masks, the close) is left open and never taken
for missing. Messages are left to `har_messages`, heads to `remade`, judging to the rules.

HAR 1.2: http://www.softwareishard.com/blog/har-12-spec/; fields that begin with `_` are the exporters' own.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias
from urllib.parse import SplitResult, urlsplit

from wsdiag.intake import remade
from wsdiag.intake.har_messages import Messages, read_messages
from wsdiag.model import (
    Connection,
    Ending,
    Endpoint,
    Evidence,
    Input,
    LogLine,
    Mark,
    Note,
    Origin,
    Stream,
    Transport,
    WsdiagError,
)
from wsdiag.record import NamedTuple

Object: TypeAlias = dict[str, Any]

MAX_HAR = 100 * 1024 * 1024  # a long session with all contents; parsed, it takes three times as much memory
MAX_ENTRIES = 10_000  # WebSocket entries that are told; a client that reconnects every second for three hours
MAX_CONTENT = 4096  # bytes of a refusal's body, as much as a Response keeps
MAX_TEXT = 16 * 1024  # characters of a content that are kept while the file is parsed
MAX_ERROR = 1000  # characters of an error's text
SPREAD = 12  # lines from one entry to the next in an indented export; a compact one has all in one line
PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
WEBSOCKET_SCHEME = {"http": "ws", "https": "wss"}
# Proxies tell the head as it went over the wire; browsers tell what they care for.
KEEPS_ALL = ("mitmproxy", "charles", "fiddler", "proxyman", "http toolkit", "httptoolkit", "burp")
# What a browser never leaves out of a handshake: where the export lacks one, it is the export that is not whole.
ASKING = frozenset({"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"})
ANSWERING = frozenset({"upgrade", "connection", "sec-websocket-accept"})
# Where exporters write why there is no answer: Chromium and mitmproxy, Playwright, Charles.
ERROR_FIELDS = ("_error", "_failureText", "_errorMessage")
# The content is kept decoded and in one piece, so what told of its coding is not true any more.
OF_CODING = frozenset({"content-encoding", "transfer-encoding", "content-length"})
_REDACTED = re.compile(
    r"(?i)\W*(?:redacted|removed|hidden|sanitized|filtered|masked|scrubbed|omitted|已脱敏|\*{3,}|x{4,}|\.{3}|…)\W*"
)
_HTTP2 = re.compile(r"(?i)h2c?|h3.*|http/[23](?:\.0)?")
_POLLING = re.compile(r"/(?:socket|engine)\.io/|[?&]transport=polling\b")


class Entry(NamedTuple):
    """One entry of the log, with the types that were promised."""

    url: SplitResult
    method: str
    version: str
    request: tuple[tuple[str, str], ...]
    status: int  # 0 when there was no answer
    reason: str
    answered_with: str  # the answer's version
    response: tuple[tuple[str, str], ...]
    content: bytes
    error: str
    resource: str
    messages: Messages
    address: str
    started: float | None
    timings: Object
    redacted: tuple[str, ...]  # names of headers whose values somebody took out
    stamp: str  # startedDateTime, as it stands in the file

    def sent(self, name: str) -> str:
        """The value of the request's header of that name (in lower case), or the empty string."""
        return _value(self.request, name)

    def got(self, name: str) -> str:
        """The value of the response's header of that name (in lower case), or the empty string."""
        return _value(self.response, name)

    @property
    def asked_by_browser(self) -> bool:
        """True when the exporter itself says that this is a WebSocket."""
        return self.resource == "websocket" or self.url.scheme in ("ws", "wss") or bool(self.messages.many)

    @property
    def handshake(self) -> bool:
        """True for the handshake of a WebSocket, whatever came of it."""
        return (
            self.asked_by_browser
            or self.sent(":protocol").lower() == "websocket"
            or "websocket" in self.sent("upgrade").lower()
            or bool(self.sent("sec-websocket-key"))
            or bool(self.status == 101 and (self.got("sec-websocket-accept") or "websocket" in self.got("upgrade")))
        )

    @property
    def failed_polling(self) -> bool:
        """True for Socket.IO's requests ahead of the WebSocket, where they were refused."""
        failed = self.status >= 400 or (not self.status and bool(self.error))
        return failed and _POLLING.search(f"{self.url.path}?{self.url.query}") is not None

    @property
    def inside_http2(self) -> bool:
        """True for a WebSocket over HTTP/2, where there is neither key nor accept nor 101."""
        if self.status == 101 or self.sent("sec-websocket-key"):
            return False
        return bool(self.sent(":protocol")) or (self.asked_by_browser and bool(_HTTP2.fullmatch(self.version)))

    @property
    def target(self) -> str:
        """The request's target."""
        return (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")

    @property
    def server(self) -> Endpoint | None:
        """Where the URL leads, by address where the export knows it."""
        try:
            port = self.url.port or PORTS.get(self.url.scheme)
        except ValueError:
            return None
        host = self.address or self.url.hostname
        return Endpoint(host, port) if host and port else None


def read_har(stream: BinaryIO, source: str) -> Evidence:
    """The WebSockets of a HAR file, and the failed ones' errors as lines in a browser's words."""
    text = _text(stream, source)
    log = _log(text, source)
    creator = _object(log.get("creator")) or _object(log.get("browser"))
    program = _string(creator.get("name"))[:80]
    raw = program.lower().startswith(KEEPS_ALL)
    entries = _list(log.get("entries"))
    lines = _Lines(text, len(entries))
    del text
    connections: list[Connection] = []
    said: list[LogLine] = []
    redacted: dict[str, None] = {}
    count = 0
    for each in entries:
        entry = _entry(each)
        if entry is None or not (entry.handshake or entry.failed_polling):
            continue
        count += 1
        if count > MAX_ENTRIES:
            continue
        origin = Origin(source, lines.of(entry))
        redacted.update(dict.fromkeys(entry.redacted))
        connection = _connection(len(connections), entry, origin, raw)
        if connection is not None:
            connections.append(connection)
        said += [LogLine(line, origin if lines.spread else Origin(source)) for line in _said(entry)]
    notes = [Note("har-entries", {"count": count, "total": len(entries), **({"program": program} if program else {})})]
    if redacted:
        notes.append(Note("har-redacted", {"header": ", ".join([*redacted][:10])}))
    if count > MAX_ENTRIES:
        notes.append(Note("har-left-out", {"count": count - MAX_ENTRIES}))
    return Evidence((Input(source, "har", tuple(notes)),), tuple(connections), tuple(said))


# --- The file --------------------------------------------------------------------------------------------------------


def _text(stream: BinaryIO, source: str) -> str:
    try:
        data = stream.read(MAX_HAR + 1)
    except OSError as error:
        raise WsdiagError("cannot-read", path=source, detail=error.strerror or str(error)) from error
    if len(data) > MAX_HAR:
        raise WsdiagError("har-too-large", source=source, limit=MAX_HAR // (1024 * 1024))
    return data.decode("utf-8-sig", "replace")


def _log(text: str, source: str) -> Object:
    """The `log` object; what is no JSON is an error, since nothing else can be said about it."""
    try:
        whole = json.loads(text, object_hook=_slim)
    except RecursionError as error:
        raise WsdiagError("bad-har", source=source) from error
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise WsdiagError("bad-har", source=source, **({"line": line} if line else {})) from error
    return _object(_object(whole).get("log"))


def _slim(value: Object) -> Object:
    """The object without most of a long content, which is what makes exports large."""
    text = value.get("text")
    if isinstance(text, str) and len(text) > MAX_TEXT:
        value["text"] = text[:MAX_TEXT]
    return value


class _Lines:
    """In which line of the file an entry stands. Entries are asked for in their order."""

    def __init__(self, text: str, entries: int) -> None:
        self._text = text
        self._at = self._line_at = 0
        self._line = 1
        self.spread = text.count("\n") >= SPREAD * max(entries, 1)

    def of(self, entry: Entry) -> int | None:
        """The line of the entry's URL, else of its time; None where neither is found."""
        found = self._text.find(f'"{entry.stamp}"', self._at) if entry.stamp else -1
        if found < 0:
            return None
        self._at = found + 1
        url = self._text.find(f"{entry.url.scheme}://", found)
        if 0 <= url <= found + MAX_TEXT:
            found = url
        if found >= self._line_at:
            self._line += self._text.count("\n", self._line_at, found)
            self._line_at = found
            return self._line
        return self._text.count("\n", 0, found) + 1


# --- An entry --------------------------------------------------------------------------------------------------------


def _entry(value: object) -> Entry | None:
    """The entry; None when it has no URL that can be read."""
    each = _object(value)
    request, response = _object(each.get("request")), _object(each.get("response"))
    try:
        url = urlsplit(_string(request.get("url")))
        known = url.scheme in PORTS and bool(url.hostname)
    except ValueError:
        return None
    if not known:
        return None
    asked, hidden = _fields(request.get("headers"))
    answered, hidden_too = _fields(response.get("headers"))
    status = response.get("status")
    told = [_string(where.get(name)) for where in (response, each) for name in ERROR_FIELDS]
    stamp = _string(each.get("startedDateTime"))
    started = _seconds(stamp)
    return Entry(
        url,
        _string(request.get("method")) or "GET",
        _string(request.get("httpVersion")),
        asked,
        status if isinstance(status, int) and 100 <= status <= 999 else 0,
        _string(response.get("statusText")),
        _string(response.get("httpVersion")),
        answered,
        _content(_object(response.get("content"))),
        next((text for text in told if text), "")[:MAX_ERROR],
        _string(each.get("_resourceType")),
        read_messages(_list(each.get("_webSocketMessages"))),
        _address(_string(each.get("serverIPAddress"))),
        started,
        _object(each.get("timings")),
        (*hidden, *hidden_too),
        stamp,
    )


def _fields(value: object) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Names and values of header fields, and the names of those whose value somebody took out."""
    fields: list[tuple[str, str]] = []
    hidden = []
    for each in _list(value):
        field = _object(each)
        name, text = _string(field.get("name")), _string(field.get("value"))
        if name and text and _REDACTED.fullmatch(text):
            hidden.append(name)
        elif name:
            fields.append((name, text))
    return tuple(fields), tuple(hidden)


def _content(content: Object) -> bytes:
    text = _string(content.get("text"))
    if content.get("encoding") != "base64":
        return text[:MAX_CONTENT].encode("utf-8", "replace")[:MAX_CONTENT]
    import base64

    try:
        return base64.b64decode(text[: MAX_TEXT & ~3])[:MAX_CONTENT]
    except ValueError:
        return b""


def _connection(number: int, entry: Entry, origin: Origin, raw: bool) -> Connection | None:
    """The entry as a connection; None where neither a head nor an answer was exported."""
    if not entry.request and not entry.status:
        return None
    if entry.inside_http2:
        client, server = _http2(entry, origin)
    else:
        client, server = _client(entry, origin, raw), _server(entry, origin, raw)
    messages = entry.messages
    return Connection(
        number,
        client,
        server,
        "har",
        None,
        entry.server,
        _transport(entry),
        frames=messages.frames(len(client.data), len(server.data)),
        tally=messages.tally if entry.status == 101 or messages.many else None,
    )


def _client(entry: Entry, origin: Origin, raw: bool) -> Stream:
    fields = list(entry.request)
    names = {name.lower() for name, _ in fields}
    whole = "host" in names and not entry.redacted and (raw or names >= ASKING)
    if entry.asked_by_browser and "upgrade" not in names and not whole:
        fields.append(("Upgrade", "websocket"))  # its type says that it was there
    version = "HTTP/1.0" if raw and entry.version.upper() == "HTTP/1.0" else "HTTP/1.1"
    return _stream(
        remade.start_of_request(entry.method, entry.target, version) + remade.head(fields, whole), origin, "cut"
    )


def _server(entry: Entry, origin: Origin, raw: bool) -> Stream:
    if not entry.status:
        return Stream(seen=False)
    fields = entry.response
    names = {name.lower() for name, _ in fields}
    whole = bool(fields) and not entry.redacted
    if entry.status == 101:
        whole = whole and (raw or names >= ANSWERING)
    elif entry.content:
        whole = True  # nothing but the body hangs on it: only a 101 is searched for what it lacks
        fields = tuple((name, value) for name, value in fields if name.lower() not in OF_CODING)
    version = "HTTP/1.0" if entry.answered_with.upper() == "HTTP/1.0" else "HTTP/1.1"
    data = remade.start_of_response(entry.status, entry.reason, version) + remade.head(fields, whole)
    return _stream(data + entry.content if whole and entry.status != 101 else data, origin, "cut")


def _http2(entry: Entry, origin: Origin) -> tuple[Stream, Stream]:
    scheme = "https" if entry.url.scheme in ("wss", "https") else "http"
    authority = entry.sent(":authority") or entry.url.netloc.rpartition("@")[2]
    client = remade.extended_connect(entry.request, scheme, authority, entry.target)
    if not entry.status:
        return _stream(client, origin, "cut"), Stream(seen=False)
    return _stream(client, origin, "cut"), _stream(
        remade.answer_to_connect(entry.response, entry.status), origin, "cut"
    )


def _stream(data: bytes, origin: Origin, ending: Ending) -> Stream:
    return Stream(data, (Mark(0, origin),), ending=ending, total=len(data))


def _transport(entry: Entry) -> Transport:
    """The times, as far as they are told (milliseconds; -1 stands for "does not apply"). A close is never told."""
    started = entry.started
    opening: Any = "established" if entry.status else "unknown"
    if started is None:
        return Transport(opening)
    until_sent = sum(_duration(entry.timings.get(name)) for name in ("blocked", "dns", "connect", "send"))
    waited = _duration(entry.timings.get("wait"))
    reply = started + until_sent + waited if entry.status and waited else None
    last = entry.messages.last_at
    last = last if last is not None and last >= started else None
    return Transport(
        opening,
        opened_at=started,
        request_at=started + until_sent if entry.request else None,
        reply_at=reply,
        last_data_at=last or reply,
        last_at=last or reply or started,
    )


def _said(entry: Entry) -> Iterator[str]:
    """What went wrong, in the words of a browser's console, which the tables know."""
    scheme = WEBSOCKET_SCHEME.get(entry.url.scheme, entry.url.scheme) if entry.handshake else entry.url.scheme
    url = entry.url._replace(scheme=scheme, netloc=entry.url.netloc.rpartition("@")[2]).geturl()
    errors = list(dict.fromkeys(text for text in (entry.error, *entry.messages.errors) if text))
    if not entry.handshake:
        for error in errors[:1]:
            yield f"{entry.method} {url} {error}"
        return
    for error in errors:
        if entry.status and ("response code: " in error or "HTTP Authentication failed" in error):
            continue  # the status itself is there
        if not error.startswith("Error ") and error.startswith("net::"):
            sent = "during WebSocket handshake" if entry.request else "in connection establishment"
            error = f"Error {sent}: {error}"
        yield f"WebSocket connection to '{url}' failed: {error}"
    if not errors and not entry.status and not entry.messages.many:
        yield f"WebSocket connection to '{url}' failed: "


# --- Types that are promised -----------------------------------------------------------------------------------------


def _object(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _duration(value: object) -> float:
    """Milliseconds as seconds; 0 for what was not measured."""
    return value / 1000 if isinstance(value, int | float) and 0 < value < 1e9 else 0.0


def _value(fields: tuple[tuple[str, str], ...], wanted: str) -> str:
    return next((value for name, value in fields if name.lower() == wanted), "")


def _address(text: str) -> str:
    """An IP address; Chromium writes IPv6 in brackets."""
    address = text.strip("[]")
    return address if re.fullmatch(r"[0-9A-Fa-f:.]{2,45}", address) else ""


def _seconds(stamp: str) -> float | None:
    """A time of ISO 8601 as seconds since the epoch."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
