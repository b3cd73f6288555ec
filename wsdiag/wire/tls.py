"""TLS records in clear: hellos, alerts, and the rest in groups (RFC 8446 sections 4.1 and 5, RFC 5246, RFC 6066).

Decryption is left to the intake; which side should have spoken TLS is left to the rules.
"""

from wsdiag.model import CLIENT, ClientHello, Flaw, ServerHello, Side, Span, TlsAlert, TlsData

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
MAX_RECORD = 2**14 + 2048  # RFC 5246 section 6.2.3: the largest protected record
MAX_HELLO = 2**17  # a ClientHello is 0.2 to 2 KB, a few KB with post-quantum keys; more is not read, only skipped
MAX_NAMES = 64  # protocols or versions of one hello

_EXT_SERVER_NAME, _EXT_ALPN, _EXT_VERSIONS = 0, 16, 43

# RFC 8446 section 6, RFC 5246 section 7.2, SSL 3.0 and the IANA registry
ALERTS: dict[int, str] = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    111: "certificate_unobtainable",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    114: "bad_certificate_hash_value",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}

TlsElement = ClientHello | ServerHello | TlsAlert | TlsData


def is_record(data: bytes, start: int, stop: int) -> bool:
    """True when a record header stands at `start` (as much of it as there is, three bytes at least)."""
    if stop - start < 3 or not CHANGE_CIPHER_SPEC <= data[start] <= HEARTBEAT:
        return False
    if data[start + 1] != 3 or data[start + 2] > 4:
        return False
    return stop - start < 5 or 0 < int.from_bytes(data[start + 3 : start + 5], "big") <= MAX_RECORD


def is_sslv2_hello(data: bytes, start: int, stop: int) -> bool:
    """True when an SSL 2.0 style ClientHello stands at `start`: RFC 5246 appendix E.2."""
    if stop - start < 11 or not data[start] & 0x80 or data[start + 2] != 1:
        return False
    length = (data[start] & 0x7F) << 8 | data[start + 1]
    version = data[start + 3] << 8 | data[start + 4]
    ciphers, session, challenge = (int.from_bytes(data[at : at + 2], "big") for at in range(start + 5, start + 11, 2))
    return (
        version in (2, 0x300, 0x301, 0x302, 0x303) and ciphers % 3 == 0 and 9 + ciphers + session + challenge == length
    )


def read(data: bytes, start: int, stop: int, side: Side) -> list[TlsElement]:
    """The TLS elements from `start` on; they end where something stands that is no record."""
    elements: list[TlsElement] = []
    if side == CLIENT and is_sslv2_hello(data, start, stop):
        elements.append(_sslv2_hello(data, start, stop, side))
        start = elements[-1].span.stop
    greeted = bool(elements)
    group_start, records, encrypted = start, 0, False

    def close_group() -> None:
        if records:
            elements.append(TlsData(Span(side, group_start, start), records, encrypted))

    while is_record(data, start, stop):
        kind = data[start]
        end = min(stop, start + 5 + int.from_bytes(data[start + 3 : start + 5], "big")) if stop - start >= 5 else stop
        found: TlsElement | None = None
        if kind == HANDSHAKE and start + 5 < stop and not greeted:
            # only the first hello is read: what follows may be encrypted, and then only looks like one by chance
            found = _hello(data, start, stop, side)
        elif kind == ALERT and end - start == 7 and data[start + 5] in (1, 2):
            found = TlsAlert(Span(side, start, end), data[start + 5], data[start + 6])
        if found is not None or (records and encrypted != (kind == APPLICATION_DATA)):
            close_group()
            records = 0
        if found is not None:
            elements.append(found)
            greeted = greeted or kind == HANDSHAKE
            start = group_start = found.span.stop
            continue
        if not records:
            group_start, encrypted = start, kind == APPLICATION_DATA
        records += 1
        start = end
    if 0 < stop - start < 3 and (elements or records) and data[start] in range(CHANGE_CIPHER_SPEC, HEARTBEAT + 1):
        if not records:
            group_start, encrypted = start, data[start] == APPLICATION_DATA
        records += 1  # a record whose first bytes are all there is
        start = stop
    close_group()
    return elements


