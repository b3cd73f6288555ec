"""The shape of a connection: equal shapes have equal findings, so that ten thousand equal failures are judged once.

Where the verdicts come from is left to the rules; this module knows which of a connection's values cannot change them.
What it does not know stays in the shape as it is. The values that are left out, and the only ones:

- times, but for how long the connection waited or idled (in classes finer than any rule's limit), packet numbers,
  addresses (but whether they are loopback ones) and the client's port;
- a well-formed Sec-WebSocket-Key and the right Sec-WebSocket-Accept for it (a well-formed wrong one is told apart);
- values of headers that no rule reads beyond their presence (Cookie, Date, X-Forwarded-For …), as long as they are
  printable; Host, and an Origin that names the same host; values in the query, but for Socket.IO's; of User-Agent all
  but whether it is a browser's or a health checker's;
- of a TLS ClientHello everything that `wire.tls` does not report;
- of the frames after the handshake everything but the flawed ones, the close frames and whether there were any.

None (no shape) is for what is too large or too odd to compare: it is judged by itself.
"""

import re
from binascii import b2a_base64
from collections.abc import Callable, Hashable
from functools import lru_cache
from hashlib import sha1

from wsdiag.intake.assemble import acknowledged, ending_of, in_packet_order, is_one_way, opening_of, syn_count
from wsdiag.intake.flow import Flow, Half
from wsdiag.model import CLIENT, ClientHello

