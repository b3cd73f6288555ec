"""What the frames of one direction carry: the order of fragments, compression and UTF-8 (RFC 6455 sections 5.4 and 8.1,
RFC 7692); heads, masks and lengths are left to `frames`, which holds the table of flaws.
"""

from codecs import getincrementaldecoder

from wsdiag.model import CLIENT, Flaw, Side, Span
from wsdiag.record import TYPE_CHECKING
from wsdiag.wire.handshake import DeflateParameters

if TYPE_CHECKING:
    from codecs import IncrementalDecoder
    from zlib import _Decompress

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MAX_INFLATED = 64 * 2**20  # bytes that one message may inflate to: more than any server's limit for a message
MAX_RATIO = 400  # inflated to compressed; deflate itself cannot exceed 1032
RATIO_FROM = 2**20  # bytes below which the ratio is not looked at: small messages of zeros are common
INFLATE_STEP = 2**20  # bytes inflated in one go
SMALL = 1000  # bytes of a compressed message that is inflated at once: it cannot become more than 1 MiB
MIN_TEXT = 4

_SYNC = b"\x00\x00\xff\xff"  # RFC 7692 section 7.2.2
_UNSEEN = -1  # the opcode of a message whose beginning was not seen


def readable_text(data: bytes) -> str:
    """The data as text when it is printable UTF-8 (its end may be cut inside a character), else the empty string."""
    try:
        text = getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return ""
    if len(text) < MIN_TEXT or not text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable():
        return ""
    return text


