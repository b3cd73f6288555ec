"""Which bytes of a followed connection are kept: the first ones up to the handshake; later frames are only read.

How its packets are put in order is left to `tcp`, what the bytes mean to `wire` and the rules.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from wsdiag.intake.flow import KEPT, MAX_MARKS, Flow, Half
from wsdiag.model import SERVER

if TYPE_CHECKING:
    from wsdiag.wire.handshake import DeflateParameters

KEPT_TLS = 1 << 14  # of a TLS connection whose keys nobody gave: its handshake messages, with a long certificate chain
KEPT_UNREAD = 1 << 12  # of a connection on an unknown port that speaks something else
KEPT_MIDDLE = 1 << 10  # of a connection that was already open, in a survey: nothing can be concluded from more
MAX_GAPS = 64  # gaps remembered for one direction
MAX_PASSED = 512  # connections that seemed to be none of ours, kept until we know which ports are
FEW = 32  # a capture with no more connections was made of one problem: then all of them are reported

# A method and a space; it need not be a known one.
_METHOD = re.compile(rb"[A-Za-z]{2,20} ")
# How the first bytes of a connection begin: a request, a response, a TLS handshake.
_SPOKEN_FIRST = re.compile(rb"[A-Za-z]{2,20} [^\r\n]* HTTP/1|HTTP/1|\x16\x03")
# A connection on any port is of interest when its client says one of these.
_TRIED = re.compile(
    rb"upgrade[ \t]*:[^\r\n]*websocket|sec-websocket-|/socket\.io/|[?&]EIO=\d|<policy-file-request", re.IGNORECASE
)
_UPGRADE = re.compile(rb"\n(?:upgrade[ \t]*:[^\r\n]*websocket|sec-websocket-)", re.IGNORECASE)
_SWITCH = re.compile(rb"HTTP/1\.[01] 101[ \r\n]")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_PLAIN_FIRST_BYTES = b"\x01\x02\x81\x82\x88\x89\x8a"  # of frames without reserved bits


class Following:
    """Decides what is kept of each connection, and hands the finished ones to `emit`.

    `ports`: None reports what looks like a WebSocket attempt on any port (and what else happened on the same ports);
    otherwise all connections on these ports are reported. `keep_frames`: the first `KEPT` bytes are kept even when
    they are frames (a few connections are looked at closely); otherwise bytes are kept up to the handshake and later
    ones are only read for faults. `kept_tls`: how many bytes of TLS records are kept, more where keys may open them.
    """

    __slots__ = (
        "buffered",
        "emit",
        "emitted",
        "hosts",
        "keep_frames",
        "kept_tls",
        "learned",
        "passed",
        "ports",
        "seen",
    )

    def __init__(
        self,
        ports: frozenset[int] | None,
        emit: Callable[[Flow], None],
        *,
        keep_frames: bool = True,
        kept_tls: int = KEPT_TLS,
    ) -> None:
        self.ports = ports
        self.emit = emit
        self.keep_frames = keep_frames
        self.kept_tls = kept_tls
        self.learned: set[int] = set()  # ports where a handshake was tried
        self.passed: deque[Flow] = deque()
        self.buffered = 0  # bytes kept for all connections that are not finished
        self.emitted = 0
        self.hosts: set[str] = set()  # servers of the first connections that were reported
        self.seen = 0

    # --- bytes come in -----------------------------------------------------------------------------------------------

    def take(self, half: Half, payload: bytes | bytearray, size: int, number: int) -> bool:
        """The next bytes of a direction; `payload` may hold fewer than `size`. False: do not follow it any more."""
        if half.hurried:
            half.parts.append(payload)
            half.numbers.append(number)
            half.room -= len(payload)
            if len(payload) < size:
                half.read_batch()
                self.lose(half, size - len(payload))
            elif half.room < 0:
                half.read_batch()
            return True
        flow = half.flow
        kept = half.kept
        if not kept and flow.opening == "middle" and not self.keep_frames and not _SPOKEN_FIRST.match(payload):
            flow.limit = KEPT_MIDDLE
        if len(half.marks) < MAX_MARKS:
            half.marks.append((len(kept), number))
        kept += payload
        half.total += len(payload)
        self.buffered += len(payload)
        if len(payload) < size:
            self.lose(half, size - len(payload))
        if not flow.wanted and not self._decide(flow, half):
            return False
        if flow.upgraded:
            if len(kept) > KEPT:
                self._hurry(flow)
        elif len(kept) > flow.limit:
            self._stop_keeping(half)
        elif half is flow.server and not flow.tls:
            self._look_for_switch(flow)
        return True

    def lose(self, half: Half, size: int) -> None:
        """The capture has lost `size` bytes of this direction here."""
        if half.hurried:
            half.read_batch()
        if half.hurried and not half.blind and half.reader is not None and half.reader.missing(size):
            half.total += size  # offsets go on counting, as the frame's length does
            return
        half.blind = True
        if len(half.gaps) < MAX_GAPS:
            half.gaps += ((half.total, size),)

    def _decide(self, flow: Flow, half: Half) -> bool:
        """Whether this connection is of interest, as soon as its bytes tell. False: it is not, drop it."""
        client = flow.client.kept
        tls = client[:2] == b"\x16\x03"
        if tls and not flow.tls:
            flow.tls = True
            flow.limit = self.kept_tls
        if self.ports is not None or flow.server_port in self.learned:
            flow.wanted = bool(client)
            return True
        if half is flow.client and _TRIED.search(client):
            self.learned.add(flow.server_port)
            flow.wanted = True
            return True
        limit = self.kept_tls if tls else KEPT if _METHOD.match(client) else KEPT_UNREAD
        if len(half.kept) > limit:
            self.buffered -= len(flow.client.kept) + len(flow.server.kept)
            self._set_aside(flow)
            return False
        return True

    def _set_aside(self, flow: Flow) -> None:
        """None of ours, it seems; it is kept for a while, in case its port turns out to be one."""
        for half in (flow.client, flow.server):
            if len(half.kept) > KEPT_TLS:
                del half.kept[KEPT_TLS:]
        self.passed.append(flow)
        if len(self.passed) > MAX_PASSED:
            self.passed.popleft().release()

    # --- the handshake ends ------------------------------------------------------------------------------------------

    def _look_for_switch(self, flow: Flow) -> None:
        """Find a whole 101; from its end on the bytes are frames."""
        server = flow.server.kept
        switch = _SWITCH.search(server, flow.searched)
        if switch is None:
            flow.searched = max(0, len(server) - 16)
            return
        flow.searched = switch.start()
        end = _END_OF_HEAD.search(server, switch.end())
        if end is None:
            return
        asked = None
        for asked in _UPGRADE.finditer(flow.client.kept):  # noqa: B007 (the last one counts)
            pass
        head = _END_OF_HEAD.search(flow.client.kept, asked.end() - 1) if asked else None
        if head is None:
            flow.searched = end.end()
            return
        flow.upgraded = True
        flow.client.begin, flow.server.begin = head.end(), end.end()
        if not self.keep_frames:
            glued = server[end.end() : end.end() + 2]
            if not glued or (len(glued) == 2 and glued[0] in _PLAIN_FIRST_BYTES and glued[1] < 128):
                self._hurry(flow)

    def _hurry(self, flow: Flow) -> None:
        """From here on bytes are read as frames and not kept."""
        from wsdiag.wire.frames import FrameReader

        deflate = agreed_deflate(bytes(flow.server.kept[flow.searched : flow.server.begin]))
        for half in (flow.client, flow.server):
            if half.hurried:
                continue
            reader = FrameReader(half.side, deflate)
            half.hurry(reader)
            rest = bytes(half.kept[half.begin :])
            if not rest:
                continue
            found = reader.feed(rest, half.begin)
            if half is flow.server and not self.keep_frames:
                # healthy frames that came glued to the 101 need not be kept
                del half.kept[half.begin :]
                half.marks = [mark for mark in half.marks if mark[0] < half.begin]
                half.notable += tuple(found)
                self.buffered -= len(rest)

    def _stop_keeping(self, half: Half) -> None:
        """Enough of a direction that is no WebSocket (yet): the rest is only counted."""
        half.hurry(None)

    # --- the connection ends -----------------------------------------------------------------------------------------

    def finish(self, flow: Flow) -> None:
        """The connection is over (or will not be followed any more)."""
        for half in (flow.client, flow.server):
            if half.hurried:
                half.read_batch()
            if half.reader is not None and not half.blind and half.hurried:
                half.notable += tuple(half.reader.finish())
        self.buffered -= len(flow.client.kept) + len(flow.server.kept)
        if flow.wanted or self.ports is not None or flow.server_port in self.learned:
            self._emit(flow)
            flow.release()
        else:
            self._set_aside(flow)

    def close(self) -> None:
        """The capture is over: what was set aside is reported if its port is one of ours, or there is little else."""
        small = self.seen <= FEW
        few = not self.emitted and small
        servers = set(self.hosts)
        for flow in self.passed:
            # In a small capture, what the server (a proxy, perhaps) did itself beside the handshake is its other leg.
            behind = small and flow.endpoints()[0].host in servers
            if few or behind or flow.server_port in self.learned:
                self._emit(flow)
            flow.release()
        self.passed.clear()

    def _emit(self, flow: Flow) -> None:
        if self.seen <= FEW and len(self.hosts) < FEW:
            self.hosts.add(flow.endpoints()[1].host)
        flow.id = self.emitted
        self.emitted += 1
        self.emit(flow)


def agreed_deflate(head: bytes) -> "DeflateParameters | None":
    """How permessage-deflate was agreed, by the bytes of the 101."""
    if b"permessage-deflate" not in head:
        return None
    from wsdiag.wire.handshake import deflate_parameters
    from wsdiag.wire.http1 import read_response

    return deflate_parameters(None, read_response(head, 0, len(head), SERVER))
