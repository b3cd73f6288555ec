"""From a captured packet to its TCP segment: link headers, IP options and extension headers, tunnels, fragments.

What the segments add up to is left to `tcp`; what cannot be read is counted by name in `Unread`.
"""

from collections import OrderedDict

from wsdiag.record import NamedTuple

# Link types as capture files number them (https://www.tcpdump.org/linktypes.html).
NULL, ETHERNET, PPP, RAW, LOOP = 0, 1, 9, 101, 108
PPP_SERIAL, PPP_ETHER, SLL, SLL2, IPV4, IPV6 = 50, 51, 113, 276, 228, 229
LINK_NAMES = {
    NULL: "null",
    ETHERNET: "ethernet",
    PPP: "ppp",
    12: "raw",
    14: "raw",
    PPP_SERIAL: "ppp",
    PPP_ETHER: "pppoe",
    RAW: "raw",
    LOOP: "loop",
    SLL: "linux-sll",
    IPV4: "ipv4",
    IPV6: "ipv6",
    SLL2: "linux-sll2",
}
# Names of link types that cannot be read, for the note that says so.
UNREAD_LINKS = {
    105: "ieee802.11",
    127: "ieee802.11-radiotap",
    147: "user0",
    195: "ieee802.15.4",
    220: "usb",
    239: "nflog",
}

ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_PPPOE = 0x0800, 0x86DD, 0x8864
_TAGS = frozenset((0x8100, 0x88A8, 0x9100, 0x9200))  # 802.1Q, 802.1ad and the two older QinQ numbers
_UNREAD_ETHERTYPES = {0x8847: "mpls", 0x8848: "mpls", 0x88E5: "macsec", 0x894F: "nsh"}
_UNREAD_PROTOCOLS = {47: "gre", 50: "esp", 132: "sctp"}
_EXTENSIONS = frozenset((0, 43, 60, 135, 139, 140))  # IPv6 headers of the common form (RFC 8200 section 4, RFC 7045)
_TCP, _UDP, _IPV4_IN, _IPV6_IN, _FRAGMENT, _AUTHENTICATION = 6, 17, 4, 41, 44, 51
_VXLAN_PORT = 4789

MAX_NESTING = 8  # headers inside headers, so that forged packets cannot make us go round for long
MAX_TAGS = 4  # VLAN tags on one packet; QinQ has two
MAX_DATAGRAMS = 64  # fragmented datagrams that are waited for at one time
MAX_DATAGRAM = 65535  # bytes; IP cannot carry more
MAX_PIECES = 64  # fragments of one datagram: 64 KiB at 1,280 bytes each, with room


class Segment(NamedTuple):
    """A TCP segment inside `data`: its header begins at `start`; `stop` is where the packet says that it ends.

    `key` is source address, destination address, source port and destination port, as they stand on the wire. `data`
    may be shorter than `stop` when the capture cut the packet. `identity` is IPv4's identification (None in IPv6).
    """

    key: bytes
    data: bytes
    start: int
    stop: int
    identity: int | None


class Unread:
    """What was met and could not be read: counts by name ("gre", "fragment", "link-127" …)."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, name: str) -> None:
        """One more packet of that name."""
        self.counts[name] = self.counts.get(name, 0) + 1


class Fragments:
    """IP datagrams that came in pieces, joined again within bounds (RFC 791 section 3.2, RFC 8200 section 4.5)."""

    __slots__ = ("unread", "waiting")

    def __init__(self, unread: Unread) -> None:
        self.unread = unread
        self.waiting: OrderedDict[tuple[bytes, int, int], dict[int, tuple[bytes, bool]]] = OrderedDict()

    def add(self, key: tuple[bytes, int, int], offset: int, more: bool, data: bytes) -> bytes | None:
        """The whole datagram's payload when this piece completes it. The first copy of a piece wins."""
        if offset + len(data) > MAX_DATAGRAM or (more and len(data) % 8):
            self.unread.count("fragment")
            return None
        pieces = self.waiting.get(key)
        if pieces is None:
            pieces = self.waiting[key] = {}
            if len(self.waiting) > MAX_DATAGRAMS:
                self.unread.count("fragment")
                self.waiting.popitem(last=False)
        pieces.setdefault(offset, (data, more))
        whole = bytearray()
        while len(whole) in pieces:
            data, more = pieces[len(whole)]
            whole += data
            if not more:
                del self.waiting[key]
                return bytes(whole)
            if not data:
                break
        if len(pieces) > MAX_PIECES:
            self.unread.count("fragment")
            del self.waiting[key]
        return None


def ip_offset(link: int, data: bytes, unread: Unread) -> int:
    """Where the IP header begins in a packet of that link type; -1 when it carries no IP (or nothing we can read)."""
    if link == ETHERNET:
        return _ethernet(data, 12, unread)
    if link in (RAW, 12, 14, IPV4, IPV6):
        return 0
    if link in (NULL, LOOP):
        return 4
    if link == SLL:
        return _ethernet(data, 14, unread)
    if link == SLL2:
        ethertype = int.from_bytes(data[0:2], "big")
        if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
            return 20
        return _tagged(data, ethertype, 20, unread)
    if link == PPP:
        return _ppp(data, 2 if data[:2] == b"\xff\x03" else 0)
    if link == PPP_SERIAL:
        return _ppp(data, 2)
    if link == PPP_ETHER:
        return _ppp(data, 6)
    unread.count(UNREAD_LINKS.get(link, f"link-{link}"))
    return -1


