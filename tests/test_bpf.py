"""The hand-made packet filter: an interpreter of classic BPF runs it over crafted packets, beside tcpdump's own."""

import shutil
import subprocess
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from wsdiag.intake import bpf
from wsdiag.intake.bpf import ETHERNET, RAW_IP, Instruction, tcp_filter

LOOPBACK = 7


def run(program: list[Instruction], packet: bytes, *, interface: int = 2, kind: int = 0) -> int:
    """What the program returns: BPF as in the kernel's Documentation/networking/filter.rst. A load beyond is 0."""
    a = x = at = 0
    beside = {bpf._PACKET_TYPE: kind, bpf._INTERFACE_INDEX: interface}
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code in (0x20, 0x28, 0x30, 0x48):
            if code == 0x20 and k in beside:
                a = beside[k]
                continue
            size = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2}[code]
            start = k + (x if code == 0x48 else 0)
            if start + size > len(packet):
                return 0
            a = int.from_bytes(packet[start : start + size], "big")
        elif code == 0xB1:
            if k >= len(packet):
                return 0
            x = 4 * (packet[k] & 15)
        elif code == 0x54:
            a &= k
        elif code == 0x15:
            at += jt if a == k else jf
        elif code == 0x25:
            at += jt if a > k else jf
        elif code == 0x35:
            at += jt if a >= k else jf
        elif code == 0x45:
            at += jt if a & k else jf
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return k
        else:
            raise AssertionError(f"unknown instruction 0x{code:x}")


V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fe80::1", dst="fe80::2")
OPTIONS = IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x94\x04\0\0\x01\x01\x01\x00")
TO, FROM, OTHER = TCP(sport=40000, dport=2346), TCP(sport=2346, dport=40000), TCP(sport=40000, dport=2347)

WANTED = [V4 / TO, V4 / FROM, V6 / TO, V6 / FROM, OPTIONS / TO, OPTIONS / FROM / Raw(b"GET / HTTP/1.1\r\n")]
UNWANTED = [
    V4 / OTHER,
    V6 / OTHER,
    V4 / UDP(sport=2346, dport=2346),
    V6 / UDP(sport=2346, dport=2346),
    V4 / ICMP(),
    IP(frag=100, src="10.0.0.1", dst="10.0.0.2") / TO,  # what stands there are no ports
    V6 / IPv6ExtHdrHopByHop() / TO,  # tcpdump's filter does not look behind it either
]
ADDRESSES = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}


@pytest.mark.parametrize("packet", WANTED, ids=Packet.summary)
def test_accepts_the_port(packet: Packet) -> None:
    assert run(tcp_filter((2346,), RAW_IP), bytes(packet)) == bpf.ACCEPT_BYTES
    for framed in (
        Ether(**ADDRESSES) / packet,
        Ether(**ADDRESSES) / Dot1Q(vlan=5) / packet,
        Ether(**ADDRESSES) / Dot1AD(vlan=5) / Dot1Q(vlan=6) / packet,
        Ether(**ADDRESSES) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / packet,
    ):
        assert run(tcp_filter((2346,), ETHERNET), bytes(framed)) == bpf.ACCEPT_BYTES


@pytest.mark.parametrize("packet", UNWANTED, ids=Packet.summary)
def test_passes_over_the_rest(packet: Packet) -> None:
    assert run(tcp_filter((2346,), RAW_IP), bytes(packet)) == 0
    assert run(tcp_filter((2346,), ETHERNET), bytes(Ether(**ADDRESSES) / packet)) == 0
    assert run(tcp_filter((2346,), ETHERNET), bytes(Ether(**ADDRESSES) / Dot1Q(vlan=5) / packet)) == 0


def test_other_ethernet_types_and_raw_versions() -> None:
    assert run(tcp_filter((2346,), ETHERNET), bytes(Ether(**ADDRESSES) / ARP())) == 0
    assert run(tcp_filter((2346,), RAW_IP), bytes([0x50]) + bytes(V4 / TO)[1:]) == 0


