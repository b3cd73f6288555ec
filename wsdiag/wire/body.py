"""HTTP/1 bodies: how long they are and how they begin (RFC 9112 sections 6 and 7).

Which message has one is left to `exchange`. Flaws of a message's body:

| kind | meaning |
| --- | --- |
| bad-length | Content-Length is no number, or two of them differ |
| bad-chunk | a chunk of the body has no readable size; the body ends in front of it |
| cut-body | the body ends before its announced length |
"""

from wsdiag.model import Flaw, Head, Side, Span
from wsdiag.record import NamedTuple

MAX_CONTENT = 4096  # bytes of a body that are kept
MAX_LENGTH_DIGITS = 18  # of Content-Length and of chunk sizes
MAX_TRAILERS = 1000  # lines behind the last chunk, as many as http1 reads of a head


class Body(NamedTuple):
    """Where a body ends, the start of its content (chunks joined), its flaws, and how many bytes of it are missing.

    `missing` is None when nobody can say (a chunked body, a body that lasts until the close).
    """

    stop: int
    content: bytes = b""
    flaws: tuple[Flaw, ...] = ()
    missing: int | None = 0


def content_length(head: Head, side: Side) -> tuple[int | None, tuple[Flaw, ...]]:
    """The announced length of the body, None when there is none: RFC 9112 section 6.3."""
    length: int | None = None
    for header in head.all("content-length"):
        for text in header.value.text.split(","):
            text = text.strip()
            readable = text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS
            if not readable or length not in (None, int(text)):
                return length, (Flaw("bad-length", header.value.span, header.value.text[:80]),)
            length = int(text)
    return length, ()


def is_chunked(head: Head) -> bool:
    """True when the last transfer coding is chunked: RFC 9112 section 6.1."""
    codings = head.tokens("transfer-encoding")
    return bool(codings) and codings[-1] == "chunked"


def read_sized(data: bytes, start: int, stop: int, size: int, side: Side) -> Body:
    """A body of `size` bytes."""
    end = min(start + size, stop)
    flaws = (Flaw("cut-body", Span(side, end, end)),) if end < start + size else ()
    return Body(end, data[start : min(end, start + MAX_CONTENT)], flaws, start + size - end)


def read_until_close(data: bytes, start: int, stop: int) -> Body:
    """A body that lasts until the connection is closed."""
    return Body(stop, data[start : min(stop, start + MAX_CONTENT)], (), None)


def read_chunked(data: bytes, start: int, stop: int, side: Side) -> Body:
    """A body in chunks, its trailers included: RFC 9112 section 7.1."""
    content = bytearray()
    at = start
    while True:
        line_end = data.find(b"\n", at, min(stop, at + MAX_CONTENT))
        if line_end < 0:
            if stop - at >= MAX_CONTENT:
                return Body(at, bytes(content), (Flaw("bad-chunk", Span(side, at, at)),))
            return Body(stop, bytes(content), (Flaw("cut-body", Span(side, stop, stop)),), None)
        text = data[at:line_end].split(b";", 1)[0].strip()
        try:
            size = int(text, 16) if len(text) <= MAX_LENGTH_DIGITS and text.isalnum() else -1
        except ValueError:
            size = -1
        if size < 0:
            return Body(at, bytes(content), (Flaw("bad-chunk", Span(side, at, at), text[:80].decode("latin-1")),))
        at = line_end + 1
        if not size:
            break
        if len(content) < MAX_CONTENT:
            content += data[at : min(at + size, at + MAX_CONTENT - len(content), stop)]
        at += size
        if at >= stop:
            return Body(stop, bytes(content), (Flaw("cut-body", Span(side, stop, stop)),), None)
        at += 2 if data.startswith(b"\r\n", at, stop) else 1 if data.startswith(b"\n", at, stop) else 0
    for _ in range(MAX_TRAILERS):
        line_end = data.find(b"\n", at, stop)
        if line_end < 0:
            return Body(stop, bytes(content), (Flaw("cut-body", Span(side, stop, stop)),), None)
        empty = not data[at:line_end].rstrip(b"\r")
        at = line_end + 1
        if empty:
            break
    return Body(at, bytes(content))


def decoded(content: bytes, head: Head) -> bytes:
    """The content without its gzip or deflate coding, at most MAX_CONTENT bytes; as it is when it cannot be undone."""
    if not {"gzip", "x-gzip", "deflate"} & set(head.tokens("content-encoding")):
        return content
    import zlib

    for window in (47, -15):  # gzip or zlib by its header; the raw deflate that some servers send
        try:
            return zlib.decompressobj(window).decompress(content, MAX_CONTENT) or content
        except zlib.error:
            continue
    return content