def _ethernet(data: bytes, at: int, unread: Unread) -> int:
    """The same from the ethertype at `at` on."""
    return _tagged(data, int.from_bytes(data[at : at + 2], "big"), at + 2, unread)


def _tagged(data: bytes, ethertype: int, at: int, unread: Unread) -> int:
    """The same from the payload at `at` on, whose kind is known; VLAN tags and PPPoE are passed over."""
    for _ in range(MAX_TAGS):
        if ethertype not in _TAGS:
            break
        ethertype = int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
    if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return at
    if ethertype == ETHERTYPE_PPPOE:
        return _ppp(data, at + 6)
    if ethertype in _UNREAD_ETHERTYPES:
        unread.count(_UNREAD_ETHERTYPES[ethertype])
    return -1


def _ppp(data: bytes, at: int) -> int:
    """The same from PPP's protocol field at `at` on (RFC 1661 section 2; the field may be compressed to one byte)."""
    if data[at : at + 2] in (b"\x00\x21", b"\x00\x57"):
        return at + 2
    if data[at : at + 1] in (b"\x21", b"\x57"):
        return at + 1
    return -1


def tcp_segment(data: bytes, at: int, fragments: Fragments) -> Segment | None:
    """The TCP segment of the IP packet at `at`, through options, extension headers, 4in6 and 6in4; None: there is none.

    RFC 791 section 3.1, RFC 8200 section 4, RFC 2473, RFC 4213.
    """
    for _ in range(MAX_NESTING):
        version = data[at] >> 4 if 0 <= at < len(data) else 0
        if version == 4:
            step = _ipv4(data, at, fragments)
        elif version == 6:
            step = _ipv6(data, at, fragments)
        else:
            return None
        if step is None:
            return None
        protocol, addresses, data, at, stop, identity = step
        if protocol == _TCP:
            if len(data) < at + 20 or stop < at + 20:
                fragments.unread.count("short-packet")
                return None
            return Segment(addresses + data[at : at + 4], data, at, stop, identity)
        if protocol not in (_IPV4_IN, _IPV6_IN):
            if protocol in _UNREAD_PROTOCOLS:
                fragments.unread.count(_UNREAD_PROTOCOLS[protocol])
            elif protocol == _UDP and int.from_bytes(data[at + 2 : at + 4], "big") == _VXLAN_PORT:
                fragments.unread.count("vxlan")
            return None
    fragments.unread.count("nested-headers")
    return None


_Step = tuple[int, bytes, bytes, int, int, int | None]  # protocol, addresses, data, where its payload starts and stops


def _ipv4(data: bytes, at: int, fragments: Fragments) -> _Step | None:
    """What an IPv4 header leads to; None when its packet is not whole (yet)."""
    if len(data) < at + 20:
        fragments.unread.count("short-packet")
        return None
    size = (data[at] & 15) * 4
    total = int.from_bytes(data[at + 2 : at + 4], "big")
    if total == 0:
        total = len(data) - at  # segmentation offload: the card fills the length in
    if size < 20 or total < size:
        fragments.unread.count("bad-header")
        return None
    identity = int.from_bytes(data[at + 4 : at + 6], "big")
    position = int.from_bytes(data[at + 6 : at + 8], "big")
    protocol = data[at + 9]
    addresses = data[at + 12 : at + 20]
    if not position & 0x3FFF:
        return protocol, addresses, data, at + size, at + total, identity
    body = data[at + size : at + total]
    if len(body) < total - size:
        fragments.unread.count("fragment")
        return None
    key = (addresses, identity, protocol)
    whole = fragments.add(key, (position & 0x1FFF) * 8, bool(position & 0x2000), body)
    return None if whole is None else (protocol, addresses, whole, 0, len(whole), identity)


def _ipv6(data: bytes, at: int, fragments: Fragments) -> _Step | None:
    """What an IPv6 header and its extension headers lead to; None when its packet is not whole (yet)."""
    if len(data) < at + 40:
        fragments.unread.count("short-packet")
        return None
    size = int.from_bytes(data[at + 4 : at + 6], "big")
    stop = at + 40 + size if size else len(data)
    protocol = data[at + 6]
    addresses = data[at + 8 : at + 40]
    at += 40
    for _ in range(MAX_NESTING):
        if protocol in _EXTENSIONS and len(data) >= at + 8:
            protocol, at = data[at], at + 8 + data[at + 1] * 8
        elif protocol == _AUTHENTICATION and len(data) >= at + 8:
            protocol, at = data[at], at + 8 + data[at + 1] * 4
        elif protocol == _FRAGMENT and len(data) >= at + 8:
            position = int.from_bytes(data[at + 2 : at + 4], "big")
            identity = int.from_bytes(data[at + 4 : at + 8], "big")
            body = data[at + 8 : stop]
            if len(body) < stop - at - 8:
                fragments.unread.count("fragment")
                return None
            whole: bytes | None = body
            if position & 0xFFF9:  # an atomic fragment (RFC 6946) is whole by itself
                key = (addresses, identity, data[at])
                whole = fragments.add(key, position & 0xFFF8, bool(position & 1), body)
            if whole is None:
                return None
            protocol, data, at, stop = data[at], whole, 0, len(whole)
        else:
            break
    return protocol, addresses, data, at, stop, None