def test_without_ports_all_tcp_is_taken() -> None:
    for link, frame in ((RAW_IP, None), (ETHERNET, Ether(**ADDRESSES))):
        program = tcp_filter((), link)
        for packet, wanted in ((V4 / OTHER, True), (V6 / OTHER, True), (V4 / ICMP(), False)):
            assert bool(run(program, bytes(frame / packet if frame else packet))) is wanted


def test_more_ports_than_jumps_can_reach_fall_back_to_all_tcp() -> None:
    assert tcp_filter(tuple(range(1, bpf.MAX_PORTS + 2)), ETHERNET) == tcp_filter((), ETHERNET)
    full = tuple(range(1000, 1000 + bpf.MAX_PORTS))
    for link in (ETHERNET, RAW_IP):
        program = tcp_filter(full, link)
        assert len(program) <= bpf.MAX_INSTRUCTIONS
        assert all(each.jt < 256 and each.jf < 256 for each in program)
    assert run(tcp_filter(full, RAW_IP), bytes(V4 / TCP(sport=5, dport=full[-1]))) == bpf.ACCEPT_BYTES
    assert run(tcp_filter(full, RAW_IP), bytes(V4 / TCP(sport=5, dport=full[-1] + 1))) == 0


def test_the_copy_that_the_loopback_interface_sends_is_dropped() -> None:
    program = tcp_filter((2346,), RAW_IP, loopback=LOOPBACK)
    packet = bytes(V4 / TO)
    assert run(program, packet, interface=LOOPBACK, kind=4) == 0
    assert run(program, packet, interface=LOOPBACK, kind=0) == bpf.ACCEPT_BYTES
    assert run(program, packet, interface=LOOPBACK + 1, kind=4) == bpf.ACCEPT_BYTES
    assert run(program, bytes(V4 / OTHER), interface=LOOPBACK + 1, kind=4) == 0


@cache
def tcpdumps(expression: str, link: str) -> list[Instruction]:
    """The program that tcpdump makes of an expression."""
    output = subprocess.run(
        ["tcpdump", "-y", link, "-ddd", expression], capture_output=True, text=True, check=True
    ).stdout
    return [Instruction(*map(int, line.split())) for line in output.splitlines()[1:]]


numbers = st.sampled_from([2346, 2347, 80, 443, 0, 65535])
segments = st.builds(lambda sport, dport: TCP(sport=sport, dport=dport), numbers, numbers) | st.builds(
    lambda sport, dport: UDP(sport=sport, dport=dport), numbers, numbers
)
networks = st.sampled_from([V4, V6, OPTIONS, IP(flags="MF"), IP(frag=7)])


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
@settings(max_examples=150, deadline=None)
@given(
    network=networks,
    segment=segments,
    tags=st.lists(st.integers(1, 4094), max_size=2),
    ports=st.sampled_from([(), (2346,), (80, 443), (2346, 80, 443)]),
    cut=st.integers(0, 70) | st.none(),
)
def test_agrees_with_tcpdump(
    network: Packet, segment: Packet, tags: list[int], ports: tuple[int, ...], cut: int | None
) -> None:
    plain = " or ".join(f"tcp port {port}" for port in ports) or "(ip and tcp) or (ip6 and ip6[6] == 6)"
    packet = bytes(network / segment)[:cut]
    theirs = run(tcpdumps(plain, "RAW"), packet)
    assert run(tcp_filter(ports, RAW_IP), packet) == theirs
    framed = Ether(**ADDRESSES)
    for tag in tags:
        framed = framed / Dot1Q(vlan=tag)
    data = bytes(framed / network / segment)[:cut]
    # "vlan" moves the offsets for the rest of an expression, so each depth has its own
    expression = "".join("vlan and " for _ in tags) + f"({plain})"
    if not tags or cut is None or cut > 14 + 4 * len(tags):
        assert run(tcp_filter(ports, ETHERNET), data) == run(tcpdumps(expression, "EN10MB"), data)
