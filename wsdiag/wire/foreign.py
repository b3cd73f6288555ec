"""The first bytes of protocols that are neither HTTP, TLS nor WebSocket: a table of patterns and a few checks.

Only first bytes are known here; nothing of these protocols is taken apart further. Sources are the protocols' own
documents; where a check is only "likely", as many bytes as are there fit, but others could fit too.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable

from wsdiag.model import CLIENT, SERVER, Side
from wsdiag.pattern import pattern
from wsdiag.record import NamedTuple
from wsdiag.wire.identity import Identity

MAX_DETAIL = 200  # characters of a quoted line

FLASH_POLICY = b"<policy-file-request/>"


class _Pattern(NamedTuple):
    """A protocol whose first bytes a regular expression tells. Group 1, if there is one, is the detail."""

    kind: str
    side: Side | None
    certain: bool
    pattern: bytes
    detail: str = ""


# Order matters: the first that fits is the answer.
_PATTERNS = (
    _Pattern("flash-policy", CLIENT, True, rb"<policy-file-request/>"),
    _Pattern("ssh", None, True, rb"(SSH-[12]\.\d+-[^\r\n]*)"),
    _Pattern("rtsp", None, True, rb"((?:[A-Z_]+ (?:rtspu?://\S*|\*) )?RTSP/\d\.\d[^\r\n]*)"),
    _Pattern("sip", None, True, rb"((?:[A-Z]+ sips?:\S+ )?SIP/\d\.\d[^\r\n]*)"),
    _Pattern("bittorrent", None, True, rb"\x13BitTorrent protocol"),
    _Pattern("rmi", CLIENT, True, rb"JRMI\x00[\x01\x02][\x4b\x4c\x4d]"),
    _Pattern("rdp", CLIENT, True, rb"(?s)\x03\x00..[\x06-\xff]\xe0.{5}(Cookie: mstshash=[^\r\n]*)"),
    _Pattern("rdp", CLIENT, False, rb"(?s)\x03\x00\x00[\x0b-\xff][\x06-\xff]\xe0\x00\x00"),
    _Pattern("rdp", SERVER, False, rb"(?s)\x03\x00\x00[\x0b-\x40][\x06-\xff]\xd0"),
    _Pattern("smb", None, True, rb"(?s)\x00[\x00\x01]..[\xff\xfe]SMB"),
    _Pattern("amqp", None, True, rb"AMQP[\x00\x02\x03]", "protocol header"),
    _Pattern("rfb", None, True, rb"(RFB \d{3}\.\d{3})\n", ""),
    _Pattern("stomp", None, True, rb"(CONNECT|STOMP|CONNECTED)\r?\n[a-z-]+:"),
    _Pattern("redis", CLIENT, True, rb"\*\d{1,7}\r\n\$\d{1,9}\r\n(\w*)"),
    _Pattern("redis", CLIENT, False, rb"(?i)((?:PING|INFO|AUTH [^\r\n]+|SELECT \d+|COMMAND|HELLO [23][^\r\n]*))\r?\n"),
    _Pattern("redis", SERVER, True, rb"-((?:ERR|NOAUTH|DENIED|WRONGTYPE|WRONGPASS|MOVED|LOADING) [^\r\n]*)"),
    _Pattern("redis", SERVER, False, rb"(\+PONG|\+OK|\$-?\d+|:\d+|\*-?\d+)\r\n"),
    _Pattern("pop3", SERVER, False, rb"(\+OK [^\r\n]*)\r?\n"),
    _Pattern("imap", SERVER, True, rb"(\* (?:OK|PREAUTH|BYE)\b[^\r\n]*)"),
    _Pattern("smtp", SERVER, True, rb"((?:220|421|554)[ -][^\r\n]*\bE?SMTP\b[^\r\n]*)"),
    _Pattern("ftp", SERVER, True, rb"(?i)((?:220|421|530)[ -][^\r\n]*FTP[^\r\n]*)"),
    _Pattern("smtp", CLIENT, True, rb"(?i)((?:EHLO|HELO) [^\r\n]*)\r?\n"),
    _Pattern("ftp", CLIENT, False, rb"((?:USER) [^\r\n]*)\r?\n"),
    _Pattern("imap", CLIENT, False, rb"(?i)(\w{1,8} (?:LOGIN|CAPABILITY|LOGOUT|NOOP)\b[^\r\n]*)\r?\n"),
    _Pattern(
        "memcached", SERVER, False, rb"(STAT \w+ [^\r\n]*|VERSION \d[^\r\n]*|(?:CLIENT_|SERVER_)?ERROR[^\r\n]*)\r\n"
    ),
    _Pattern(
        "memcached",
        CLIENT,
        False,
        rb"(stats|version|flush_all|(?:gets?|delete) [^\r\n]+|(?:set|add) \S+ \d+ \d+ \d+)\r?\n",
    ),
    _Pattern("nats", SERVER, True, rb"(INFO )\{\"server_id\""),
    _Pattern("engine.io", None, True, rb"(?:\d+:)?0(\{\"sid\":[^\r\n]{0,150})"),
    _Pattern("telnet", None, False, rb"(?s)\xff[\xfb-\xfe][\x00-\x31](?:\Z|\xff|[\x20-\x7e\r\n])"),
    _Pattern("socks4", CLIENT, False, rb"(?s)\x04[\x01\x02]..[^\x00]...[\x20-\x7e]{0,64}\x00"),
    _Pattern("socks4", CLIENT, False, rb"(?s)\x04[\x01\x02]..\x00\x00\x00[^\x00][\x20-\x7e]{0,64}\x00"),
    _Pattern("socks5", CLIENT, False, rb"\x05(?:\x01[\x00\x02\x80]|\x02[\x00\x01][\x01\x02]|\x03\x00\x01\x02)\Z"),
    _Pattern("tds", CLIENT, False, rb"(?s)\x12\x01\x00.\x00\x00.\x00\x00\x00"),
    _Pattern("ajp", CLIENT, False, rb"(?s)\x12\x34..\x02[\x01-\x1b]"),
)
_compiled: list[tuple[_Pattern, re.Pattern[bytes]]] = []


def other_protocol(data: bytes, side: Side | None) -> Identity | None:
    """The protocol whose first bytes `data` (a few KB at most) are; None when it is none of those known here."""
    for check in _CHECKS:
        found = check(data, side)
        if found is not None:
            return found
    if not _compiled:
        _compiled.extend((each, re.compile(each.pattern)) for each in _PATTERNS)
    for each, compiled in _compiled:
        if side is not None and each.side is not None and each.side != side:
            continue
        match = compiled.match(data)
        if match is not None and match.end() > 2:
            detail = match[1][:MAX_DETAIL].decode("latin-1") if compiled.groups else each.detail
            return Identity(each.kind, detail.strip(), "certain" if each.certain else "likely")
    if 4 <= len(data) < len(FLASH_POLICY) and FLASH_POLICY.startswith(data):
        return Identity("flash-policy", "", "likely" if len(data) >= 8 else "partial")
    return None


_JSON = pattern(rb'\s*(?:\{\s*(?:"|\}|\Z)|\[\s*(?:["{\[\]\d-]|true|false|null))')


def text(data: bytes) -> Identity | None:
    """ "json" or "text" with the first line that is not empty, when the data is printable UTF-8; else None."""
    decoded = _printable(data)
    if decoded is None:
        return None
    line = next((line.strip() for line in decoded.splitlines() if line.strip()), "")[:MAX_DETAIL]
    sure = "likely" if len(data) >= 4 else "partial"
    return Identity("json" if _JSON.match(data) else "text", line, sure)  # type: ignore[arg-type]


def _printable(data: bytes) -> str | None:
    """The data as text when it is printable UTF-8, whose last character may be cut; a closing NUL is allowed."""
    try:
        decoded = getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return None
    plain = decoded.removesuffix("\x00")
    for each in "\t\r\n\x1b\ufeff":
        plain = plain.replace(each, " ")
    return decoded if plain and plain.isprintable() else None


# --- Protocols that take more than a pattern -------------------------------------------------------------------------


def _mqtt(data: bytes, side: Side | None) -> Identity | None:
    """MQTT 3.1.1 section 3.1 and 3.2, MQTT 5 section 3.1."""
    if data[0] == 0x10 and side != SERVER:
        at, length = _varint(data, 1)
        name = data[at : at + 9]
        for magic in (b"\x00\x04MQTT", b"\x00\x06MQIsdp"):
            if name.startswith(magic):
                level = data[at + len(magic)] if at + len(magic) < len(data) else 0
                version = {3: "3.1", 4: "3.1.1", 5: "5"}.get(level & 0x7F, str(level))
                return Identity("mqtt", f"CONNECT {version}", "certain")
            if len(name) >= 4 and magic.startswith(name) and length >= 10:
                return Identity("mqtt", "CONNECT", "likely")
    elif data[0] == 0x20 and side != CLIENT and len(data) >= 4:
        size = data[1]
        if (size == 2 and data[2] <= 1 and data[3] <= 5 and len(data) == 4) or (
            3 <= size < 128 and len(data) == size + 2 and data[2] <= 1 and data[4] == size - 3
        ):
            return Identity("mqtt", "CONNACK", "likely")
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """MQTT's variable byte integer at `at`: where it ends, and its value."""
    value = shift = 0
    while at < len(data) and shift <= 21:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            break
        shift += 7
    return at, value