MAX_COMPARED = 4000  # bytes of one direction: below every limit on requests that a rule could look at
MANY_SYNS = 4  # more tries make no difference
MANY_FRAMES = 3  # so do more frames
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SAMPLES = (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")  # of RFC 6455 section 1.3
_LEFT_OUT = b"\0"  # stands for a value that is left out; no compared byte is a NUL

_PRINTABLE = rb"(?=[\x20-\x7e]+\r\n)"
# Header fields whose printable values no rule reads.
_REQUEST_FREE = re.compile(
    rb"(\r\n(?:[Hh]ost: (?=[A-Za-z0-9.-]+(?::[0-9]{1,5})?\r\n)"
    rb"|[Xx]-(?:[Ff]orwarded-[Ff]or|[Rr]eal-[Ii][Pp]|[Rr]equest-[Ii][Dd]): " + _PRINTABLE +
    rb"|[Rr]eferer: " + _PRINTABLE + rb"|[Tt]raceparent: " + _PRINTABLE +
    rb"|(?:CF-Connecting-IP|Cf-Connecting-Ip|CF-RAY|Cf-Ray|X-Amzn-Trace-Id): " + _PRINTABLE +
    rb"|[Ss]ec-[Ww]eb[Ss]ocket-[Kk]ey: (?=[A-Za-z0-9+/]{21}[AQgw]==\r\n)))[^\r\n]+"
)  # fmt: skip
_RESPONSE_FREE = re.compile(
    rb"(\r\n(?:[Dd]ate|[Ss]et-[Cc]ookie|ETag|[Ll]ast-[Mm]odified|[Xx]-[Rr]equest-[Ii][Dd]|CF-RAY): "
    + _PRINTABLE
    + rb")"
    rb"[^\r\n]+"
)
_KEY = re.compile(rb"\r\nsec-websocket-key: ([A-Za-z0-9+/]{21}[AQgw]==)\r\n", re.IGNORECASE)
_ACCEPT = re.compile(rb"\r\nsec-websocket-accept: ([A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=)\r\n", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\n[Cc]ookie: [\x20-\x7e]+(?=\r\n)")
_AGENT = re.compile(rb"\r\n[Uu]ser-[Aa]gent: ([\x20-\x7e]+)\r\n")
_HOST = re.compile(rb"\r\nhost: ([^\r\n]*)\r\n", re.IGNORECASE)
_ORIGIN = re.compile(rb"\r\norigin: (https?://)([A-Za-z0-9.-]+(?::[0-9]{1,5})?)\r\n", re.IGNORECASE)
_QUERY = re.compile(rb"([?&](?!(?i:EIO|transport|sid|t)=)[A-Za-z_][A-Za-z0-9_]{0,30}=)[A-Za-z0-9_.~-]+(?=[& ])")
_REQUEST = re.compile(rb"[A-Z]{2,10} [!-~]+ HTTP/1\.[01]\r\n")


def shape_of(flow: Flow, clock: Callable[[float], float]) -> Hashable | None:
    """The shape of a finished connection; None when it has none."""
    client, server = flow.client, flow.server
    if client.gaps or server.gaps:
        return None
    said = _said(flow, bytes(client.kept), bytes(server.kept))
    if said is None:
        return None
    frames: tuple[Hashable, ...] | None = ()
    if client.reader is not None or server.reader is not None:
        frames = _frames(client, server)
        if frames is None:
            return None
    key = flow.key
    width = (len(key) - 4) // 2
    return (
        said,
        opening_of(flow),
        min(syn_count(flow), MANY_SYNS),
        ending_of(flow, client),
        ending_of(flow, server),
        flow.closer is not None and (CLIENT if flow.closer is client else "server"),
        client.seen,
        server.seen,
        is_one_way(flow),
        client.total > len(client.kept),
        server.total > len(server.kept),
        _acknowledged(client),
        _acknowledged(server),
        _duration(flow, clock),
        frames,
        flow.evicted,
        flow.opening == "middle" and (client.isn is None, server.isn is None),
        _local(key[:width]),
        _local(key[width : 2 * width]),
        key[-2:],  # the server's port
    )


def _said(flow: Flow, asked: bytes, answered: bytes) -> Hashable | None:
    """What both sides sent, without the values that make no difference."""
    if len(asked) > MAX_COMPARED or len(answered) > MAX_COMPARED:
        return None
    order: Hashable = None
    if asked and answered:
        order = _turns(flow)
    if asked[:2] == b"\x16\x03":
        return _hello(asked), answered, order
    if b"\0" in asked or b"\0" in answered:
        return None if len(asked) + len(answered) > 256 else (b"binary", asked, answered, order)
    if not _REQUEST.match(asked):
        return asked, answered, order
    same = b""
    origin = _ORIGIN.search(asked)
    if origin is not None:
        host = _HOST.search(asked)
        if host is not None and host[1].lower() == origin[2].lower():
            same = origin[1]
            asked = asked[: origin.start(2)] + asked[origin.end(2) :]
    key = _KEY.search(asked)
    if key is not None and key[1] not in _SAMPLES:
        accept = _ACCEPT.search(answered)
        if accept is not None and accept[1] not in _SAMPLES:
            right = b2a_base64(sha1(key[1] + _GUID, usedforsecurity=False).digest(), newline=False) == accept[1]
            mark = b"\0right" if right else b"\0wrong"
            answered = answered[: accept.start(1)] + mark + answered[accept.end(1) :]
    elif key is not None:
        same += key[1]  # the sample key is told apart
    agent = _AGENT.search(asked)
    if agent is not None:
        asked = asked[: agent.start(1)] + _agent_class(agent[1]) + asked[agent.end(1) :]
    asked = _COOKIE.sub(b"", asked)
    line = asked.find(b"\r\n")
    target = asked[:line]
    if b"=" in target:
        target = _QUERY.sub(rb"\1" + _LEFT_OUT, target)
    if answered:
        answered = _RESPONSE_FREE.sub(rb"\1" + _LEFT_OUT, answered)
    return target, _REQUEST_FREE.sub(rb"\1" + _LEFT_OUT, asked[line:]), answered, same, order


@lru_cache(maxsize=1024)
def _agent_class(agent: bytes) -> bytes:
    """What rules read of a User-Agent."""
    from wsdiag.rules.evidence import is_health_check
    from wsdiag.rules.situation import BROWSER_WORDS

    text = agent.decode("latin-1")
    browser = any(word in text for word in BROWSER_WORDS)
    return b"\0browser" * browser + b"\0health" * is_health_check(text) + b"\0"


def _turns(flow: Flow) -> Hashable:
    """Who spoke when, where it was not simply first the client and then the server: sides and places."""
    client, server = flow.client, flow.server
    asked = [(number, 0, offset) for offset, number in client.marks if offset < len(client.kept)]
    answered = [(number, 1, offset) for offset, number in server.marks if offset < len(server.kept)]
    if not asked or not answered or asked[-1][0] < answered[0][0]:
        return None
    changes: list[tuple[int, int]] = []
    for _, side, offset in sorted(asked + answered):
        if not changes or changes[-1][0] != side:
            changes.append((side, offset))
    return tuple(changes)


def _hello(asked: bytes) -> Hashable:
    """What `wire.tls` reads in a client's TLS bytes, without the places."""
    from wsdiag.wire import tls

    found: list[Hashable] = []
    stop = 0
    for element in tls.read(asked, 0, len(asked), CLIENT):
        stop = element.span.stop
        if isinstance(element, ClientHello):
            flaws = tuple((flaw.kind, flaw.detail) for flaw in element.flaws)
            found.append(("hello", *element[1:6], flaws))
        else:
            found.append((type(element).__name__, *element[1:]))
    return tuple(found), asked[stop:]


def _frames(client: Half, server: Half) -> tuple[Hashable, ...] | None:
    """What is to be told of the frames after the handshake; None when any of them is faulty."""
    found: list[Hashable] = []
    for frame in in_packet_order(client, server):
        if frame.flaws or not frame.complete or (frame.mask is None) == (frame.span.side == CLIENT):
            return None
        found.append((frame.span.side, frame.fin, frame.rsv, frame.opcode, frame.mask is None, frame.payload))
    for half in (client, server):
        reader = half.reader
        found.append(reader and (min(reader.frames, MANY_FRAMES), reader.lost))
        found.append(half.blind)
    return tuple(found)


def _acknowledged(half: Half) -> str:
    """How much of what this side sent is known to have arrived."""
    size = acknowledged(half)
    if size is None:
        return "unknown"
    return "none" if size == 0 else "part" if size < half.total else "all"


def _duration(flow: Flow, clock: Callable[[float], float]) -> Hashable:
    """How long the connection waited for an answer, and was idle before its close, in halves of a second.

    Rules compare with whole and half seconds; what is exactly one is kept apart from what is just more.
    """
    client, server = flow.client, flow.server
    first, reply = client.first_stamp, server.first_stamp
    closed = flow.closed_stamp
    ended = clock(closed) if closed is not None else max(clock(client.stamp), clock(server.stamp))
    waited = ended - clock(first) if first is not None else 0.0
    replied = clock(reply) - clock(first) if first is not None and reply is not None else 0.0
    data = [clock(half.data_stamp) for half in (client, server) if half.data_stamp is not None]
    idle = ended - max(data) if data else 0.0
    if reply is not None:
        waited = 0.0 if waited < 0.5 else waited
    return tuple(
        (int(each * 2), each * 2 == int(each * 2)) if each >= 0.5 else each < 0 for each in (waited, replied, idle)
    )


def _local(address: bytes) -> str:
    """ "4" or "6" for the loopback addresses, which rules tell apart; "" for all others."""
    if len(address) == 4:
        return "4" if address[0] == 127 else ""
    return "6" if address == b"\0" * 15 + b"\1" else ""
