"""What a stream's first bytes are: our own protocols, other people's, or text (the table is in `foreign`).

Taking the bytes apart is left to the readers; whether they belong there is left to the rules.
"""

import re

from wsdiag.model import CLIENT, SERVER, Side
from wsdiag.pattern import pattern
from wsdiag.wire import http2, proxy_protocol, tls
from wsdiag.wire.content import CLOSE, MIN_TEXT, TEXT, readable_text
from wsdiag.wire.frames import OPCODES, unmask
from wsdiag.wire.identity import Identity

MAX_LOOK = 4096  # bytes that are looked at, apart from a request's first line
MAX_LINE = 64 * 1024  # servers take request lines of 8 KiB; here, what a line may be to be called one
MAX_DETAIL = 200  # characters of a quoted line

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "PROPFIND"})
_START = pattern(rb"[\r\n \t]{0,16}([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32})[ \t]+")
_VERSION_LAST = pattern(rb"[ \t]HTTP/\S{0,16}[ \t]*\r?\Z", re.IGNORECASE)
_VERSION_ONLY = pattern(rb"HTTP/\d\S{0,8}[ \t]*\r?\Z", re.IGNORECASE)
_TARGET = pattern(rb"[ \t]*(?:/|\*|(?:https?|wss?|websocket)://|\?)", re.IGNORECASE)
_AUTHORITY = pattern(rb"\[?[\w.:-]+\]?:\d*")
STATUS_LINE = pattern(rb"(?:HTTP/\d[.\d]*[ \t]+\d{3}(?!\d)|ICY[ \t]+\d{3}(?!\d))", re.IGNORECASE)
_STATUS_START = pattern(rb"[\r\n]{0,16}(HTTP/|ICY[ \t]+\d)", re.IGNORECASE)
REQUEST_IN_TEXT = pattern(rb"(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|PATCH|CONNECT) [^\r\n]{0,2000} HTTP/1\.[01]\r?\n")

# What the first four bytes are when a length-prefixed protocol takes them for a number.
_FOUR = {
    b"HTTP": "response",
    b"PRI ": "http2",
    b"PROX": "proxy-v1",
    b"\r\n\r\n": "proxy-v2",
    b"SSH-": "ssh",
    b"<pol": "flash-policy",
    b"JRMI": "rmi",
}


def identify(data: bytes, side: Side | None = None) -> Identity:
    """What `data`, the first bytes that `side` sent (None: not known), most probably is.

    Kinds: request, response, tls, proxy-v1, proxy-v2, http2, frame; the protocols of `foreign`; json, text; unknown,
    empty. `sure` is "certain", "likely", or "partial" when more bytes are needed to tell.
    """
    return identify_at(data, 0, len(data), side)


def identify_at(data: bytes, start: int, stop: int, side: Side | None) -> Identity:
    """The same for the bytes `start` to `stop` of `data`."""
    if start >= stop:
        return Identity("empty", "", "partial")
    found = (
        (request_at(data, start, stop) if side != SERVER else None)
        or response_at(data, start, stop)
        or (request_at(data, start, stop) if side == SERVER else None)
        or _own(data, start, stop, side)
    )
    if found is not None and found.sure == "certain":
        return found
    from wsdiag.wire.foreign import other_protocol, text

    look = data[start : min(stop, start + MAX_LOOK)]
    other = other_protocol(look, side)
    if other is not None and (found is None or found.sure == "partial" or other.sure == "certain"):
        return other
    if found is not None:
        return found
    frame = frames_at(data, start, stop, side)
    if frame is not None and frame.sure != "partial":
        return frame
    return text(look) or frame or Identity("unknown", "", "partial" if len(look) < MIN_SURE else "likely")


MIN_SURE = 4  # bytes without which nothing is called known or unknown


def four_bytes(number: int) -> tuple[bytes, str]:
    """The four bytes that a length-prefixed protocol read as this number, and what they begin (a kind of `identify`).

    Workerman's `package_length=1195725856` is b"GET ": an HTTP request. Both are empty for a number of no four bytes.
    """
    if not -(2**31) <= number < 2**32:
        return b"", ""
    four = (number & 0xFFFFFFFF).to_bytes(4, "big")
    if four in _FOUR:
        return four, _FOUR[four]
    if tls.is_record(four, 0, 4):
        return four, "tls"
    word = four.rstrip()
    if word.isalpha() and any(method.encode().startswith(word) for method in METHODS) and len(word) >= 3:
        return four, "request"
    return four, "text" if four.isascii() and four.decode().isprintable() else ""