def _mysql(data: bytes, side: Side | None) -> Identity | None:
    """The greeting (protocol 10), an error in its place, and a client's handshake response."""
    if len(data) < 6:
        return None
    length, sequence = int.from_bytes(data[:3], "little"), data[3]
    if side != CLIENT and sequence == 0 and data[4] == 0x0A:
        version = re.match(rb"([0-9]+\.[0-9]+\.[!-~]*)\x00", data[5:80])
        if version is not None:
            exact = len(data) >= length + 4 and length > 40
            return Identity("mysql", version[1].decode("ascii"), "certain" if exact else "likely")
    if side != CLIENT and sequence == 0 and data[4] == 0xFF and length + 4 == len(data) and length > 8:
        message = _printable(data[7:])
        if message:
            return Identity("mysql", f"{int.from_bytes(data[5:7], 'little')} {message}"[:MAX_DETAIL], "certain")
    if side != SERVER and sequence == 1 and length + 4 == len(data) and length > 36 and not any(data[13:36]):
        return Identity("mysql", "handshake response", "likely")
    return None


_POSTGRES_CODES = {80877103: "SSLRequest", 80877104: "GSSENCRequest", 80877102: "CancelRequest"}


def _postgres(data: bytes, side: Side | None) -> Identity | None:
    """PostgreSQL's start-up messages and the server's first answers (its documentation, chapter 55)."""
    if len(data) >= 8 and side != SERVER:
        length, code = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
        if code in _POSTGRES_CODES and length in (8, 16):
            return Identity("postgres", _POSTGRES_CODES[code], "certain")
        if code == 0x30000 and 8 < length < 10000 and data[8:13] in (b"user\x00", b"datab"):
            return Identity("postgres", "StartupMessage", "certain")
    if side != CLIENT and len(data) >= 9:
        length = int.from_bytes(data[1:5], "big")
        if data[0] == 0x45 and data[5:6] == b"S" and data[6:11] in (b"FATAL", b"ERROR"):
            return Identity("postgres", "ErrorResponse", "certain")
        if data[0] == 0x52 and 8 <= length <= 256 and int.from_bytes(data[5:9], "big") in (0, 3, 5, 10):
            return Identity("postgres", "Authentication", "likely")
    return None


