"""WebSocket frames, read as they come, with their flaws (RFC 6455 section 5, RFC 7692); masks are for the rules, which
know what each side owes.

The bytes may come in any portions: the same frames come out. Healthy frames are only counted unless all are wanted, so
that gigabytes can be read in little memory. Flaws of a frame:

| kind | meaning |
| --- | --- |
| reserved-bits | a reserved bit that no agreed extension gives a meaning (`Frame.rsv` has the bits) |
| bad-opcode | opcode 3 to 7 or 11 to 15 |
| control-fragmented | a control frame without FIN |
| control-too-long | a control frame of more than 125 bytes |
| non-minimal-length | the length is written in more bytes than needed |
| length-high-bit | the 64-bit length has its highest bit set |
| continuation-without-start | a continuation frame with no message under way |
| message-interrupted | a new message before the last fragment of the one under way |
| bad-close-length | a close frame with a payload of one byte |
| bad-close-code | a close code that must not be sent (RFC 6455 section 7.4); the detail is the code |
| invalid-utf8 | a text message or a close reason is no UTF-8: the first bad byte (of a compressed one, the payload) |
| deflate-error | a compressed message cannot be inflated |
| inflate-limit | a compressed message grows beyond MAX_INFLATED or MAX_RATIO; nothing is inflated after it |
| looks-like-text | plain text where a frame should begin; the detail is the text, and reading ends there |
"""

from codecs import getincrementaldecoder

from wsdiag.model import CLIENT, Flaw, Frame, Side, Span
from wsdiag.record import NamedTuple
from wsdiag.wire.content import BINARY, CLOSE, CONTINUATION, PING, PONG, SMALL, TEXT, Content, readable_text
from wsdiag.wire.handshake import DeflateParameters

OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

MAX_PAYLOAD = 4096  # bytes of a payload that a Frame keeps
MAX_NOTABLE = 256  # flawed frames that one reader reports: a fault that repeats tells nothing new
MAX_DERAILED = 4  # faulty headers in a row until the bytes are taken for something else than frames
TEXT_WINDOW = 64  # bytes looked at to tell text from a frame
UNMASK_STEP = 2**16  # bytes unmasked in one go

_PING_AND_PONG = b"\x89\x8a"
UNMASKED_AT_ONCE = 1500  # bytes of a payload that is looked at as one number; a packet holds no more
_HIGH = [int.from_bytes(b"\x80" * size, "little") for size in range(126)]
_WHOLE = [(1 << 8 * size) - 1 for size in range(126)]
_masks: dict[int, tuple[int, int]] = {}
_REPEAT = [int.from_bytes(b"\x01\x00\x00\x00" * 32, "little") & ((1 << 8 * size) - 1) for size in range(126)]


