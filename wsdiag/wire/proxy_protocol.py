"""The PROXY protocol header, versions 1 and 2, in front of a stream (haproxy's doc/proxy-protocol.txt).

Whether the server expected one is left to the rules.
"""

from wsdiag.model import Endpoint, ProxyHeader, Side, Span

SIGNATURE_1 = b"PROXY "
SIGNATURE_2 = b"\r\n\r\n\x00\r\nQUIT\n"
MIN_2 = 5  # bytes of its signature that no other protocol begins with
MAX_LINE = 107  # section 2.1: the longest version 1 line, its CRLF included
FIXED_2 = 16  # section 2.2: signature, command, family, length
_ADDRESS_SIZES = {1: 4, 2: 16}  # AF_INET, AF_INET6


def read(data: bytes, start: int, stop: int, side: Side) -> ProxyHeader | None:
    """The header at `start`, at most to `stop`; None when there is none."""
    if data.startswith(SIGNATURE_1, start, stop):
        return _read_1(data, start, stop, side)
    size = stop - start
    if data.startswith(SIGNATURE_2, start, stop) or (MIN_2 <= size < 12 and SIGNATURE_2.startswith(data[start:stop])):
        return _read_2(data, start, stop, side)
    return None


def _read_1(data: bytes, start: int, stop: int, side: Side) -> ProxyHeader:
    end = data.find(b"\n", start, min(stop, start + MAX_LINE))
    complete = end >= 0
    end = end + 1 if complete else min(stop, start + MAX_LINE)
    words = data[start:end].decode("latin-1").split()
    source = destination = None
    if complete and len(words) >= 6 and words[1] in ("TCP4", "TCP6"):
        source, destination = _endpoint(words[2], words[4]), _endpoint(words[3], words[5])
    return ProxyHeader(Span(side, start, end), 1, source, destination, complete)


def _endpoint(host: str, port: str) -> Endpoint | None:
    if port.isascii() and port.isdigit() and len(port) <= 5:
        return Endpoint(host, int(port))
    return None


def _read_2(data: bytes, start: int, stop: int, side: Side) -> ProxyHeader:
    fixed = start + FIXED_2
    if stop < fixed:
        return ProxyHeader(Span(side, start, stop), 2, None, None, False)
    family = data[start + 13] >> 4
    end = fixed + int.from_bytes(data[start + 14 : fixed], "big")
    complete = end <= stop
    end = min(end, stop)
    source = destination = None
    size = _ADDRESS_SIZES.get(family)
    if size is not None and end - fixed >= 2 * size + 4:
        ports = fixed + 2 * size
        source = Endpoint(_host(data[fixed : fixed + size]), int.from_bytes(data[ports : ports + 2], "big"))
        destination = Endpoint(_host(data[fixed + size : ports]), int.from_bytes(data[ports + 2 : ports + 4], "big"))
    return ProxyHeader(Span(side, start, end), 2, source, destination, complete)


def _host(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    groups = [f"{packed[at] << 8 | packed[at + 1]:x}" for at in range(0, 16, 2)]
    # RFC 5952 section 4.2: the longest run of two or more zero groups becomes "::"
    runs = [(size, -at) for at in range(8) for size in range(2, 9 - at) if groups[at : at + size] == ["0"] * size]
    if not runs:
        return ":".join(groups)
    size, start = max(runs)
    return ":".join(groups[:-start]) + "::" + ":".join(groups[size - start :])
