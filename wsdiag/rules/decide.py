"""Causes that a captured value decides by calculation, for signatures with `decide = "…"`; how the value was found in a
line is left to `reported`.
"""

from collections.abc import Callable, Mapping

from wsdiag.model import NO_VALUES, Value, Values
from wsdiag.record import NamedTuple


class Decision(NamedTuple):
    """What the captured values say: the cause, finer words for it, and values that the words may use."""

    name: str
    variant: str = ""
    values: Values = NO_VALUES


# A length prefix of 4 bytes (big endian) that was never one: the first bytes of what the peer really sent. Whoever
# printed the number reads length-prefixed packets and is no WebSocket listener, whatever came.
_FIRST_BYTES: tuple[tuple[bytes, str], ...] = (
    *((method, "http") for method in (b"GET ", b"POST", b"HEAD", b"OPTI", b"CONN", b"PUT ", b"DELE", b"PATC", b"HTTP")),
    (b"PRI ", "http2"),
    (b"PROX", "proxy"),
    (b"\r\n\r\n", "proxy"),
    (b"\x16\x03", "tls"),
)
# Below this (16 MiB) a refused number is a length that is too big for the limit; above it the bytes are looked at.
SMALLEST_TEXT = 1 << 24
# A refusal comes at once; a connect that fails later than this was never answered.
REFUSED_WITHIN_SECONDS = 1.5


def package_length(values: Mapping[str, Value]) -> Decision | None:
    """Read a length that a program refused as the four bytes it was made of (`number`): 1195725856 is "GET ".

    A number whose bytes are nothing known and not readable text is a length: the message is too big.
    """
    number = values.get("number")
    if not isinstance(number, int):
        return None
    if SMALLEST_TEXT < number < 1 << 32:
        data = number.to_bytes(4, "big")
        got = next((protocol for start, protocol in _FIRST_BYTES if data.startswith(start)), "")
        if got or all(0x20 <= byte < 0x7F for byte in data):
            variant = "length-prefixed-tls" if got == "tls" else "length-prefixed"
            if values.get("class") == "GatewayProtocol" and got != "tls":
                variant = "gateway-internal"
            return Decision(
                "listener-wrong-protocol", variant, {"detail": _quoted(data), **({"got": got} if got else {})}
            )
    return Decision("message-too-big", values={"size": number})


def connect_fail(values: Mapping[str, Value]) -> Decision | None:
    """Tell a refused connect from one that nobody answered, by the `seconds` it took."""
    seconds = values.get("seconds")
    if not isinstance(seconds, float):
        return None
    return Decision("connection-refused" if seconds < REFUSED_WITHIN_SECONDS else "connect-timeout")


def _quoted(data: bytes) -> str:
    """The bytes as text if they can be read, else in hex with blanks."""
    return data.decode("ascii") if all(0x20 <= byte < 0x7F for byte in data) else data.hex(" ")


DECISIONS: Mapping[str, Callable[[Mapping[str, Value]], Decision | None]] = {
    "package-length": package_length,
    "connect-fail": connect_fail,
}
