"""Packets with other payload bytes of the same length and other addresses, for captures that are passed on.

Which bytes are secret is left to the caller, writing the file to `save`.
"""

import struct
from collections.abc import Mapping

from wsdiag.record import NamedTuple

# Where the IP header begins after the link header, or where the EtherType stands.
_TYPE_AT = {1: 12, 113: 14, 276: 0}  # Ethernet, Linux cooked 1 and 2
_IP_AT = {0: 4, 108: 4, 101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 9: 2}  # null, loop, raw (and as the BSDs say), PPP
_SLL2, _SLL2_HEADER = 276, 20
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_TCP = 6
_EXTENSIONS = (0, 43, 60)  # IPv6 hop-by-hop, routing, destination options: RFC 8200 section 4
_SYN = 0x02

NO_ADDRESSES: Mapping[bytes, bytes] = {}


class Segment(NamedTuple):
    """A TCP segment in a packet. `sequence` is the sequence number of the payload's first byte.

    `ip`, `tcp`, `begin` and `stop` are the places of the IP header, the TCP header and the payload; `size` is how long
    the IP packet was on the wire, `whole` whether all of it was captured.
    """

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    sequence: int
    payload: bytes
    ip: int
    tcp: int
    begin: int
    stop: int
    size: int
    whole: bool


def find_segment(data: bytes, link: int) -> Segment | None:
    """The TCP segment in a packet; None when there is none that can be told (fragments, cut headers)."""
    try:
        start = _ip_start(data, link)
        return None if start is None else _tcp_in_ip(data, start)
    except (IndexError, struct.error):
        return None


def rewrite(
    data: bytes, segment: Segment, payload: bytes | None, addresses: Mapping[bytes, bytes] = NO_ADDRESSES
) -> bytes:
    """The packet from its IP header on, with this payload, the addresses replaced and the checksums made to fit.

    `payload` must keep its length; None leaves it out, as if it had been cut off at capture time. What stands around
    the IP packet goes as well: link addresses in front, and behind it the padding of short frames, of which nobody
    knows what it holds.
    """
    if payload is not None and len(payload) != len(segment.payload):
        raise ValueError("a rewritten payload must keep its length")
    changed = bytearray(data[segment.ip : segment.stop])
    tcp, begin = segment.tcp - segment.ip, segment.begin - segment.ip
    source, destination = (addresses.get(each, each) for each in (segment.source, segment.destination))
    before = segment.source + segment.destination + segment.payload
    at = 12 if len(source) == 4 else 8
    changed[at : at + 2 * len(source)] = source + destination
    if len(source) == 4:
        changed[10:12] = b"\0\0"
        struct.pack_into("!H", changed, 10, ~_sum(changed[: 4 * (changed[0] & 15)]) & 0xFFFF)
    changed[begin:] = segment.payload if payload is None else payload
    after = source + destination + bytes(changed[begin:])
    if after != before:
        _fix_checksum(changed, tcp, before, after, whole=segment.whole)
    return bytes(changed if payload is not None else changed[:begin])


def _ip_start(data: bytes, link: int) -> int | None:
    if link in _IP_AT:
        return _IP_AT[link]
    if link not in _TYPE_AT:
        return None
    at = _TYPE_AT[link]
    (kind,) = struct.unpack_from("!H", data, at)
    if link == _SLL2:
        return _SLL2_HEADER
    while kind in _VLAN_TYPES:
        at += 4
        (kind,) = struct.unpack_from("!H", data, at)
    return at + 2


def _tcp_in_ip(data: bytes, start: int) -> Segment | None:
    """RFC 791 section 3.1, RFC 8200 section 3, RFC 9293 section 3.1."""
    version = data[start] >> 4
    if version == 4:
        length, fragment = struct.unpack_from("!HxxH", data, start + 2)
        if fragment & 0x3FFF or data[start + 9] != _TCP:  # the first fragment or a later one
            return None
        tcp, addresses = start + 4 * (data[start] & 15), data[start + 12 : start + 20]
        end = start + length if length else len(data)  # 0: segmentation was left to the network card
    elif version == 6:
        (length,) = struct.unpack_from("!H", data, start + 4)
        following, tcp, addresses = data[start + 6], start + 40, data[start + 8 : start + 40]
        while following in _EXTENSIONS:
            following, tcp = data[tcp], tcp + 8 * (data[tcp + 1] + 1)
        if following != _TCP:
            return None
        end = start + 40 + length if length else len(data)
    else:
        return None
    source, destination, sequence = struct.unpack_from("!HHI", data, tcp)
    begin, flags = tcp + 4 * (data[tcp + 12] >> 4), data[tcp + 13]
    stop = min(end, len(data))
    if not tcp + 20 <= begin <= stop:
        return None
    if flags & _SYN:
        sequence = (sequence + 1) & 0xFFFFFFFF
    half = len(addresses) // 2
    return Segment(
        bytes(addresses[:half]),
        source,
        bytes(addresses[half:]),
        destination,
        sequence,
        bytes(data[begin:stop]),
        start,
        tcp,
        begin,
        stop,
        end - start,
        end <= len(data),
    )


def _fix_checksum(packet: bytearray, tcp: int, before: bytes, after: bytes, *, whole: bool) -> None:
    """RFC 9293 section 3.1 over the whole segment; of a cut one the change alone is taken in (RFC 1624).

    `before` and `after` are the bytes that were changed: both addresses and the payload.
    """
    at = tcp + 16
    if whole:
        packet[at : at + 2] = b"\0\0"
        addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
        pseudo = bytes(addresses) + struct.pack("!IHBB", len(packet) - tcp, 0, 0, _TCP)
        value = ~_sum(pseudo + packet[tcp:]) & 0xFFFF
    else:
        (old,) = struct.unpack_from("!H", packet, at)
        value = ~_fold((~old & 0xFFFF) + (~_sum(before) & 0xFFFF) + _sum(after)) & 0xFFFF
    struct.pack_into("!H", packet, at, value)


def _sum(data: bytes | bytearray) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    return _fold(sum(struct.unpack(f"!{len(data) // 2}H", data)))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
