"""Heads made again from lists of fields, as exports like HAR keep them; what the lists hold is left to the readers.

Nobody sent exactly these bytes: the order and the case are the exporter's. A head that is not `whole` has no empty line
at its end, so that nobody takes what the exporter left out for missing.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

# Names and values, in the order of the export.
Fields: TypeAlias = Sequence[tuple[str, str]]

CRLF = b"\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441 section 3
MAX_BLOCK = 0x3FFF  # a HEADERS frame holds 16 KiB unless more was agreed on: RFC 9113 section 4.2
_HEADERS, _SETTINGS, _END_HEADERS, _STREAM = 1, 4, 4, 1
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_NOT_IN_TARGET = re.compile(r"[^\x21-\x7e]")
_LINE_ENDS = re.compile(r"[\r\n]+")


def start_of_request(method: str, target: str, version: str) -> bytes:
    """The request line: a target is percent-encoded where the exporter has decoded it."""
    method = method if _TOKEN.fullmatch(method) else "GET"
    return f"{method} {percent_encoded(target)} {version}".encode("ascii") + CRLF


def start_of_response(status: int, reason: str, version: str) -> bytes:
    """The status line."""
    return f"{version} {status:03d} {_LINE_ENDS.sub(' ', reason)}".encode("utf-8", "replace").rstrip() + CRLF


def percent_encoded(target: str) -> str:
    """The target as it can stand in a request line."""
    return _NOT_IN_TARGET.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace")), target
    )


def head(fields: Fields, whole: bool) -> bytes:
    """The header lines. Pseudo-headers belong to HTTP/2 and are left out, and so is what can be no header's name.

    Several values that an exporter joined by line ends (Chromium) become several lines again.
    """
    lines = bytearray()
    for name, joined in fields:
        if _TOKEN.fullmatch(name):
            for value in _LINE_ENDS.split(joined):
                lines += f"{name}: {value.strip()}".encode("utf-8", "replace") + CRLF
    return bytes(lines + CRLF if whole else lines)


def extended_connect(fields: Fields, scheme: str, authority: str, path: str) -> bytes:
    """The client's side of a WebSocket over HTTP/2: RFC 8441 section 4."""
    asked = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", scheme),
        (":authority", authority),
        (":path", percent_encoded(path)),
    ]
    return PREFACE + _frame(_SETTINGS, 0, 0, b"") + _headers([*asked, *_without_pseudo(fields)])


def answer_to_connect(fields: Fields, status: int) -> bytes:
    """The server's side: its settings, which must have allowed the request (RFC 8441 section 3), and its answer."""
    settings = ENABLE_CONNECT_PROTOCOL.to_bytes(2, "big") + (1).to_bytes(4, "big")
    return _frame(_SETTINGS, 0, 0, settings) + _headers([(":status", f"{status:03d}"), *_without_pseudo(fields)])


def _without_pseudo(fields: Fields) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in fields if _TOKEN.fullmatch(name)]


def _headers(fields: Fields) -> bytes:
    block = bytearray()
    for name, value in fields:
        field = b"\0" + _text(name) + _text(value)  # a literal without indexing: RFC 7541 section 6.2.2
        if len(block) + len(field) > MAX_BLOCK:
            break
        block += field
    return _frame(_HEADERS, _END_HEADERS, _STREAM, bytes(block))


def _text(text: str) -> bytes:
    """A string without Huffman coding: RFC 7541 section 5.2."""
    data = text.encode("utf-8", "replace")
    size = len(data)
    if size < 0x7F:
        return bytes([size]) + data
    size -= 0x7F
    length = bytearray([0x7F])
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes(length) + data


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