def unmask(data: bytes, mask: bytes, phase: int = 0) -> bytes:
    """The bytes with the masking key applied (RFC 6455 section 5.3); `phase` is their offset in the payload."""
    size = len(data)
    if len(mask) != 4 or not size:
        return data
    phase &= 3
    key = (mask[phase:] + mask[:phase]) * (size // 4 + 1)
    return (int.from_bytes(data, "little") ^ int.from_bytes(key[:size], "little")).to_bytes(size, "little")


def _mask_numbers(size: int) -> tuple[int, int]:
    """For a payload of that size: what repeats a mask over it when multiplied, and the top bit of each byte."""
    factor = int.from_bytes((b"\1\0\0\0" * (size // 4 + 1))[:size], "little")
    found = _masks[size] = factor, int.from_bytes(b"\x80" * size, "little")
    return found


def header_flaws(first: int, deflate: bool) -> list[str]:
    """The flaws that the first byte alone shows; `deflate`: RSV1 may be set where RFC 7692 allows it."""
    kinds = []
    opcode, rsv = first & 0x0F, first >> 4 & 7
    if rsv and not (deflate and rsv == 4 and opcode in (TEXT, BINARY)):
        kinds.append("reserved-bits")
    if opcode not in OPCODES:
        kinds.append("bad-opcode")
    elif opcode >= CLOSE and not first & 0x80:
        kinds.append("control-fragmented")
    return kinds


def is_sendable(code: int) -> bool:
    """True when a close frame may carry this code: RFC 6455 section 7.4 and the IANA registry."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


class _Under(NamedTuple):
    """The header of the frame under way."""

    start: int  # offset of its first byte
    payload_start: int
    first: int
    length: int
    mask: bytes | None


class FrameReader:
    """Reads one direction's frames from portions of bytes.

    `deflate` is what was agreed. `joined_late`: the beginning was not seen, so an open message and compression are
    possible. `everything`: every frame is returned, not only the flawed, the wrongly masked, the cut and the close
    frames. After a close frame (`closed`) and after what is no frame (`lost`) the rest is ignored; `stop` is the offset
    up to which bytes belong to frames. `frames` and `bytes` count the frames that were begun and the payload bytes that
    were seen.
    """

    __slots__ = (
        "_buffer",
        "_content",
        "_derailed",
        "_flaws",
        "_kept",
        "_lost_bytes",
        "_notable",
        "_seen",
        "_under",
        "bytes",
        "closed",
        "everything",
        "frames",
        "lost",
        "side",
        "stop",
    )

    def __init__(
        self,
        side: Side,
        deflate: DeflateParameters | None = None,
        *,
        everything: bool = False,
        joined_late: bool = False,
    ) -> None:
        self.side: Side = side
        self.everything = everything
        self.frames = 0
        self.bytes = 0
        self.closed = False
        self.lost = False
        self.stop = 0
        self._content = Content(side, deflate, joined_late)
        self._buffer = b""  # the head of a frame, until all of it is there
        self._under: _Under | None = None
        self._seen = 0  # payload bytes of the frame under way
        self._lost_bytes = False  # some of its payload is missing
        self._kept = bytearray()
        self._flaws: list[Flaw] = []
        self._notable = 0
        self._derailed = 0

    @property
    def begun(self) -> int:
        """The offset where the frame under way begins, which is `stop` when there is none."""
        return self._under.start if self._under is not None else self.stop

    # -- bytes in --

    def feed(self, data: bytes, offset: int) -> list[Frame]:
        """The notable frames (or all) that end in `data`, the stream's next bytes, which begin at `offset`."""
        out: list[Frame] = []
        if self.closed or self.lost:
            return out
        if self._buffer:
            offset -= len(self._buffer)
            data = self._buffer + data
            self._buffer = b""
        at = 0
        if self._under is not None:
            at = self._payload(data, 0, offset, out)
        self._read(data, at, offset, out, False)
        return out

    def finish(self) -> list[Frame]:
        """The frame that the end of the bytes cut, if any."""
        out: list[Frame] = []
        if self._buffer and not (self.closed or self.lost):
            data, self._buffer = self._buffer, b""
            self._read(data, 0, self.stop, out, True)
        if self._under is not None:
            self._end(out, False)
        return out

    def missing(self, size: int) -> bool:
        """Say that `size` bytes are missing here; True when they all belong to a payload, so that reading can go on."""
        under = self._under
        if under is None or under.length - self._seen < size:
            return False
        self._seen += size
        self._lost_bytes = True
        self._content.lose()
        return True

    # -- one frame after the other --

    def _read(self, data: bytes, at: int, offset: int, out: list[Frame], final: bool) -> None:
        while at < len(data) and not (self.closed or self.lost):
            if self._content.opcode is None:
                at = self._pass(data, at, offset, out)
                if at == len(data):
                    break
            begun = self._begin(data, at, offset, final, out)
            if begun < 0:
                self._buffer = data[at:]
                break
            at = begun
            if self._under is not None:
                at = self._payload(data, at, offset, out)
        if not (self.closed or self.lost):
            self.stop = offset + at

    def _count_sent(self, data: bytes, at: int) -> int:
        """Count a server's healthy frames of up to 64 KiB, texts only where they are ASCII; where they end."""
        last = len(data) - 4
        begun = at
        frames = heads = 0
        while at <= last:
            start = at + 2
            length = data[at + 1]
            if length > 125:
                length = data[at + 2] << 8 | data[at + 3]
                start = at + 4
                if data[at + 1] != 126 or length < 126:
                    break
                heads += 2
            stop = start + length
            if stop > last + 4 or not (
                data[start:stop].isascii()
                if data[at] == 0x81
                else data[at] == 0x82 or (length < 126 and data[at] in _PING_AND_PONG)
            ):
                heads -= 2 * (start - at > 2)
                break
            frames += 1
            at = stop
        if frames:
            self._derailed = 0
        self.frames += frames
        self.bytes += at - begun - heads - 2 * frames
        return at

    def _count_masked(self, data: bytes, at: int) -> int:
        """The same for a client's frames: their payloads are looked at through their masks, as large numbers."""
        last = len(data) - 8
        begun = at
        frames = heads = 0
        from_bytes, masks_get = int.from_bytes, _masks.get
        while at <= last:
            start = at + 6
            length = data[at + 1] - 128
            if length > 125:
                length = data[at + 2] << 8 | data[at + 3]
                start = at + 8
                if data[at + 1] != 254 or not 126 <= length < UNMASKED_AT_ONCE:
                    break
                heads += 2
            stop = start + length
            if length < 0 or stop > last + 8:
                heads -= 2 * (start - at > 6)
                break
            if data[at] == 0x81:
                factor, tops = masks_get(length) or _mask_numbers(length)
                masked = from_bytes(data[start:stop], "little")
                if (masked ^ from_bytes(data[start - 4 : start], "little") * factor) & tops:
                    heads -= 2 * (start - at > 6)
                    break
            elif data[at] != 0x82 and (length > 125 or data[at] not in _PING_AND_PONG):
                heads -= 2 * (start - at > 6)
                break
            frames += 1
            at = stop
        if frames:
            self._derailed = 0
        self.frames += frames
        self.bytes += at - begun - heads - 6 * frames
        return at

    def _pass(self, data: bytes, at: int, offset: int, out: list[Frame]) -> int:
        """Pass over whole and healthy frames of whole messages, as quickly as can be; where they end."""
        end = len(data)
        everything, side = self.everything, self.side
        high, repeat, whole, from_bytes = _HIGH, _REPEAT, _WHOLE, int.from_bytes
        make = tuple.__new__  # the records' own constructors cost three times as much
        content, from_server = self._content, side != CLIENT
        owed = 0 if from_server else 0x80
        if not everything:
            at = self._count_sent(data, at) if from_server else self._count_masked(data, at)
        frames = size = 0
        while end - at >= 6:
            first = data[at]
            second = data[at + 1]
            if second & 0x80 != owed and not everything:
                break
            length = second & 0x7F
            if length < 126:
                start = at + 6 if second & 0x80 else at + 2
            elif length == 126:
                length = data[at + 2] << 8 | data[at + 3]
                if length < 126:
                    break
                start = at + 8 if second & 0x80 else at + 4
            else:
                length = from_bytes(data[at + 2 : at + 10], "big")
                if length < 65536 or end - at < 10:
                    break
                start = at + 14 if second & 0x80 else at + 10
            stop = start + length
            if stop > end:
                break
            if first == 0x81:
                if second & 0x80:
                    if length < 126:
                        value = from_bytes(data[start:stop], "little")
                        value ^= from_bytes(data[start - 4 : start], "little") * repeat[length]
                        if value & high[length]:
                            try:
                                (value & whole[length]).to_bytes(length, "little").decode()
                            except UnicodeDecodeError:
                                break
                    else:
                        payload = unmask(data[start:stop], data[start - 4 : start])
                        if not payload.isascii():
                            try:
                                payload.decode()
                            except UnicodeDecodeError:
                                break
                else:
                    payload = data[start:stop]
                    if not payload.isascii():
                        try:
                            payload.decode()
                        except UnicodeDecodeError:
                            break
            elif (
                (first == 0xC1 or first == 0xC2)
                and length <= SMALL
                and content.deflate is not None
                and (from_server or second & 0x80)
            ):
                payload = data[start:stop]
                if second & 0x80:
                    payload = unmask(payload, data[start - 4 : start])
                if not content.inflates(payload, first == 0xC1):
                    break
            elif first != 0x82 and ((first != 0x89 and first != 0x8A) or length > 125):
                break
            if everything:
                kept, mask = data[start : min(stop, start + MAX_PAYLOAD)], None
                if second & 0x80:
                    mask = data[start - 4 : start]
                    kept = unmask(kept, mask)
                span = make(Span, (side, offset + at, offset + stop))
                rsv = first >> 4 & 7
                out.append(make(Frame, (span, True, rsv, first & 15, mask, length, kept, True, (), 0)))
            frames += 1
            size += length
            at = stop
        if frames:
            self._derailed = 0
            self.frames += frames
            self.bytes += size
        return at

    def _begin(self, data: bytes, at: int, offset: int, final: bool, out: list[Frame]) -> int:
        """Read the head of the frame at `at`; where its payload begins, or -1 when more bytes are needed."""
        have = len(data) - at
        if have < 2 and not final:
            return -1
        first = data[at]
        kinds = header_flaws(first, self._content.compressible)
        second = data[at + 1] if have >= 2 else 0
        masked, length, size = second & 0x80, second & 0x7F, 2
        wide = {126: 2, 127: 8}.get(length, 0)
        wanted = 2 + wide + (4 if masked else 0)
        # text in place of a frame: its first byte cannot be a healthy client's or server's header
        if (kinds or (self.side == CLIENT and not masked)) and (first < 0x7F or first >= 0xC2):
            if have < TEXT_WINDOW and not final:
                return -1
            text = readable_text(data[at : at + TEXT_WINDOW])
            if text:
                self._text(first, length, text, min(have, TEXT_WINDOW), offset + at, kinds, out)
                return at
        if have < wanted and not final:
            return -1
        start = offset + at
        span = Span(self.side, start, start + min(2, have))
        flaws = [Flaw(kind, span, str(first & 0x0F) if kind == "bad-opcode" else "") for kind in kinds]
        if have >= wanted:
            if wide:
                size += wide
                length = int.from_bytes(data[at + 2 : at + size], "big")
                field = Span(self.side, start + 1, start + size)
                if length < (126 if wide == 2 else 65536):
                    flaws.append(Flaw("non-minimal-length", field, str(length)))
                if length >= 2**63:
                    flaws.append(Flaw("length-high-bit", field))
            mask = data[at + size : at + size + 4] if masked else None
            size += 4 if masked else 0
        else:  # cut inside the head: the mask is empty, not absent, when its bit is set or was not seen
            size = have
            mask = b"" if masked or (have < 2 and self.side == CLIENT) else None
            length = 0 if wide else length
        if first & 0x08 and first & 0x0F in OPCODES and length > 125:
            flaws.append(Flaw("control-too-long", Span(self.side, start + 1, start + size), str(length)))
        if have >= 2:
            disorder = self._content.follow(first, span)
            if disorder is not None:
                flaws.append(disorder)
        self.frames += 1
        self._derailed = self._derailed + 1 if any(flaw.kind in _DERAILING for flaw in flaws) else 0
        self._under = _Under(start, start + size, first, length, mask)
        self._seen = 0
        self._flaws = flaws
        if have < wanted:
            self._lost_bytes = True
        elif not length:
            self._end(out, True)
        return at + size

    def _text(
        self, first: int, length: int, text: str, size: int, start: int, kinds: list[str], out: list[Frame]
    ) -> None:
        span = Span(self.side, start, start + size)
        flaws = [
            *(Flaw(kind, Span(self.side, start, start + 1)) for kind in kinds),
            Flaw("looks-like-text", span, text),
        ]
        self.frames += 1
        self.lost = True
        self.stop = start + size
        out.append(Frame(span, bool(first & 0x80), first >> 4 & 7, first & 15, None, length, b"", False, tuple(flaws)))

    # -- payloads --

    def _payload(self, data: bytes, at: int, offset: int, out: list[Frame]) -> int:
        """Take what `data` holds of the payload under way; where it ends."""
        under = self._under
        assert under is not None
        end = min(len(data), at + under.length - self._seen)
        content = self._content
        checked = under.first & 0x0F < CLOSE and content.checked
        while at < end:
            if not checked and len(self._kept) >= MAX_PAYLOAD:
                self._seen += end - at
                self.bytes += end - at
                at = end
                break
            step = min(end, at + UNMASK_STEP)
            piece = data[at:step]
            if under.mask:
                piece = unmask(piece, under.mask, self._seen)
            if len(self._kept) < MAX_PAYLOAD and not self._lost_bytes:
                self._kept += piece[: MAX_PAYLOAD - len(self._kept)]
            if checked:
                content.take(piece, offset + at, self._payload_span(under), self._flaws)
                checked = content.checked
            self._seen += step - at
            self.bytes += step - at
            at = step
        self.stop = offset + at
        if self._seen >= under.length:
            self._end(out, True)
        return at

    def _payload_span(self, under: _Under) -> Span:
        return Span(self.side, under.payload_start, under.payload_start + under.length)

    # -- the end of a frame --

    def _end(self, out: list[Frame], complete: bool) -> None:
        under = self._under
        assert under is not None
        complete = complete and not self._lost_bytes
        fin, opcode = bool(under.first & 0x80), under.first & 0x0F
        if opcode < 8:
            self._content.end_frame(fin, complete, self._payload_span(under), self._flaws)
        elif opcode == CLOSE:
            self._end_close(under, complete)
        odd = self._flaws or not complete or (under.mask is None) == (self.side == CLIENT)
        if self.everything or opcode == CLOSE or (odd and self._notable < MAX_NOTABLE):
            self._notable += 1
            stop = self.stop if self.stop > under.payload_start else under.payload_start
            flaws = tuple(self._within(flaw, stop) for flaw in self._flaws)
            span = Span(self.side, under.start, stop)
            out.append(
                Frame(
                    span,
                    fin,
                    under.first >> 4 & 7,
                    opcode,
                    under.mask,
                    under.length,
                    bytes(self._kept),
                    complete,
                    flaws,
                )
            )
        if self._derailed >= MAX_DERAILED:
            self.lost = True
        self.stop = max(self.stop, under.payload_start)
        self._under = None
        self._lost_bytes = False
        self._kept.clear()
        self._flaws = []

    def _within(self, flaw: Flaw, stop: int) -> Flaw:
        """The flaw with its span inside a frame that ends at `stop` (a payload may be cut)."""
        if flaw.span.stop <= stop:
            return flaw
        return Flaw(flaw.kind, Span(self.side, min(flaw.span.start, stop), stop), flaw.detail)

    def _end_close(self, under: _Under, complete: bool) -> None:
        self.closed = complete
        kept = self._kept
        at = under.payload_start
        if under.length == 1:
            self._flaws.append(Flaw("bad-close-length", Span(self.side, at, at + 1)))
        if len(kept) < 2:
            return
        code = kept[0] << 8 | kept[1]
        if not is_sendable(code):
            self._flaws.append(Flaw("bad-close-code", Span(self.side, at, at + 2), str(code)))
        try:
            getincrementaldecoder("utf-8")().decode(bytes(kept[2:]), complete and under.length <= MAX_PAYLOAD)
        except UnicodeDecodeError as fault:
            self._flaws.append(Flaw("invalid-utf8", Span(self.side, at + 2 + fault.start, at + 3 + fault.start)))


_DERAILING = frozenset(
    {"reserved-bits", "bad-opcode", "control-fragmented", "control-too-long", "non-minimal-length", "length-high-bit"}
)


def first_frame(data: bytes, offset: int, side: Side) -> Frame:
    """The frame that `data`, not empty, begins with; `offset` is where that stands in the stream."""
    for size in (16, MAX_PAYLOAD + 16):  # most frames are small, and reading more of them than one is in vain
        reader = FrameReader(side, everything=True, joined_late=True)
        found = reader.feed(data[:size], offset) + reader.finish()
        if found[0].complete:
            break
    return found[0]


def read_frames(
    data: bytes, start: int, side: Side, deflate: DeflateParameters | None = None, *, joined_late: bool = False
) -> list[Frame]:
    """All frames from `start` to the end of `data`; they stop early after a close frame and where no frame stands."""
    reader = FrameReader(side, deflate, everything=True, joined_late=joined_late)
    found = reader.feed(data[start:] if start else data, start)
    return found + reader.finish()
