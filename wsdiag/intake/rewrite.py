"""Packets with other payload bytes of the same length, for captures that are passed on; which bytes are secret is left
to the caller, writing the file to `save`.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

Packet = tuple[int, int, bytes | memoryview, int]  # seconds, nanoseconds, bytes, size on the wire

# Where the IP header begins after the link header, or where the EtherType stands.
_TYPE_AT = {1: 12, 113: 14, 276: 0}  # Ethernet, Linux cooked 1 and 2
_IP_AT = {0: 4, 108: 4, 101: 0, 12: 0, 14: 0, 228: 0, 229: 0, 9: 2}  # null, loop, raw (and as the BSDs say), PPP
_SLL2 = 276
_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_TCP = 6
_EXTENSIONS = (0, 43, 60)  # IPv6 hop-by-hop, routing, destination options: RFC 8200 section 4
_SYN = 0x02


class Segment(NamedTuple):
    """A TCP segment that carries bytes; `sequence` is the sequence number of the first of them."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    sequence: int
    payload: bytes


class Place(NamedTuple):
    """Where things stand in a packet: the TCP header, its payload, the end. `addresses` are both, source first."""

    tcp: int
    payload: int
    stop: int
    addresses: bytes
    whole: bool


def rewrite(packets: Iterable[Packet], link: int, redact: Callable[[Segment], bytes]) -> Iterator[Packet]:
    """The packets with what `redact` made of each TCP payload; the TCP checksums are made to fit.

    `redact` must keep the length. A secret may be spread over segments: the sequence number is there so that it can be
    found in all of them. Packets that are not TCP over IP, and bytes behind the IP packet (the padding of short
    frames), are left out, because nobody can say what they hold.
    """
    for seconds, nanoseconds, data, size in packets:
        place = locate_tcp(data, link)
        if place is None:
            continue
        changed = bytearray(data[: place.stop])
        size = max(len(changed), size - (len(data) - place.stop))
        old = bytes(changed[place.payload :])
        if old:
            source, destination, sequence = struct.unpack_from("!HHI", changed, place.tcp)
            if changed[place.tcp + 13] & _SYN:
                sequence = (sequence + 1) & 0xFFFFFFFF
            half = len(place.addresses) // 2
            new = redact(Segment(place.addresses[:half], source, place.addresses[half:], destination, sequence, old))
            if len(new) != len(old):
                raise ValueError("a rewritten payload must keep its length")
            if new != old:
                changed[place.payload :] = new
                _fix_checksum(changed, place, old, new)
        yield seconds, nanoseconds, bytes(changed), size


def locate_tcp(data: bytes | memoryview, link: int) -> Place | None:
    """Find the TCP segment in a packet; None when there is none that can be told (later fragments, cut headers)."""
    try:
        start = _ip_start(data, link)
        if start is None:
            return None
        return _tcp_in_ip(data, start)
    except (IndexError, struct.error):
        return None


def _ip_start(data: bytes | memoryview, link: int) -> int | None:
    if link in _IP_AT:
        return _IP_AT[link]
    if link not in _TYPE_AT:
        return None
    at = _TYPE_AT[link]
    (kind,) = struct.unpack_from("!H", data, at)
    if link == _SLL2:
        return 20
    while kind in _VLAN_TYPES:
        at += 4
        (kind,) = struct.unpack_from("!H", data, at)
    return at + 2


def _tcp_in_ip(data: bytes | memoryview, start: int) -> Place | None:
    version = data[start] >> 4
    if version == 4:
        length, identity = struct.unpack_from("!HxxH", data, start + 2)
        if identity & 0x3FFF or data[start + 9] != _TCP:  # a fragment, the first or a later one
            return None
        tcp = start + 4 * (data[start] & 15)
        end = start + length if length else len(data)  # 0: segmentation was left to the network card
        addresses = bytes(data[start + 12 : start + 20])
    elif version == 6:
        (length,) = struct.unpack_from("!H", data, start + 4)
        following, tcp = data[start + 6], start + 40
        while following in _EXTENSIONS:
            following, tcp = data[tcp], tcp + 8 * (data[tcp + 1] + 1)
        if following != _TCP:
            return None
        end = start + 40 + length if length else len(data)
        addresses = bytes(data[start + 8 : start + 40])
    else:
        return None
    payload = tcp + 4 * (data[tcp + 12] >> 4)
    stop = min(end, len(data))
    if payload > stop or payload < tcp + 20:
        return None
    return Place(tcp, payload, stop, addresses, end <= len(data))


def _fix_checksum(packet: bytearray, place: Place, old: bytes, new: bytes) -> None:
    """RFC 9293 section 3.1 over the whole segment; of a cut one the change alone is taken in (RFC 1624)."""
    at = place.tcp + 16
    if place.whole:
        packet[at : at + 2] = b"\0\0"
        length = place.stop - place.tcp
        pseudo = place.addresses + struct.pack("!IHBB", length, 0, 0, _TCP)
        value = ~_sum(pseudo + packet[place.tcp :]) & 0xFFFF
    else:
        before = struct.unpack_from("!H", packet, at)[0]
        value = ~_fold((~before & 0xFFFF) + (~_sum(old) & 0xFFFF) + _sum(new)) & 0xFFFF
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
