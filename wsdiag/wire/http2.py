"""HTTP/2's connection preface and frames, as far as they tell why a WebSocket fails (RFC 9113, RFC 8441).

Flow control, stream states and the bytes inside DATA frames are left alone.
"""

from wsdiag.model import Http2Frames, Http2Preface, Side, Span
from wsdiag.record import TYPE_CHECKING

if TYPE_CHECKING:
    from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441 section 3

MAX_FRAME = 2**20  # SETTINGS_MAX_FRAME_SIZE is 16 KiB unless raised; what claims more is no HTTP/2 frame
MAX_HEADER_BLOCK = 2**16  # the usual SETTINGS_MAX_HEADER_LIST_SIZE of servers
MAX_HEADER_LISTS = 64  # lists that are kept: a WebSocket over HTTP/2 shows in the first few
MAX_SETTINGS = 64
MAX_ERRORS = 64

_ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 4, 8, 32
# (type, flags allowed, stream is 0); only the types of RFC 9113: an unknown type means that this is not HTTP/2
_ON_CONNECTION = {SETTINGS, PING, GOAWAY}


def read_preface(data: bytes, start: int, stop: int, side: Side) -> Http2Preface | None:
    """The preface at `start`, cut or whole (five bytes of it at least); None when there is none."""
    size = min(len(PREFACE), stop - start)
    if size < 5 or data[start : start + size] != PREFACE[:size]:
        return None
    return Http2Preface(Span(side, start, start + size), size == len(PREFACE))


def is_settings(data: bytes, start: int, stop: int) -> bool:
    """True when a SETTINGS frame stands at `start`: the first thing that a server says (RFC 9113 section 3.4)."""
    if stop - start < 9 or data[start + 3] != SETTINGS or data[start + 4] > 1 or any(data[start + 5 : start + 9]):
        return False
    size = int.from_bytes(data[start : start + 3], "big")
    return size % 6 == 0 and size <= 6 * MAX_SETTINGS


def read_frames(data: bytes, start: int, stop: int, side: Side, *, begun: bool = False) -> Http2Frames | None:
    """The frames from `start` on, up to what is no frame; None when there is none.

    `begun`: that HTTP/2 is spoken is known, so a single cut frame's head is one as well (`frames` is then 0).
    """
    reading = _Frames()
    at = start
    while stop - at >= 9:
        size, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        if kind > CONTINUATION or size > MAX_FRAME or (kind in _ON_CONNECTION and stream):
            break
        end = at + 9 + size
        if end <= stop:
            reading.frame(kind, flags, data[at + 9 : end] if kind != DATA else b"")
        reading.count += 1
        at = min(end, stop)
    if 0 < stop - at < 9 and (reading.count or begun):
        at = stop  # a frame whose head is cut
    if at == start:
        return None
    return Http2Frames(
        Span(side, start, at), reading.count, tuple(reading.settings), tuple(reading.lists), tuple(reading.errors)
    )


class _Frames:
    """What has been read of one direction's frames."""

    def __init__(self) -> None:
        self.count = 0
        self.settings: list[tuple[int, int]] = []
        self.lists: list[tuple[tuple[str, str], ...]] = []
        self.errors: list[int] = []
        self.block = bytearray()
        self.decoder: Decoder | None = None
        self.readable = True  # False once hpack failed: its table is then out of step

    def frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & _ACK:
            for at in range(0, len(payload) - 5, 6):
                if len(self.settings) < MAX_SETTINGS:
                    self.settings.append(
                        (int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
                    )
        elif kind in (GOAWAY, RST_STREAM):
            at = 4 if kind == GOAWAY else 0
            if len(payload) >= at + 4 and len(self.errors) < MAX_ERRORS:
                self.errors.append(int.from_bytes(payload[at : at + 4], "big"))
        elif kind in (HEADERS, CONTINUATION, PUSH_PROMISE):
            self._headers(kind, flags, payload)

    def _headers(self, kind: int, flags: int, payload: bytes) -> None:
        if kind != CONTINUATION:
            self.block.clear()
            if flags & _PADDED and payload:
                payload = payload[1 : max(1, len(payload) - payload[0])]
            if kind == HEADERS and flags & _PRIORITY:
                payload = payload[5:]
            if kind == PUSH_PROMISE:
                payload = payload[4:]
        if not self.readable or len(self.lists) >= MAX_HEADER_LISTS:
            return
        if len(self.block) + len(payload) > MAX_HEADER_BLOCK:
            self.readable = False
            return
        self.block += payload
        if flags & _END_HEADERS:
            self._decode()

    def _decode(self) -> None:
        try:
            from hpack import Decoder
        except ImportError:
            self.readable = False
            return
        if self.decoder is None:
            self.decoder = Decoder(max_header_list_size=MAX_HEADER_BLOCK)
        try:
            fields = self.decoder.decode(bytes(self.block), raw=True)
        except Exception:  # hostile blocks raise HPACKError and, in some releases, IndexError, ValueError …
            self.readable = False
            return
        self.lists.append(tuple((_text(name), _text(value)) for name, value, *_ in fields))


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
