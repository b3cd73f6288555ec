"""How much bytes look like something that travels over a WebSocket's connection; used to choose between readings of an
ambiguous dump. What the bytes are in full is left to `wsdiag.wire`.
"""

# The start of an X.509 certificate or key: a sequence of 256 bytes or more.
DER = b"\x30\x82"
NOTHING, TEXT, FRAMES, KNOWN = 0, 1, 2, 3

_STARTS = (
    *(
        method + b" "
        for method in (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"PRI", b"TRACE")
    ),
    b"HTTP/",
    b"PROXY ",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x16\x03\x00",
    b"\x16\x03\x01",
    b"\x16\x03\x02",
    b"\x16\x03\x03",
    b"\x15\x03\x00",
    b"\x15\x03\x01",
    b"\x15\x03\x02",
    b"\x15\x03\x03",
    b"\x14\x03\x03",
    b"\x17\x03\x03",
    b"\x17\x03\x01",
    b"<policy-file-request",
    b"SSH-",
    b"\0\0\x12\x04\0\0\0\0\0",  # HTTP/2 SETTINGS
)
# A piece of one of the starts above counts when it is at least this long: "GE" alone is nothing.
_PIECE = 3


def weight(data: bytes) -> int:
    """KNOWN for the start of a protocol, FRAMES for bytes that WebSocket frames tile exactly, TEXT for printable."""
    if data.startswith(_STARTS):
        return KNOWN
    if data[:1] == b"\x10" and (b"MQTT" in data[2:8] or b"MQIsdp" in data[2:10]):
        return KNOWN
    if _PIECE <= len(data.strip()) <= max(map(len, _STARTS)) and any(start.startswith(data) for start in _STARTS):
        return KNOWN
    if tiles_frames(data):
        return FRAMES
    if data and _identified(data):
        return KNOWN
    head = data[:512]
    if head and sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in head) >= 0.9 * len(head):
        return TEXT
    return NOTHING


def begins(data: bytes) -> bool:
    """True when the very first bytes are those of a protocol that this tool is about."""
    return data.startswith(_STARTS)


def tiles_frames(data: bytes) -> bool:
    """True when WebSocket frames (RFC 6455 section 5.2) with a legal opcode fill the bytes, the last one maybe cut."""
    at, seen = 0, 0
    while at + 2 <= len(data):
        first, second = data[at], data[at + 1]
        if first & 0x30 or first & 0x0F not in (0, 1, 2, 8, 9, 10):
            return False
        if first & 0x08 and (not first & 0x80 or second & 0x7F > 125):
            return False
        size = second & 0x7F
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        at += size + (4 if second & 0x80 else 0)
        seen += 1
        if seen == 1 and not first & 0x80 and not second & 0x80:
            return False  # a first fragment without mask: too weak a sign
    return seen > 0 and at == len(data)


# What `identify` may call certain although any bytes could be it.
_VAGUE = frozenset(("unknown", "empty", "text", "json", "frame"))


def _identified(data: bytes) -> bool:
    """True when the bytes are the start of a protocol for certain."""
    from wsdiag.wire.identify import identify

    found = identify(data[:1024])
    return found.sure == "certain" and found.kind not in _VAGUE


_REQUEST = tuple(start for start in _STARTS if start[-1:] == b" " and start[:5] != b"PROXY")


def is_request(data: bytes) -> bool:
    """True when the bytes begin as only a client's do: a request, a ClientHello, a PROXY header."""
    return (
        data.startswith((*_REQUEST, b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"))
        or (data[:2] == b"\x16\x03" and data[5:6] == b"\x01")
        or (data[:1] in (b"\x81", b"\x82") and len(data) > 1 and data[1] & 0x80 > 0)
    )


def is_response(data: bytes) -> bool:
    """True when the bytes begin as only a server's do: a status line, a ServerHello."""
    return data.startswith(b"HTTP/") or (data[:2] == b"\x16\x03" and data[5:6] == b"\x02")
