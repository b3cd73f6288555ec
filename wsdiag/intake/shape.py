"""The shape of a connection: equal shapes have equal findings, so that ten thousand equal failures are judged once.

Where the verdicts come from is left to the rules; this module knows which of a connection's values cannot change them.
What it does not know stays in the shape as it is. The values that are left out, and the only ones:

- times, but for how long the connection waited or idled (in classes finer than any rule's limit), packet numbers,
  addresses (but whether they are loopback ones) and the client's port;
- a well-formed Sec-WebSocket-Key and the right Sec-WebSocket-Accept for it (a well-formed wrong one is told apart);
- values of headers that no rule reads beyond their presence (Cookie, Date, X-Forwarded-For …), as long as they are
  printable; Host, and an Origin that names the same host; of User-Agent all but whether it is a browser's or a health
  checker's; the path, but where a redirect, Socket.IO or what browsers fetch by themselves (a favicon) is to be told;
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
MANY_FRAMES = 3  # nor do more frames (the rules ask for one more than two)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SAMPLES = (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")  # of RFC 6455 section 1.3
_LEFT_OUT = b"\0"  # stands for a value that is left out; no compared byte is a NUL

# Header fields whose printable values no rule reads.
_FREE = frozenset(
    b"x-forwarded-for x-real-ip x-request-id referer traceparent cf-connecting-ip cf-ray x-amzn-trace-id date "
    b"set-cookie etag last-modified".split()
)
_PRINTABLE = re.compile(rb"[\x20-\x7e]+")
_HOST_VALUE = re.compile(rb"[A-Za-z0-9.-]+(?::[0-9]{1,5})?")
_KEY_VALUE = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
_KEY = re.compile(rb"\r\nsec-websocket-key: ([A-Za-z0-9+/]{21}[AQgw]==)\r\n", re.IGNORECASE)
_ACCEPT = re.compile(rb"\r\nsec-websocket-accept: ([A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]=)\r\n", re.IGNORECASE)
_REQUEST = re.compile(rb"([A-Z]{2,10} )([!-~]+)( HTTP/1\.[01])\Z")
_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9/_.~-]*(?:\?[A-Za-z0-9/_.~=&-]*)?")
_TELLING_EXTENSIONS = (0, 16, 43)  # server name, ALPN, versions: what wire.tls reads
_TOLD_PATHS = re.compile(rb"socket\.io|EIO=", re.IGNORECASE)
MAX_LINES = 2048  # header lines remembered with what is left of them
_lines: dict[bytes, bytes] = {}


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
        None if flow.upgraded else (_acknowledged(client), _acknowledged(server)),
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
    if not asked and not answered:
        return ()
    if len(asked) > MAX_COMPARED or len(answered) > MAX_COMPARED:
        return None
    order = _turns(flow) if answered else None
    if asked[:2] == b"\x16\x03":
        return _hello(asked), answered, order
    if b"\0" in asked or b"\0" in answered:
        return None if len(asked) + len(answered) > 256 else (b"binary", asked, answered, order)
    lines = asked.split(b"\r\n")
    lines[0] = _target(lines[0], b"ocation:" in answered)
    if not lines[0]:
        return asked, answered, order
    rest: Hashable = None
    if answered:
        if b"101" in answered[:16]:
            answered = _without_accept(asked, answered)
        rest = b"\r\n".join([_lines.get(line) or _left(line) for line in answered.split(b"\r\n")])
    same = None
    at = asked.find(b"\r\nOrigin: ")
    if at >= 0:
        origin = asked[at + 2 : asked.find(b"\r\n", at + 2)]
        at = asked.find(b"\r\nHost: ")
        host = asked[at + 8 : asked.find(b"\r\n", at + 2)] if at >= 0 else b""
        # The same host in both: the origin's line is replaced by its scheme. (A head with two of either is compared.)
        if host and origin.endswith(b"://" + host) and _HOST_VALUE.fullmatch(host) and lines.count(origin) == 1:
            same = origin[: -len(host)]
            lines[lines.index(origin)] = b"\0origin"
    return b"\r\n".join([_lines.get(line) or _left(line) for line in lines]), rest, same, order


@lru_cache(maxsize=1024)
def _target(line: bytes, redirected: bool) -> bytes:
    """The request line, without a path that is like any other: redirects compare it, Socket.IO reads it. Empty when it
    is no request line that can be compared."""
    from wsdiag.rules.evidence import is_noise_path

    request = _REQUEST.match(line)
    if request is None:
        return b""
    if (
        redirected
        or not _PLAIN_PATH.fullmatch(request[2])
        or _TOLD_PATHS.search(request[2])
        or is_noise_path(request[2].decode())
    ):
        return line
    return request[1] + _LEFT_OUT + request[3]


def _without_accept(asked: bytes, answered: bytes) -> bytes:
    """The answer with its Sec-WebSocket-Accept told right or wrong, where it and the key are well-formed."""
    key, accept = _KEY.search(asked), _ACCEPT.search(answered)
    if key is None or accept is None or key[1] in _SAMPLES or accept[1] in _SAMPLES:
        # the key is left out of the shape as any other; what cannot be compared needs it
        return answered + b"\r\n" + (key[1] if key is not None and accept is not None else b"")
    right = b2a_base64(sha1(key[1] + _GUID, usedforsecurity=False).digest(), newline=False) == accept[1]
    return answered[: accept.start(1)] + (b"\0right" if right else b"\0wrong") + answered[accept.end(1) :]


def _left(line: bytes) -> bytes:
    """What is left of a header line; lines are remembered, as most of them come again and again."""
    name, colon, value = line.partition(b": ")
    lower = name.lower()
    left = line or b"\0end"
    unique = False
    if colon:
        if lower == b"sec-websocket-key":
            unique = True
            if _KEY_VALUE.fullmatch(value) and value not in _SAMPLES:
                left = name + _LEFT_OUT
        elif lower == b"host":
            if _HOST_VALUE.fullmatch(value):
                left = name + _LEFT_OUT
        elif lower == b"user-agent":
            if _PRINTABLE.fullmatch(value):
                left = name + _agent_class(value)
        elif lower == b"cookie":
            unique = True
            if _PRINTABLE.fullmatch(value):
                left = _LEFT_OUT
        elif lower in _FREE and _PRINTABLE.fullmatch(value):
            left = name + _LEFT_OUT
    if not unique and len(line) < 300:
        if len(_lines) >= MAX_LINES:
            _lines.clear()
        _lines[line] = left
    return left


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
    if not client.marks or not server.marks or client.marks[-1][1] < server.marks[0][1]:
        return None
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
    if (telling := _whole_hello(asked)) is not None:
        return telling
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


def _whole_hello(asked: bytes) -> Hashable | None:
    """The telling extensions of one whole ClientHello in one record (RFC 8446 section 4.1.2); None for all else."""
    size = len(asked)
    if (
        size < 50
        or asked[5:7] != b"\1\0"
        or asked[3] << 8 | asked[4] != size - 5
        or asked[7] << 8 | asked[8] != size - 9
    ):
        return None
    try:
        at = 44 + asked[43]  # behind the session
        at += 2 + (asked[at] << 8 | asked[at + 1])  # the cipher suites
        at += 1 + asked[at]  # and the compression methods
        if at + 2 + (asked[at] << 8 | asked[at + 1]) != size:
            return None
        at += 2
        telling = [asked[:3], asked[9:11]]
        while at < size:
            end = at + 4 + (asked[at + 2] << 8 | asked[at + 3])
            if asked[at] == 0 and asked[at + 1] in _TELLING_EXTENSIONS:
                telling.append(asked[at:end])
            at = end
    except IndexError:
        return None
    return tuple(telling) if at == size else None


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
    closed = flow.closed_stamp
    ended = clock(closed) if closed is not None else max(clock(half.stamp) for half in (client, server) if half.seen)
    if 0 <= ended - clock(flow.first_stamp) < 0.5:
        return None
    first, reply = client.first_stamp, server.first_stamp
    waited = ended - clock(first) if first is not None and reply is None else 0.0  # for nothing
    replied = clock(reply) - clock(first) if first is not None and reply is not None else 0.0
    data = [clock(half.data_stamp) for half in (client, server) if half.data_stamp is not None]
    idle = ended - max(data) if data else 0.0
    return tuple(
        (int(each * 2), each * 2 == int(each * 2)) if each >= 0.5 else each < 0 for each in (waited, replied, idle)
    )


def _local(address: bytes) -> str:
    """ "4" or "6" for the loopback addresses, which rules tell apart; "" for all others."""
    if len(address) == 4:
        return "4" if address[0] == 127 else ""
    return "6" if address == b"\0" * 15 + b"\1" else ""