# --- HTTP/1 ----------------------------------------------------------------------------------------------------------


def request_at(data: bytes, start: int, stop: int) -> Identity | None:
    """The request that begins at `start`: any method, in any case, in front of a target and HTTP/."""
    match = _START.match(data, start, min(stop, start + 64))
    if match is None:
        return _request_begun(data, start, stop)
    method = match[1].decode("ascii")
    line_end = data.find(b"\n", match.end(), min(stop, match.end() + MAX_LINE))
    line = data[match.end() - 1 : line_end if line_end >= 0 else min(stop, match.end() + MAX_LINE)]
    if method.upper().startswith(("HTTP/", "RTSP/", "SIP/")) or (method == "PRI" and line.startswith(b" * HTTP/2")):
        return None
    if _VERSION_LAST.search(line, max(0, len(line) - 64)) or _VERSION_ONLY.match(line[1:]):
        return Identity("request", method, "certain")
    known = method.upper() in METHODS
    targeted = _TARGET.match(line, 1) or (method.upper() == "CONNECT" and _AUTHORITY.match(line, 1))
    if known and targeted:
        return Identity("request", method, "likely" if line_end >= 0 or len(line) > 16 else "partial")
    if known and line_end < 0 and not line.strip():
        return Identity("request", method, "partial")
    return None


