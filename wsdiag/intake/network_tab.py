"""What people copy out of a browser's Network tab: "Request URL", "Status Code" and lists of headers become the request
and the response. Heads in their raw form are read by `transcript`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wsdiag.model import LogLine, Mark, Note

if TYPE_CHECKING:
    from wsdiag.intake.transcript import Transcript

# So many lines may a copied tab have: 40 headers on two lines each, with its headings.
MOST_LINES = 160

# The tab's own words, in the languages of wsdiag's users (Chrome, Edge, Firefox), in lower case.
_URL = ("request url", "请求网址", "请求 url", "請求網址", "请求url")
_METHOD = ("request method", "请求方法", "請求方法")
_STATUS = ("status code", "status", "状态代码", "状态码", "狀態碼", "状态")
_ADDRESS = (
    "remote address",
    "远程地址",
    "遠端位址",
    "referrer policy",
    "引荐来源网址政策",
    "引用站点策略",
    "version",
    "版本",
)
_RESPONSE = ("response headers", "响应标头", "响应头", "回應標頭")
_REQUEST = ("request headers", "请求标头", "请求头", "要求標頭")
_NOISE = ("general", "常规", "view source", "view parsed", "raw", "原始", "查看源代码", "一般")
_PROVISIONAL = ("provisional headers are shown", "显示的是预配标头", "当前显示的是预配标头")
# Headers that only one side sends, for lists without a heading.
_OF_RESPONSE = frozenset({"sec-websocket-accept", "server", "date", "set-cookie", "location", "cf-ray", "via"})


class _Tab:
    """The tab as far as it was read."""

    def __init__(self) -> None:
        self.url = self.method = self.status = ""
        self.request: list[tuple[str, str, int]] = []
        self.response: list[tuple[str, str, int]] = []
        self.section = ""
        self.provisional = False
        self.has_request = self.has_response = False


def find_network_tabs(lines: Sequence[LogLine]) -> "list[Transcript]":
    """Every copied tab: it begins with the request's URL."""
    found = []
    index = 0
    while index < len(lines):
        lowered = lines[index].text.strip().lower()
        if not lowered.startswith(_URL):
            index += 1
            continue
        tab, last = _read_tab(lines, index)
        transcript = _transcript(tab, lines, index, last)
        if transcript is not None:
            found.append(transcript)
            index = last
        index += 1
    return found


def _read_tab(lines: Sequence[LogLine], first: int) -> tuple[_Tab, int]:
    """Read name and value pairs, on one line or on two, until something else comes."""
    tab = _Tab()
    index = last = first
    while index < len(lines) and index - first <= MOST_LINES:
        text = lines[index].text.strip()
        lowered = text.lower().rstrip(" :\uff1a")
        index += 1
        if not text or lowered in _NOISE:
            continue
        if index - 1 > first and lowered.startswith(_URL):
            break
        heading = next((each for each in (*_RESPONSE, *_REQUEST) if lowered.startswith(each)), "")
        if heading and len(lowered) - len(heading) <= 24 and ":" not in text.rstrip(":")[len(heading) :].split("(")[0]:
            tab.section = "response" if heading in _RESPONSE else "request"
            tab.has_response |= tab.section == "response"
            tab.has_request |= tab.section == "request"
            last = index - 1
            continue
        if any(lowered.startswith(each) for each in _PROVISIONAL):
            tab.provisional, last = True, index - 1
            continue
        name, value, used = _pair(lines, index - 1)
        if not name:
            break
        index += used
        last = index - 1
        _enter(tab, name, value, last)
    return tab, last


def _pair(lines: Sequence[LogLine], index: int) -> tuple[str, str, int]:
    """A name and its value from this line, or from this and the next; how many more lines that took."""
    text = lines[index].text.strip()
    match = re.match(r"^(:?[\w\u4e00-\u9fff -]{1,60}?)\s*[:\uff1a]\s*(.+)$", text) or re.match(
        r"^([^\t]{1,60})\t+(.+)$", text
    )
    if match and (" " not in match[1] or match[1].lower() in (*_URL, *_METHOD, *_STATUS, *_ADDRESS)):
        return match[1].strip(), match[2].strip(), 0
    alone = re.match(r"^(:?[\w\u4e00-\u9fff -]{1,60}?)\s*[:\uff1a]?$", text)
    if alone and index + 1 < len(lines) and lines[index + 1].text.strip():
        known = alone[1].lower() in (*_URL, *_METHOD, *_STATUS, *_ADDRESS)
        if known or re.fullmatch(r":?[A-Za-z][\w-]*", alone[1]):
            return alone[1], lines[index + 1].text.strip(), 1
    return "", "", 0


def _enter(tab: _Tab, name: str, value: str, index: int) -> None:
    """Put a pair where it belongs."""
    lowered = name.lower()
    if not tab.section:
        if lowered in _URL:
            tab.url = value
            return
        if lowered in _METHOD:
            tab.method = value
            return
        if lowered in _STATUS:
            tab.status = value
            return
        if lowered in _ADDRESS:
            return
    section = tab.section or ("response" if lowered in _OF_RESPONSE else "request")
    (tab.response if section == "response" else tab.request).append((name, value, index))


def _transcript(tab: _Tab, lines: Sequence[LogLine], first: int, last: int) -> "Transcript | None":
    """The tab as a conversation; None where it shows HTTP/2 (pseudo-headers) or no address."""
    from wsdiag.intake.transcript import CRLF, Transcript
    from wsdiag.model import Ending, Stream

    try:
        url = urlsplit(tab.url)
    except ValueError:
        return None
    if not url.netloc or any(name.startswith(":") for name, _, _ in (*tab.request, *tab.response)):
        return None
    origin = lines[first].origin

    def stream(start: str, fields: list[tuple[str, str, int]], whole: bool) -> Stream:
        data = bytearray(start.encode("utf-8", "replace") + CRLF)
        marks = [Mark(0, origin)]
        for name, value, index in fields:
            marks.append(Mark(len(data), lines[index].origin))
            data += f"{name}: {value}".encode("utf-8", "replace") + CRLF
        ending: Ending = "open" if whole else "cut"
        return Stream(bytes(data + CRLF if whole else data), tuple(marks), ending=ending, total=len(data))

    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    whole = tab.has_request and not tab.provisional and any(name.lower() == "host" for name, _, _ in tab.request)
    client = stream(f"{tab.method or 'GET'} {target} HTTP/1.1", tab.request, whole)
    server = None
    status = re.match(r"^(\d{3})\b\s*(.*)$", tab.status)
    if status:
        server = stream(f"HTTP/1.1 {status[1]} {status[2]}", tab.response, tab.has_response and bool(tab.response))
    elif not tab.request:
        return None
    return Transcript(client, server, first, last, (Note("from-network-tab"),))
