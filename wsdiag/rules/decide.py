"""Causes that a captured value decides by calculation, for signatures with `decide = "…"`; how the value was found in a
line is left to `reported`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from wsdiag.model import NO_VALUES, Value, Values


class Decision(NamedTuple):
    """What the captured values say: the cause, finer words for it, and values that the words may use."""

    name: str
    variant: str = ""
    values: Values = NO_VALUES


# A length prefix of 4 bytes (big endian) that was never one: the first bytes of what the peer really sent.
_FIRST_BYTES: tuple[tuple[bytes, str, str], ...] = (
    (b"GET ", "listener-wrong-protocol", "http"),
    (b"POST", "listener-wrong-protocol", "http"),
    (b"HEAD", "listener-wrong-protocol", "http"),
    (b"OPTI", "listener-wrong-protocol", "http"),
    (b"CONN", "listener-wrong-protocol", "http"),
    (b"PUT ", "listener-wrong-protocol", "http"),
    (b"DELE", "listener-wrong-protocol", "http"),
    (b"PATC", "listener-wrong-protocol", "http"),
    (b"HTTP", "listener-wrong-protocol", "http"),
    (b"PRI ", "http2-to-http1", "http2"),
    (b"PROX", "proxy-protocol-header", "proxy"),
    (b"\r\n\r\n", "proxy-protocol-header", "proxy"),
    (b"\x16\x03\x00", "tls-to-plaintext", "tls"),
    (b"\x16\x03\x01", "tls-to-plaintext", "tls"),
    (b"\x16\x03\x02", "tls-to-plaintext", "tls"),
    (b"\x16\x03\x03", "tls-to-plaintext", "tls"),
)


def package_length(values: Mapping[str, Value]) -> Decision | None:
    """Read a length that a program refused as the four bytes it was made of (`number`): 1195725856 is "GET ".

    A number whose bytes are nothing known and not readable text is a length: the message is too big.
    """
    number = values.get("number")
    if not isinstance(number, int) or number < 0:
        return None
    if number < 1 << 32:
        data = number.to_bytes(4, "big")
        for start, cause, protocol in _FIRST_BYTES:
            if data.startswith(start):
                return Decision(cause, "package-length", {"detail": _quoted(data), "got": protocol})
        if all(0x20 <= byte < 0x7F for byte in data):
            return Decision("listener-wrong-protocol", "package-length", {"detail": _quoted(data)})
    return Decision("message-too-big", values={"size": number})


def _quoted(data: bytes) -> str:
    """The bytes as text if they can be read, else in hex with blanks."""
    return data.decode("ascii") if all(0x20 <= byte < 0x7F for byte in data) else data.hex(" ")


DECISIONS: Mapping[str, Callable[[Mapping[str, Value]], Decision | None]] = {
    "package-length": package_length,
}
