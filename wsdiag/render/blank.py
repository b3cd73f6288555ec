"""Overwrites parts of captured bytes in place and reads names and values anew out of them, for `redact`.

Nothing here decides what a secret is.
"""

from wsdiag.model import Head, Header, Piece

FILL = "~"
# PROXY version 2: the source address follows 16 bytes of signature, command and length (section 2.2).
PROXY_V2_ADDRESS = 16


def reread_piece(piece: Piece, data: bytes) -> Piece:
    """The piece with its text taken from these bytes."""
    return piece._replace(text=data[piece.span.start : piece.span.stop].decode("latin-1"))


def reread_head(head: Head, data: bytes) -> Head:
    """The head with all its names and values taken from these bytes."""
    return head._replace(
        headers=tuple(Header(reread_piece(each.name, data), reread_piece(each.value, data)) for each in head.headers)
    )


def frame_head_size(sent: bytes) -> int:
    """The bytes of a frame in front of its payload: RFC 6455 section 5.2."""
    if len(sent) < 2:
        return len(sent)
    coded = sent[1] & 0x7F
    return 2 + (2 if coded == 126 else 8 if coded == 127 else 0) + (4 if sent[1] & 0x80 else 0)


def masked(data: bytes, mask: bytes) -> bytes:
    """The bytes with a frame's mask put on or taken off: RFC 6455 section 5.3."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def blank(data: bytearray, start: int, stop: int) -> None:
    """Overwrite a part of the bytes."""
    if start < stop:
        data[start:stop] = FILL.encode() * (stop - start)


def blank_http2(data: bytearray, start: int, stop: int) -> None:
    """Blank the frames that carry header lists and contents (RFC 9113 section 6): hpack hides nothing."""
    while start + 9 <= stop:
        length = int.from_bytes(data[start : start + 3], "big")
        if data[start + 3] in (0, 1, 5, 9):
            blank(data, start + 9, min(start + 9 + length, stop))
        start += 9 + length
