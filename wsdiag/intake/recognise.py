"""What an input is, told from its first bytes and never from its name; reading it is left to the others in `intake`."""

import zlib

from wsdiag.intake.capture import is_capture
from wsdiag.pattern import pattern
from wsdiag.wire.identify import identify

HEAD = 8192  # first bytes that are looked at
GZIP = b"\x1f\x8b"
# Lines of NSS key log format: https://www.ietf.org/archive/id/draft-ietf-tls-keylogfile-02.html
_KEY_LOG = pattern(
    rb"(?m)^(?:CLIENT_RANDOM|(?:CLIENT|SERVER)_(?:HANDSHAKE_TRAFFIC_SECRET|TRAFFIC_SECRET_0)|EXPORTER_SECRET) "
    rb"[0-9a-fA-F]{64} "
)
_HAR = pattern(rb'^\s*(?:\xef\xbb\xbf)?\s*\{\s*"log"\s*:\s*\{')
# Bytes that no text has; a few may stand in a log that quotes what it received.
_BINARY = bytes(sorted({*range(9), *range(14, 27), *range(28, 32)}))
BINARY_SHARE = 0.05


def recognise(head: bytes) -> str:
    """ "capture", "keylog", "har", "raw" (bytes as they went over the wire) or "text"."""
    if head.startswith(GZIP):
        inner = _inflated(head)
        return "capture" if is_capture(inner) else "text"
    if is_capture(head):
        return "capture"
    if _HAR.match(head):
        return "har"
    if _KEY_LOG.search(head[:4096]):
        return "keylog"
    return "raw" if _is_raw(head) else "text"


def _inflated(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 64)
    except zlib.error:
        return b""


def _is_raw(head: bytes) -> bool:
    """True for binary bytes that are a protocol we know; text in any encoding is not meant."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or not head:
        return False
    control = len(head) - len(head.translate(None, _BINARY))
    if control > BINARY_SHARE * len(head) or b"\0" in head[:64]:
        return identify(head).sure == "certain"
    # A head with its CRs is as it went over the wire; what follows it may be frames.
    return b"\r\n\r\n" in head and identify(head).kind in ("request", "response") and b"\n$ " not in head
