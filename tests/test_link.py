"""From packets to TCP segments: link headers, options, extension headers, fragments, tunnels; scapy is the oracle."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.l2 import GRE, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Packet, Raw

from wsdiag.intake import link
from wsdiag.intake.link import Fragments, Segment, Unread

DATA = b"GET /chat HTTP/1.1\r\n" * 20
SEGMENT = TCP(sport=40000, dport=2346, seq=77, ack=99, flags="PA") / Raw(DATA)
V4 = IP(src="10.1.2.3", dst="192.0.2.1", id=7)
V6 = IPv6(src="2001:db8::3", dst="2001:db8::1")


def found(kind: int, *wires: bytes) -> list[Segment | None]:
    unread = Unread()
    fragments = Fragments(unread)
    result = []
    for wire in wires:
        at = link.ip_offset(kind, wire, unread)
        result.append(link.tcp_segment(wire, at, fragments) if at >= 0 else None)
    return result


def check(segment: Segment | None, v6: bool = False) -> None:
    assert segment is not None
    assert segment.key[-4:] == struct.pack(">HH", 40000, 2346)
    assert segment.key[:-4] == (
        bytes.fromhex("20010db8000000000000000000000003" + "20010db8000000000000000000000001")
        if v6
        else bytes((10, 1, 2, 3, 192, 0, 2, 1))
    )
    begin = segment.start + (segment.data[segment.start + 12] >> 4) * 4
    assert segment.data[begin : segment.stop] == DATA


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (link.ETHERNET, Ether()),
        (link.ETHERNET, Ether() / Dot1Q(vlan=7)),
        (link.ETHERNET, Ether() / Dot1AD(vlan=3) / Dot1Q(vlan=7)),
        (link.ETHERNET, Ether() / PPPoE() / PPP()),
        (link.SLL, CookedLinux()),
        (link.SLL, CookedLinux() / Dot1Q(vlan=9)),
        (link.SLL2, CookedLinuxV2()),
        (link.PPP, PPP()),
        (link.NULL, Loopback()),
        (link.RAW, None),
        (link.IPV4, None),
    ],
)
def test_every_link_type_leads_to_the_segment(kind: int, header: Packet | None) -> None:
    for network, v6 in ((V4, False), (V6, True)):
        if kind == link.IPV4 and v6:
            continue
        packet = network / SEGMENT if header is None else header / network / SEGMENT
        (segment,) = found(kind, bytes(packet))
        check(segment, v6)


def test_the_loopback_of_openbsd_and_compressed_ppp() -> None:
    (segment,) = found(link.LOOP, b"\0\0\0\2" + bytes(V4 / SEGMENT))
    check(segment)
    (segment,) = found(link.PPP, b"\x21" + bytes(V4 / SEGMENT))
    check(segment)


def test_ethernet_padding_is_no_data() -> None:
    packet = bytes(Ether() / V4 / TCP(sport=40000, dport=2346)) + bytes(6)
    (segment,) = found(link.ETHERNET, packet)
    assert segment is not None
    assert segment.stop - segment.start == 20


def test_options_and_extension_headers_are_passed_over() -> None:
    (segment,) = found(link.RAW, bytes(IP(src="10.1.2.3", dst="192.0.2.1", options=[IPOption_NOP()] * 8) / SEGMENT))
    check(segment)
    extended = V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt() / SEGMENT
    (segment,) = found(link.RAW, bytes(extended))
    check(segment, True)
    (segment,) = found(link.RAW, bytes(V6 / IPv6ExtHdrFragment(m=0, offset=0) / SEGMENT))
    check(segment, True)


def test_tunnels_are_entered() -> None:
    (segment,) = found(link.RAW, bytes(IPv6(src="fe80::1", dst="fe80::2") / V4 / SEGMENT))
    check(segment)
    (segment,) = found(link.RAW, bytes(IP(src="1.2.3.4", dst="5.6.7.8", proto=41) / V6 / SEGMENT))
    check(segment, True)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_fragments_are_joined_in_any_order(randomness: random.Random, v6: bool) -> None:
    if v6:
        pieces = [bytes(each) for each in fragment6(V6 / IPv6ExtHdrFragment(id=5) / SEGMENT, 200)]
    else:
        pieces = [bytes(each) for each in fragment(V4 / SEGMENT, 104)]
    assert len(pieces) > 2
    randomness.shuffle(pieces)
    pieces.insert(randomness.randrange(len(pieces)), pieces[0])
    result = [each for each in found(link.RAW, *pieces) if each is not None]
    check(result[0], v6)


def test_what_cannot_be_read_is_counted_by_name() -> None:
    unread = Unread()
    fragments = Fragments(unread)
    for kind, packet in (
        (link.RAW, V4 / GRE() / V4 / SEGMENT),
        (link.RAW, V4 / UDP(dport=4789) / Raw(b"x" * 50)),
        (link.ETHERNET, Ether(type=0x8847) / Raw(b"x" * 50)),
        (link.RAW, IP(src="1.1.1.1", dst="2.2.2.2", proto=50) / Raw(b"x" * 50)),
    ):
        wire = bytes(packet)
        at = link.ip_offset(kind, wire, unread)
        assert at < 0 or link.tcp_segment(wire, at, fragments) is None
    assert link.ip_offset(127, b"x" * 99, unread) == -1
    assert link.ip_offset(9999, b"x" * 99, unread) == -1
    assert unread.counts == {
        "gre": 1,
        "vxlan": 1,
        "mpls": 1,
        "esp": 1,
        "ieee802.11-radiotap": 1,
        "link-9999": 1,
    }


def test_fragments_that_are_never_complete_do_not_fill_the_memory() -> None:
    unread = Unread()
    fragments = Fragments(unread)
    for number in range(5000):
        wire = bytes(IP(src="10.0.0.1", dst="10.0.0.2", id=number, flags="MF", proto=6) / Raw(b"x" * 64))
        assert link.tcp_segment(wire, 0, fragments) is None
    assert len(fragments.waiting) <= link.MAX_DATAGRAMS
    assert unread.counts["fragment"] == 5000 - link.MAX_DATAGRAMS


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(sorted(link.LINK_NAMES)))
def test_no_bytes_raise(data: bytes, kind: int) -> None:
    found(kind, data, bytes((0x45, 0)) + data, b"\x60" + data)