_MONGO = {2013: "OP_MSG", 2004: "OP_QUERY", 2012: "OP_COMPRESSED", 1: "OP_REPLY"}


def _mongodb(data: bytes, side: Side | None) -> Identity | None:
    """The 16-byte header of MongoDB's wire protocol."""
    if len(data) < 20:
        return None
    length, opcode = int.from_bytes(data[:4], "little"), int.from_bytes(data[12:16], "little")
    if opcode in _MONGO and 20 < length < 48_000_000 and length >= len(data):
        certain = b"isMaster\x00" in data[:200] or b"hello\x00" in data[:200] or b".$cmd\x00" in data[:80]
        if certain or (opcode != 1 and length == len(data)):
            return Identity("mongodb", _MONGO[opcode], "certain" if certain else "likely")
    return None


def _kafka(data: bytes, side: Side | None) -> Identity | None:
    """A Kafka request: size, API key, version, correlation, client's name."""
    if side == SERVER or len(data) < 14 or int.from_bytes(data[:4], "big") != len(data) - 4:
        return None
    key, version, name = (int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 12))
    if key in (3, 17, 18, 36) and version <= 13 and name <= len(data) - 14 and data[14 : 14 + name].isascii():
        return Identity("kafka", {3: "Metadata", 18: "ApiVersions"}.get(key, "SASL"), "likely")
    return None


