"""`_webSocketMessages` of a HAR entry: what was sent over the WebSocket, counted, with its close frames as frames.

Chromium, mitmproxy and Playwright write them alike: type "send", "receive" or (Chromium) "error", time, opcode, data,
which is text for opcode 1 and base64 for all others. The entry itself is left to `har`.
"""

import base64
from typing import Any

from wsdiag.model import CLIENT, SERVER, Flaw, Frame, Side, Span, Tally
from wsdiag.record import NamedTuple
from wsdiag.wire.frames import read_frames

SIDES: dict[str, Side] = {"send": CLIENT, "sent": CLIENT, "receive": SERVER, "received": SERVER}
CLOSE, TEXT = 8, 1
MAX_CLOSES = 8  # there is one each way; some exporters write one for every try
MAX_ERRORS = 8  # texts of errors of one WebSocket
MAX_ERROR = 1000  # characters of such a text
MAX_CONTROL = 125  # bytes: RFC 6455 section 5.5
MILLISECONDS = 1e11  # a time beyond this (the year 5138) is in milliseconds, as Playwright writes it
NO_MASK = b"\0\0\0\0"  # exports do not keep the mask; a browser never leaves it out


class Messages(NamedTuple):
    """What the messages of one WebSocket come to; there are `many`. `closes` are the close frames' payloads."""

    many: int
    tally: Tally
    closes: tuple[tuple[Side, bytes], ...]
    errors: tuple[str, ...]
    last_at: float | None  # seconds since the epoch (or since some start: whoever compares must check)

    def frames(self, client: int, server: int) -> tuple[Frame, ...]:
        """The close frames, behind `client` and `server` bytes of head and what the messages take."""
        at = {CLIENT: client + self.tally.client_bytes, SERVER: server + self.tally.server_bytes}
        found: list[Frame] = []
        for side, payload in self.closes:
            mask = 0x80 if side == CLIENT else 0
            data = bytes([0x80 | CLOSE, mask | len(payload)]) + (NO_MASK if mask else b"") + payload
            found += [_moved(frame, at[side]) for frame in read_frames(data, 0, side, None)]
            at[side] += len(data)
        return tuple(found)


def read_messages(messages: list[Any]) -> Messages:
    """The messages, whatever their types; what is no message is passed over."""
    count = {CLIENT: 0, SERVER: 0}
    size = {CLIENT: 0, SERVER: 0}
    closes: list[tuple[Side, bytes]] = []
    errors: list[str] = []
    last: float | None = None
    for message in messages:
        if not isinstance(message, dict):
            continue
        kind, data, opcode = message.get("type"), message.get("data"), message.get("opcode")
        data = data if isinstance(data, str) else ""
        if kind == "error":
            if data and len(errors) < MAX_ERRORS:
                errors.append(data[:MAX_ERROR])
            continue
        side = SIDES.get(kind) if isinstance(kind, str) else None
        if side is None:
            continue
        count[side] += 1
        last = _later(last, message.get("time"))
        if opcode == CLOSE:
            payload = _close_payload(data)
            if payload is not None and len(closes) < MAX_CLOSES:
                closes.append((side, payload))
        else:
            size[side] += len(data) if opcode == TEXT else len(data) * 3 // 4
    tally = Tally(count[CLIENT], count[SERVER], size[CLIENT], size[SERVER])
    return Messages(count[CLIENT] + count[SERVER], tally, tuple(closes), tuple(errors), last)


def _later(last: float | None, time: object) -> float | None:
    if not isinstance(time, int | float) or not 0 < time < 1e14:
        return last
    seconds = time / 1000 if time > MILLISECONDS else float(time)
    return seconds if last is None else max(last, seconds)


def _close_payload(data: str) -> bytes | None:
    """Code and reason: in base64, or as the characters that the bytes are; None where neither is one."""
    if not data:
        return b""
    try:
        payload = base64.b64decode(data, validate=True)
    except ValueError:
        payload = b""
    for each in (payload, data.encode("latin-1", "replace")):
        if len(each) >= 2 and 1000 <= int.from_bytes(each[:2], "big") <= 4999:
            return each[:MAX_CONTROL]
    return None


def _moved(frame: Frame, by: int) -> Frame:
    def moved(span: Span) -> Span:
        return Span(span.side, span.start + by, span.stop + by)

    flaws = tuple(Flaw(flaw.kind, moved(flaw.span), flaw.detail) for flaw in frame.flaws)
    return frame._replace(span=moved(frame.span), flaws=flaws)
