"""The handshake's own arithmetic: keys, accept values and extension lists (RFC 6455 section 4, RFC 7692 section 7).

Whether a value is right or wrong for a connection is left to the rules.
"""

from binascii import Error, a2b_base64, b2a_base64

from wsdiag.model import Head, Request, Response
from wsdiag.record import NamedTuple

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the worked example of RFC 6455 section 1.3: seen hard-coded in the wild
SAMPLE_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

MAX_EXTENSIONS = 64  # no client offers more than three; a hostile header of 256 KiB could hold 100,000
DEFAULT_WINDOW_BITS = 15  # RFC 7692 section 7.1.2


class Extension(NamedTuple):
    """One extension of a Sec-WebSocket-Extensions header; a parameter without a value has the value ""."""

    name: str
    parameters: tuple[tuple[str, str], ...]


class DeflateParameters(NamedTuple):
    """What permessage-deflate was agreed to be: RFC 7692 section 7.1. Window sizes are 8 to 15 bits."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = DEFAULT_WINDOW_BITS
    client_max_window_bits: int = DEFAULT_WINDOW_BITS


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers this key: RFC 6455 section 4.2.2 (5.4)."""
    from hashlib import sha1

    digest = sha1(key.strip().encode("latin-1", "replace") + GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode("ascii")


def decoded_size(key: str) -> int | None:
    """How many bytes the key is in base64 (16 is right); None when it is no base64 at all."""
    try:
        return len(a2b_base64(key, strict_mode=True))
    except (Error, ValueError):  # ValueError: characters outside ASCII
        return None


def extensions(value: str) -> tuple[Extension, ...]:
    """The extensions that a Sec-WebSocket-Extensions value lists, names in lower case: RFC 6455 section 9.1."""
    found: list[Extension] = []
    for listed in _split(value, ","):
        name, *parameters = _split(listed, ";")
        if not name:
            continue
        pairs = (each.partition("=") for each in parameters[:MAX_EXTENSIONS] if each)
        named = tuple((key.strip().lower(), text.strip().strip('"')) for key, _, text in pairs)
        found.append(Extension(name.lower(), named))
        if len(found) == MAX_EXTENSIONS:
            break
    return tuple(found)


def _split(text: str, separator: str) -> list[str]:
    """The stripped parts between separators that stand outside of quotes."""
    if '"' not in text:
        return [part.strip() for part in text.split(separator)]
    parts = []
    start, quoted = 0, False
    for index, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            parts.append(text[start:index].strip())
            start = index + 1
    parts.append(text[start:].strip())
    return parts


def agreed_extensions(head: Head) -> tuple[Extension, ...]:
    """The extensions of all Sec-WebSocket-Extensions headers of a head."""
    return tuple(each for header in head.all("sec-websocket-extensions") for each in extensions(header.value.text))


def deflate_parameters(request: Request | None, response: Response | None) -> DeflateParameters | None:
    """How permessage-deflate was agreed; None when the response does not name it. The response alone decides (RFC
    7692 section 5.1); the request may be unknown."""
    if response is None:
        return None
    for extension in agreed_extensions(response.head):
        if extension.name == "permessage-deflate":
            named = dict(extension.parameters)
            return DeflateParameters(
                "server_no_context_takeover" in named,
                "client_no_context_takeover" in named,
                _window(named.get("server_max_window_bits")),
                _window(named.get("client_max_window_bits")),
            )
    return None


def _window(value: str | None) -> int:
    if value is not None and value.isascii() and value.isdigit() and len(value) <= 2 and 8 <= int(value) <= 15:
        return int(value)
    return DEFAULT_WINDOW_BITS
