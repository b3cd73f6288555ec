"""HAR files, as browsers, proxies and test drivers export them: the entries of WebSockets become connections.

What an export never keeps (the bytes, other headers than it cares for, masks, the close) is left open and never taken
for missing. Entries are read in `har_entry`, heads made in `remade`; judging is left to the rules.

HAR 1.2: http://www.softwareishard.com/blog/har-12-spec/; fields that begin with `_` are the exporters' own.
"""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from wsdiag.intake import remade
from wsdiag.intake.har_entry import MAX_TEXT, Entry, Object, as_list, as_object, as_seconds, as_string, read_entry
from wsdiag.model import (
    Connection,
    Ending,
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

MAX_HAR = 100 * 1024 * 1024  # a long session with all contents; parsed, it takes three times as much memory
MAX_ENTRIES = 10_000  # WebSocket entries that are told; a client that reconnects every second for three hours
SPREAD = 12  # lines from one entry to the next in an indented export; a compact one has all in one line
WEBSOCKET_SCHEME = {"http": "ws", "https": "wss"}
# Proxies tell the head as it went over the wire; browsers tell what they care for.
KEEPS_ALL = ("mitmproxy", "charles", "fiddler", "proxyman", "http toolkit", "httptoolkit", "burp")
# What a browser never leaves out of a handshake: where the export lacks one, it is the export that is not whole.
ASKING = frozenset({"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"})
ANSWERING = frozenset({"upgrade", "connection", "sec-websocket-accept"})
# The content is kept decoded and in one piece, so what told of its coding is not true any more.
OF_CODING = frozenset({"content-encoding", "transfer-encoding", "content-length"})


def read_har(stream: BinaryIO, source: str) -> Evidence:
    """The WebSockets of a HAR file, and the failed ones' errors as lines in a browser's words."""
    text = _text(stream, source)
    log = _log(text, source)
    creator = as_object(log.get("creator")) or as_object(log.get("browser"))
    program = as_string(creator.get("name"))[:80]
    raw = program.lower().startswith(KEEPS_ALL)
    entries = as_list(log.get("entries"))
    lines = _Lines(text, len(entries))
    del text
    connections: list[Connection] = []
    said: list[LogLine] = []
    redacted: dict[str, None] = {}
    count = 0
    for each in entries:
        entry = read_entry(each)
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
    return as_object(as_object(whole).get("log"))


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


# --- A connection ----------------------------------------------------------------------------------------------------


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
    until_sent = sum(as_seconds(entry.timings.get(name)) for name in ("blocked", "dns", "connect", "send"))
    waited = as_seconds(entry.timings.get("wait"))
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