def _ldap(data: bytes, side: Side | None) -> Identity | None:
    """An LDAP message: a BER sequence with a message number and an operation (RFC 4511 section 4.1.1)."""
    if data[0] != 0x30 or len(data) < 7:
        return None
    at = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    if data[at : at + 1] != b"\x02" or at + 2 >= len(data) or data[at + 1] > 4:
        return None
    operation = data[at + 2 + data[at + 1] : at + 3 + data[at + 1]]
    names = {
        b"\x60": "bind",
        b"\x63": "search",
        b"\x77": "extended",
        b"\x61": "bind response",
        b"\x78": "extended response",
    }
    return Identity("ldap", names[operation], "likely") if operation in names else None


def _dns(data: bytes, side: Side | None) -> Identity | None:
    """DNS over TCP: RFC 1035 section 4.2.2, or mDNS probes of scanners."""
    if len(data) < 19 or int.from_bytes(data[:2], "big") != len(data) - 2:
        return None
    flags, questions = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
    label = data[14]
    if flags & 0x7840 == 0 and questions == 1 and 0 < label < 64 and int.from_bytes(data[8:10], "big") < 64:
        name = data[15 : 15 + label]
        return Identity("dns", "response" if flags & 0x8000 else "query", "likely") if name.isascii() else None
    return None


def _gateway(data: bytes, side: Side | None) -> Identity | None:
    """GatewayWorker's internal protocol: a header of 28 bytes that begins with the whole length."""
    if len(data) < 28 or int.from_bytes(data[:4], "big") != len(data):
        return None
    command, extra = data[4], int.from_bytes(data[24:28], "big")
    if (1 <= command <= 40 or 200 <= command <= 210) and 28 + extra <= len(data):
        return Identity(
            "gatewayworker", {200: "worker connect", 201: "ping", 202: "client connect"}.get(command, ""), "likely"
        )
    return None


def _hixie(data: bytes, side: Side | None) -> Identity | None:
    """A text frame of the drafts before RFC 6455: 00, UTF-8 text, FF (draft-hixie-76 section 4.2)."""
    if data[0] or len(data) < 4:
        return None
    end = data.find(b"\xff", 1)
    line = _printable(data[1:end]) if end > 1 else None
    return Identity("hixie-frame", line[:MAX_DETAIL], "likely") if line else None


_CHECKS: tuple[Callable[[bytes, Side | None], Identity | None], ...] = (
    _mqtt, _mysql, _postgres, _mongodb, _kafka, _ldap, _dns, _gateway, _hixie,
)  # fmt: skip