def _request_begun(data: bytes, start: int, stop: int) -> Identity | None:
    """A method that the end of the bytes cuts: "GE", "POST"."""
    word = data[start:stop].lstrip(b"\r\n") if stop - start < 24 else b""
    if 0 < len(word) < 9 and word.isalpha() and word.isupper():
        text = word.decode("ascii")
        if any(method.startswith(text) for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT")):
            return Identity("request", text, "partial")
    return None


def response_at(data: bytes, start: int, stop: int) -> Identity | None:
    """The response that begins at `start`."""
    match = _STATUS_START.match(data, start, min(stop, start + 64))
    if match is None:
        word = data[start:stop].lstrip(b"\r\n") if stop - start < 24 else b""
        if word and b"HTTP/".startswith(word):
            return Identity("response", word.decode("ascii"), "partial")
        return None
    status = STATUS_LINE.match(data, match.start(1), min(stop, match.start(1) + 64))
    if status is not None:
        return Identity("response", status[0].decode("ascii"), "certain")
    if stop - match.start(1) < 16:
        return Identity("response", data[match.start(1) : stop].decode("latin-1"), "partial")
    return Identity("response", data[match.start(1) : match.start(1) + 16].decode("latin-1"), "likely")


# --- Our other protocols ---------------------------------------------------------------------------------------------


def _own(data: bytes, start: int, stop: int, side: Side | None) -> Identity | None:
    size = stop - start
    head = data[start : min(stop, start + 32)]
    for kind, magic in (
        ("proxy-v2", proxy_protocol.SIGNATURE_2),
        ("http2", http2.PREFACE),
        ("proxy-v1", proxy_protocol.SIGNATURE_1),
    ):
        if head.startswith(magic):
            return Identity(kind, "", "certain")
        if magic.startswith(head) and size >= 3:
            return Identity(kind, "", "likely" if size >= 8 else "partial")
    if tls.is_sslv2_hello(data, start, stop) and side != SERVER:
        return Identity("tls", "SSLv2 ClientHello", "certain")
    if head[0] in _TLS_KINDS and tls.is_record(data, start, stop):
        return _tls(head)
    if head[0] in _TLS_KINDS and size < 3 and b"\x16\x03\x01"[:size] == head:
        return Identity("tls", "", "partial")
    if side != CLIENT and http2.is_settings(data, start, stop):
        return Identity("http2", "SETTINGS", "likely")
    return None


_TLS_KINDS = {
    tls.CHANGE_CIPHER_SPEC: "ChangeCipherSpec",
    tls.ALERT: "alert",
    tls.HANDSHAKE: "handshake",
    tls.APPLICATION_DATA: "application data",
}


def _tls(head: bytes) -> Identity:
    detail = _TLS_KINDS[head[0]]
    size = int.from_bytes(head[3:5], "big") if len(head) >= 5 else 0
    if len(head) < 6:
        return Identity("tls", detail, "partial" if len(head) < 5 else "likely")
    if head[0] == tls.HANDSHAKE:
        names = {1: "ClientHello", 2: "ServerHello", 11: "Certificate", 16: "ClientKeyExchange", 4: "NewSessionTicket"}
        detail = names.get(head[5], detail)
        return Identity("tls", detail, "certain" if head[5] in (1, 2) else "likely")
    if head[0] == tls.ALERT and size == 2 and len(head) >= 7:
        return Identity("tls", tls.ALERTS.get(head[6], detail), "certain" if head[5] in (1, 2) else "likely")
    return Identity("tls", detail, "likely")


# --- WebSocket frames ------------------------------------------------------------------------------------------------


def frames_at(data: bytes, start: int, stop: int, side: Side | None) -> Identity | None:
    """Frames where no handshake promised them. A header fits too easily, so a payload or further frames must speak for
    them; an unmasked client or a masked server must show readable text."""
    at, count, bytes_, telling = start, 0, 0, False
    while at < stop and count < MAX_CHAIN:
        weighed = _weigh(data, at, stop, side)
        if weighed is None:
            break
        weight, at, length = weighed
        if not weight:
            break
        count += 1
        bytes_ += length
        telling = telling or weight == 2
    if not count:
        return Identity("frame", "", "partial") if weighed is not None and stop - start < MIN_SURE else None
    detail = _NAMES[data[start] & 0x0F]
    whole = at == stop
    if telling:
        return Identity("frame", detail, "certain" if count > 1 or (whole and stop - start >= 12) else "likely")
    control = data[start] & 0x0F >= CLOSE and data[start + 1] & 0x80  # a lone masked ping has nothing to tell
    if (bytes_ and (count >= MAX_CHAIN or (whole and (count > 1 or stop - start >= 8)))) or (whole and control):
        return Identity("frame", detail, "likely")
    return None


MAX_CHAIN = 4  # frames in a row that are looked at
_NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


def _weigh(data: bytes, start: int, stop: int, side: Side | None) -> tuple[int, int, int] | None:
    """How much the bytes at `start` speak for a frame, where it ends and the length of its payload.

    0: they may begin one, 1: the header fits, 2: the payload fits as well. None: they are no frame.
    """
    first = data[start]
    opcode, rsv, fin = first & 0x0F, first >> 4 & 7, first & 0x80
    if opcode not in OPCODES or rsv not in (0, 4) or (rsv and opcode not in (1, 2)):
        return None
    if opcode >= CLOSE and not fin:
        return None
    if stop - start < 2:
        return 0, stop, 0
    second = data[start + 1]
    masked, length = second & 0x80, second & 0x7F
    wide = {126: 2, 127: 8}.get(length, 0)
    if (wide and opcode >= CLOSE) or not (length or masked or opcode >= CLOSE):
        return None  # an empty unmasked data frame may be, but zeros are far likelier
    begin = start + 2 + wide + (4 if masked else 0)
    if stop < begin:
        return 0, stop, 0
    if wide:
        length = int.from_bytes(data[start + 2 : start + 2 + wide], "big")
        if length < (126 if wide == 2 else 65536) or length > MAX_LENGTH:
            return None
    end = begin + length
    look = data[begin : min(end, stop, begin + 512)]
    if masked:
        look = unmask(look, data[begin - 4 : begin])
    weight = _content(opcode, rsv, bool(fin), look, min(end, stop) - begin, length)
    if weight is None:
        return None
    if side is not None and bool(masked) != (side == CLIENT) and not (weight == 2 and opcode == TEXT):
        return None
    if end > stop and weight < 2:
        return None  # a length that the bytes do not bear out
    return weight, min(end, stop), length


MAX_LENGTH = 2**40  # of a payload, to be believed


def _content(opcode: int, rsv: int, fin: bool, look: bytes, seen: int, length: int) -> int | None:
    """2 when the payload speaks for the opcode, 1 when it says nothing, None when it contradicts."""
    if opcode == CLOSE:
        if length == 0:
            return 1
        if length == 1 or (seen >= 2 and not 1000 <= int.from_bytes(look[:2], "big") <= 4999):
            return None
        return 2 if seen >= 2 and (length == 2 or readable_text(look[2:])) else 1
    if rsv:
        return 2 if _inflates(look, fin and seen == len(look) == length) else 1
    if opcode == TEXT and look:
        if readable_text(look):
            return 2
        return 1 if len(look) < MIN_TEXT and all(0x20 <= each < 0x7F for each in look) else None
    return 1


def _inflates(look: bytes, whole: bool) -> bool:
    """True when the payload begins a raw deflate stream, and ends where a message may end."""
    if not whole or len(look) < 3:
        return False
    from zlib import decompressobj, error

    inflater = decompressobj(-15)
    try:
        return bool(inflater.decompress(look + b"\x00\x00\xff\xff", MAX_LOOK)) and not inflater.unused_data
    except error:
        return False
