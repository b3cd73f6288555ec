"""One entry of a HAR file, with the types that the specification promises: whatever stands there instead is left out.

What becomes of it is left to `har`, its messages to `har_messages`. Fields that begin with `_` are the exporters' own.
"""

import re
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, urlsplit

from wsdiag.intake.har_messages import Messages, read_messages
from wsdiag.model import Endpoint

Object: TypeAlias = dict[str, Any]

MAX_CONTENT = 4096  # bytes of a refusal's body, as much as a Response keeps
MAX_TEXT = 16 * 1024  # characters of a content that are kept while the file is parsed
MAX_ERROR = 1000  # characters of an error's text
PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
# Where exporters write why there is no answer: Chromium and mitmproxy, Playwright, Charles.
ERROR_FIELDS = ("_error", "_failureText", "_errorMessage")
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


def read_entry(value: object) -> Entry | None:
    """The entry; None when it has no URL that can be read."""
    each = as_object(value)
    request, response = as_object(each.get("request")), as_object(each.get("response"))
    try:
        url = urlsplit(as_string(request.get("url")))
        known = url.scheme in PORTS and bool(url.hostname)
    except ValueError:
        return None
    if not known:
        return None
    asked, hidden = _fields(request.get("headers"))
    answered, hidden_too = _fields(response.get("headers"))
    status = response.get("status")
    told = [as_string(where.get(name)) for where in (response, each) for name in ERROR_FIELDS]
    stamp = as_string(each.get("startedDateTime"))
    started = _seconds(stamp)
    return Entry(
        url,
        as_string(request.get("method")) or "GET",
        as_string(request.get("httpVersion")),
        asked,
        status if isinstance(status, int) and 100 <= status <= 999 else 0,
        as_string(response.get("statusText")),
        as_string(response.get("httpVersion")),
        answered,
        _content(as_object(response.get("content"))),
        next((text for text in told if text), "")[:MAX_ERROR],
        as_string(each.get("_resourceType")),
        read_messages(as_list(each.get("_webSocketMessages"))),
        _address(as_string(each.get("serverIPAddress"))),
        started,
        as_object(each.get("timings")),
        (*hidden, *hidden_too),
        stamp,
    )


def _fields(value: object) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Names and values of header fields, and the names of those whose value somebody took out."""
    fields: list[tuple[str, str]] = []
    hidden = []
    for each in as_list(value):
        field = as_object(each)
        name, text = as_string(field.get("name")), as_string(field.get("value"))
        if name and text and _REDACTED.fullmatch(text):
            hidden.append(name)
        elif name:
            fields.append((name, text))
    return tuple(fields), tuple(hidden)


def _content(content: Object) -> bytes:
    text = as_string(content.get("text"))
    if content.get("encoding") != "base64":
        return text[:MAX_CONTENT].encode("utf-8", "replace")[:MAX_CONTENT]
    import base64

    try:
        return base64.b64decode(text[: MAX_TEXT & ~3])[:MAX_CONTENT]
    except ValueError:
        return b""


# --- Types that are promised -----------------------------------------------------------------------------------------


def as_object(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_string(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_seconds(value: object) -> float:
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
