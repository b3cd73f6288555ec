"""Standard input: a pipe as it is, and what a person pastes into a terminal, up to the first Ctrl-D.

A terminal in its usual mode passes on no line longer than 4095 bytes, and a buffer in hexadecimal easily is: so the
lines are read raw, the keys that people use while typing (backspace, Ctrl-C) keep their meaning, and Ctrl-D ends it.
"""

import os
import sys
from io import BufferedReader, BytesIO

from wsdiag.model import WsdiagError
from wsdiag.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO, cast

END_OF_INPUT = b"\x04"  # Ctrl-D
ERASE = (0x7F, 0x08)  # backspace, as terminals send it
CHUNK = 65536


def standard_input() -> "BinaryIO":
    """Standard input as a stream of bytes that can be peeked into."""
    if sys.stdin is None:
        raise WsdiagError("empty-input", source="-")
    if not sys.stdin.isatty():
        return sys.stdin.buffer
    stream = BufferedReader(BytesIO(_from_terminal(sys.stdin.fileno())))  # type: ignore[arg-type,unused-ignore]
    return cast("BinaryIO", stream) if TYPE_CHECKING else stream


def _from_terminal(number: int) -> bytes:
    """What is typed or pasted, up to Ctrl-D (Windows: Ctrl-Z and Enter)."""
    try:
        import termios
    except ImportError:  # Windows has no termios, and no limit to a line either
        return sys.stdin.buffer.read()
    before = termios.tcgetattr(number)
    raw = termios.tcgetattr(number)
    raw[3] &= ~(termios.ICANON | termios.ECHOCTL)  # no "^D" in front of the answer
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    typed = bytearray()
    try:
        termios.tcsetattr(number, termios.TCSADRAIN, raw)
        while True:
            piece = os.read(number, CHUNK)
            end = piece.find(END_OF_INPUT)
            _type(typed, piece if end < 0 else piece[:end])
            if not piece or end >= 0:
                return bytes(typed)
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        if typed and not typed.endswith(b"\n"):
            print(file=sys.stderr)  # the answer begins on a line of its own


def _type(typed: bytearray, piece: bytes) -> None:
    """Add what was typed; a backspace takes the last byte of its line back."""
    if not any(key in piece for key in ERASE):
        typed += piece
        return
    for byte in piece:
        if byte not in ERASE:
            typed.append(byte)
        elif typed and typed[-1] != 0x0A:
            del typed[-1]