def _hello(data: bytes, start: int, stop: int, side: Side) -> ClientHello | ServerHello | None:
    """The hello that begins in the record at `start`, joined from as many records as it takes."""
    kind = data[start + 5]
    if kind not in (1, 2):
        return None
    message = bytearray()
    at, wanted = start, 4
    while len(message) < wanted <= MAX_HELLO and stop - at >= 5 and data[at] == HANDSHAKE and is_record(data, at, stop):
        end = min(stop, at + 5 + int.from_bytes(data[at + 3 : at + 5], "big"))
        message += data[at + 5 : end]
        at = end
        if len(message) >= 4:
            wanted = 4 + int.from_bytes(message[1:4], "big")
    complete = len(message) >= wanted
    body = bytes(message[4:wanted])
    span = Span(side, start, at)
    record_version = data[start + 1] << 8 | data[start + 2]
    if kind == 2:
        return _server_hello(body, span, record_version, complete)
    return _client_hello(body, span, record_version, complete)


def _client_hello(body: bytes, span: Span, record_version: int, complete: bool) -> ClientHello:
    versions: tuple[int, ...] = (int.from_bytes(body[:2], "big"),) if len(body) >= 2 else ()
    at = 34  # version and random
    at += 1 + _number(body, at, 1)  # session
    at += 2 + _number(body, at, 2)  # cipher suites
    at += 1 + _number(body, at, 1)  # compression methods
    name = ""
    alpn: tuple[str, ...] = ()
    for kind, value in _extensions(body, at):
        if kind == _EXT_SERVER_NAME and len(value) > 5:
            name = value[5 : 5 + _number(value, 3, 2)].decode("latin-1")
        elif kind == _EXT_ALPN:
            alpn = _alpn(value)
        elif kind == _EXT_VERSIONS and value:
            listed = value[1 : 1 + value[0]]
            pairs = (listed[i] << 8 | listed[i + 1] for i in range(0, len(listed) - 1, 2))
            # RFC 8701: values like 0x1a1a are grease, sent to be ignored
            versions = tuple(pair for pair in pairs if pair & 0x0F0F != 0x0A0A)[:MAX_NAMES] or versions
    return ClientHello(span, record_version, versions, name, alpn, complete)


def _server_hello(body: bytes, span: Span, record_version: int, complete: bool) -> ServerHello:
    version = _number(body, 0, 2) if len(body) >= 2 else record_version
    at = 34
    at += 1 + _number(body, at, 1)
    at += 3  # cipher suite, compression method
    alpn: tuple[str, ...] = ()
    for kind, value in _extensions(body, at):
        if kind == _EXT_ALPN:
            alpn = _alpn(value)
        elif kind == _EXT_VERSIONS and len(value) == 2:
            version = _number(value, 0, 2)
    return ServerHello(span, version, alpn[0] if alpn else "", complete)


def _sslv2_hello(data: bytes, start: int, stop: int, side: Side) -> ClientHello:
    end = start + 2 + ((data[start] & 0x7F) << 8 | data[start + 1])
    span = Span(side, start, min(end, stop))
    version = data[start + 3] << 8 | data[start + 4]
    return ClientHello(span, 2, (version,), "", (), end <= stop, (Flaw("sslv2-hello", Span(side, start, start + 5)),))


def _number(data: bytes, at: int, size: int) -> int:
    """The big-endian number at `at`; 0 when it is not all there."""
    return int.from_bytes(data[at : at + size], "big") if at + size <= len(data) else 0


def _extensions(body: bytes, at: int) -> list[tuple[int, bytes]]:
    """(type, value) of each extension of a hello whose extension list begins at `at`; the last may be cut."""
    found = []
    stop = min(len(body), at + 2 + _number(body, at, 2))
    at += 2
    while at + 4 <= stop:
        size = _number(body, at + 2, 2)
        found.append((_number(body, at, 2), body[at + 4 : min(at + 4 + size, stop)]))
        at += 4 + size
    return found


def _alpn(value: bytes) -> tuple[str, ...]:
    names: list[str] = []
    at = 2
    while at < len(value) and len(names) < MAX_NAMES:
        name = value[at + 1 : at + 1 + value[at]]
        if name and not (len(name) == 2 and name[0] == name[1] and name[0] & 0x0F == 0x0A):  # RFC 8701 grease
            names.append(name.decode("latin-1"))
        at += 1 + value[at]
    return tuple(names)