class Content:
    """Follows the messages of one direction. `payload` spans below are a frame's whole payload, cut or not.

    `opcode` is that of the message under way, None between messages. `tolerant`: the beginning was not seen, or
    inflating was given up; compressed messages are then possible but not checked.
    """

    __slots__ = (
        "_decoder",
        "_failure",
        "_inflated",
        "_inflater",
        "_packed",
        "_side",
        "_takeover",
        "_utf8",
        "_wire",
        "deflate",
        "opcode",
        "tolerant",
    )

    def __init__(self, side: Side, deflate: DeflateParameters | None, joined_late: bool) -> None:
        self.deflate = deflate
        self.tolerant = joined_late
        self.opcode: int | None = _UNSEEN if joined_late else None
        self._side: Side = side
        self._takeover = deflate is not None and not (
            deflate.client_no_context_takeover if side == CLIENT else deflate.server_no_context_takeover
        )
        self._packed = False  # the message is compressed, and can be inflated
        self._utf8 = False  # its text is being checked
        self._decoder: IncrementalDecoder | None = None
        self._inflater: _Decompress | None = None
        self._inflated = 0  # bytes that the message has become
        self._wire = 0  # its compressed bytes
        self._failure = ""  # why it did not inflate, when that was tried all at once

    @property
    def compressible(self) -> bool:
        """True when RSV1 may be set."""
        return self.deflate is not None or self.tolerant

    @property
    def checked(self) -> bool:
        """True when the payload of the message under way is to be given to `take`."""
        return self._utf8 or self._packed

    def inflates(self, message: bytes, text: bool) -> bool:
        """True when a SMALL message of one frame inflates (to UTF-8, when it is text).

        When not, the flaw comes out when the same frame is given to `take`: what was inflated cannot be taken back.
        """
        inflater = self._inflater
        if inflater is None:
            from zlib import decompressobj

            inflater = self._inflater = decompressobj(-15)
        try:
            content = inflater.decompress(message + _SYNC)
        except Exception:  # zlib.error, whose name would have to be imported here for each message
            self._failure = "deflate-error"
            return False
        if text and not content.isascii():
            try:
                content.decode()
            except UnicodeDecodeError:
                self._failure = "invalid-utf8"
                return False
        if inflater.eof:
            self.give_up()
        elif not self._takeover:
            self._inflater = None
        return True

    def follow(self, first: int, span: Span) -> Flaw | None:
        """A frame begins, `first` is its first byte at `span`: RFC 6455 section 5.4."""
        opcode = first & 0x0F
        if opcode >= CLOSE:
            return None
        if opcode == CONTINUATION:
            if self.opcode is None:
                self._start(CONTINUATION, False)
                return Flaw("continuation-without-start", span)
            return None
        interrupted = self.opcode is not None and self.opcode != _UNSEEN
        self._start(opcode, bool(first & 0x40))
        return Flaw("message-interrupted", span) if interrupted else None

    def _start(self, opcode: int, packed: bool) -> None:
        self.opcode = opcode
        self._packed = packed and self.deflate is not None
        # a compressed message that nobody agreed to cannot be checked
        self._utf8 = opcode == TEXT and (self._packed or not packed)
        self._decoder = None
        self._inflated = self._wire = 0

    def lose(self) -> None:
        """Bytes of the message under way are missing: it cannot be checked, nor anything compressed after it."""
        self._utf8 = False
        self._decoder = None
        if self._packed:
            self.give_up()

    def give_up(self) -> None:
        """Inflate nothing any more: the inflater is out of step with the sender."""
        self.deflate = None
        self.tolerant = True
        self._packed = self._utf8 = False
        self._inflater = self._decoder = None

    def take(self, piece: bytes, where: int, payload: Span, flaws: list[Flaw]) -> None:
        """Check the next piece, unmasked, of a data frame's payload; it stands at the offset `where`."""
        if self._packed:
            self._wire += len(piece)
            self._inflate(piece, payload, flaws)
        elif self._utf8:
            self._check(piece, where, payload, flaws)

    def end_frame(self, final: bool, complete: bool, payload: Span, flaws: list[Flaw]) -> None:
        """A data frame ends; `final`: and its message with it."""
        if complete and self._packed:
            if final:
                self._inflate(_SYNC, payload, flaws)
            if self._packed and (
                self._inflated > MAX_INFLATED
                or (self._inflated > RATIO_FROM and self._inflated > MAX_RATIO * max(self._wire, 1))
            ):
                flaws.append(Flaw("inflate-limit", payload))
                self.give_up()
        if not final:
            return
        if complete and self._utf8 and self._decoder is not None:
            pending = len(self._decoder.getstate()[0])
            if pending:
                self._bad_text(max(payload.stop - pending, payload.start), payload, flaws)
        if not self._takeover:
            self._inflater = None
        self.opcode = None
        self._packed = self._utf8 = False
        self._decoder = None
        self._failure = ""

    def _inflate(self, piece: bytes, payload: Span, flaws: list[Flaw]) -> None:
        from zlib import decompressobj, error

        if self._inflated > MAX_INFLATED:
            return  # told when the frame ends
        if self._failure:
            if self._failure == "deflate-error":
                flaws.append(Flaw("deflate-error", payload))
                self.give_up()
            elif self._utf8:
                self._bad_text(0, payload, flaws)
            return
        if self._inflater is None:
            self._inflater = decompressobj(-15)
        try:
            while piece:
                text = self._inflater.decompress(piece, INFLATE_STEP)
                piece = self._inflater.unconsumed_tail
                self._inflated += len(text)
                if self._utf8:
                    self._check(text, 0, payload, flaws)
                if self._inflated > MAX_INFLATED:
                    return
                if self._inflater.eof:  # a final block: legal (RFC 7692 section 7.2.3.4), but nobody goes on after it
                    self.give_up()
                    return
        except error:
            # what came out before the error is no text to judge
            flaws[:] = [flaw for flaw in flaws if flaw.kind != "invalid-utf8"]
            flaws.append(Flaw("deflate-error", payload))
            self.give_up()

    def _check(self, piece: bytes, where: int, payload: Span, flaws: list[Flaw]) -> None:
        decoder = self._decoder
        if decoder is None:
            if piece.isascii():
                return
            decoder = self._decoder = getincrementaldecoder("utf-8")()
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(piece)
        except UnicodeDecodeError as fault:
            self._bad_text(max(where - pending + fault.start, payload.start), payload, flaws)

    def _bad_text(self, where: int, payload: Span, flaws: list[Flaw]) -> None:
        """The byte at `where` is no UTF-8; in a compressed message no single byte can be named."""
        flaws.append(Flaw("invalid-utf8", payload if self._packed else Span(self._side, where, where + 1)))
        self._utf8 = False
        self._decoder = None
