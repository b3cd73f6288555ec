"""Capture files written, and packets rewritten for passing on; scapy reads them back."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import CookedLinux, Dot1Q, Ether, Loopback
from scapy.packet import Packet, Raw
from scapy.utils import RawPcapReader

from wsdiag.intake.bpf import ETHERNET, RAW_IP
from wsdiag.intake.rewrite import Segment, locate_tcp, rewrite
from wsdiag.intake.save import PcapWriter, create
from wsdiag.model import WsdiagError

ADDRESSES = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fe80::1", dst="fe80::2")


def test_what_is_written_is_what_scapy_reads(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    packets = [bytes(Ether(**ADDRESSES) / V4 / TCP() / Raw(b"x" * size)) for size in (0, 1, 1000)]
    with create(str(path), ETHERNET) as writer:
        for number, packet in enumerate(packets):
            writer.packet(1_700_000_000 + number, 123_456_789, packet, len(packet) + number)
    reader = RawPcapReader(str(path))
    assert (reader.linktype, reader.nano) == (ETHERNET, True)
    for number, (data, meta) in enumerate(reader):
        assert data == packets[number]
        assert (meta.sec, meta.usec, meta.wirelen) == (1_700_000_000 + number, 123_456_789, len(data) + number)


def test_an_empty_capture_is_a_valid_file(tmp_path: Path) -> None:
    with create(str(tmp_path / "out.pcap"), RAW_IP):
        pass
    assert list(RawPcapReader(str(tmp_path / "out.pcap"))) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WsdiagError) as caught:
        create(str(tmp_path / "no-folder" / "out.pcap"), ETHERNET)
    assert caught.value.name == "cannot-write"
    assert caught.value.values["path"] == str(tmp_path / "no-folder" / "out.pcap")


class _Full(io.RawIOBase):
    """A disk with room for the file's head only."""

    def __init__(self, error: OSError) -> None:
        self.room = 24
        self.error = error

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if len(data) > self.room:
            raise self.error
        self.room -= len(data)
        return len(data)


def test_a_full_disk_is_one_clear_error() -> None:
    writer = PcapWriter(_Full(OSError(28, "No space left on device")), ETHERNET, "out.pcap")  # type: ignore[arg-type]
    with pytest.raises(WsdiagError) as caught:
        writer.packet(0, 0, b"x", 1)
    assert caught.value.values == {"path": "out.pcap", "detail": "No space left on device"}


def test_a_reader_that_went_away_is_no_error_of_the_disk() -> None:
    writer = PcapWriter(_Full(BrokenPipeError(32, "Broken pipe")), ETHERNET)  # type: ignore[arg-type]
    with pytest.raises(BrokenPipeError):
        writer.packet(0, 0, b"x", 1)


LINKS: list[tuple[int, Packet | None]] = [
    (1, Ether(**ADDRESSES)),
    (1, Ether(**ADDRESSES) / Dot1Q(vlan=3)),
    (1, Ether(**ADDRESSES) / Dot1Q(vlan=3) / Dot1Q(vlan=4)),
    (101, None),
    (113, CookedLinux()),
    (0, Loopback()),
]
NETWORKS = [V4, V6, IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01\x01\x01\x00"), V6 / IPv6ExtHdrHopByHop()]


@pytest.mark.parametrize(("link", "frame"), LINKS)
@pytest.mark.parametrize("network", NETWORKS, ids=Packet.summary)
@settings(max_examples=20, deadline=None)
@given(payload=st.binary(min_size=1, max_size=60), sequence=st.integers(0, 0xFFFFFFFF))
def test_rewriting_keeps_lengths_and_checksums(
    link: int, frame: Packet | None, network: Packet, payload: bytes, sequence: int
) -> None:
    inner = network / TCP(sport=1, dport=2, seq=sequence, flags="PA") / Raw(payload)
    data = bytes(frame / inner if frame is not None else inner)
    seen: list[Segment] = []

    def blank(segment: Segment) -> bytes:
        seen.append(segment)
        return b"*" * len(segment.payload)

    ((seconds, nanoseconds, changed, size),) = rewrite([(5, 6, data, len(data))], link, blank)
    assert (seconds, nanoseconds, size, len(changed)) == (5, 6, len(data), len(data))
    (segment,) = seen
    assert (segment.source_port, segment.destination_port, segment.sequence) == (1, 2, sequence)
    assert segment.payload == payload
    expected = network / TCP(sport=1, dport=2, seq=sequence, flags="PA") / Raw(b"*" * len(payload))
    assert changed == bytes(frame / expected if frame is not None else expected)


def test_padding_and_other_protocols_are_left_out() -> None:
    short = bytes(Ether(**ADDRESSES) / V4 / TCP()) + b"leak!!"
    other = bytes(Ether(**ADDRESSES) / V4 / UDP() / Raw(b"secret"))
    kept = list(rewrite([(0, 0, short, len(short)), (0, 0, other, len(other))], 1, lambda each: each.payload))
    assert [packet[2] for packet in kept] == [short[:-6]]
    assert kept[0][3] == len(short) - 6


def test_a_segment_that_was_cut_keeps_a_checksum_that_fits_its_whole() -> None:
    """The rest of the segment is unknown, but the change of the sum is not."""
    whole = bytes(V4 / TCP(sport=1, dport=2) / Raw(b"secret" + b"rest" * 20))
    cut = whole[: 40 + 6]
    ((_, _, changed, size),) = rewrite([(0, 0, cut, len(whole))], RAW_IP, lambda each: b"public")
    assert size == len(whole)
    assert changed + whole[len(cut) :] == bytes(V4 / TCP(sport=1, dport=2) / Raw(b"public" + b"rest" * 20))


def test_a_replacement_of_another_length_is_refused() -> None:
    data = bytes(V4 / TCP() / Raw(b"secret"))
    with pytest.raises(ValueError, match="length"):
        list(rewrite([(0, 0, data, len(data))], RAW_IP, lambda each: b"*"))


def test_the_sequence_number_is_that_of_the_first_byte() -> None:
    """A SYN takes one number of its own (TCP Fast Open sends bytes with it)."""
    data = bytes(V4 / TCP(flags="S", seq=0xFFFFFFFF) / Raw(b"x"))
    numbers: list[int] = []
    list(rewrite([(0, 0, data, len(data))], RAW_IP, lambda each: numbers.append(each.sequence) or each.payload))  # type: ignore[func-returns-value]
    assert numbers == [0]


@given(data=st.binary(max_size=120), link=st.sampled_from([0, 1, 9, 101, 113, 276, 999]))
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise(data: bytes, link: int) -> None:
    place = locate_tcp(data, link)
    if place is not None:
        assert 0 <= place.tcp < place.payload <= place.stop <= len(data)
    list(rewrite([(0, 0, data, len(data))], link, lambda each: each.payload))


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_finds_the_checksums_correct(tmp_path: Path) -> None:
    data = bytes(Ether(**ADDRESSES) / V4 / TCP(sport=1, dport=2346) / Raw(b"GET /?token=secret HTTP/1.1\r\n"))
    path = tmp_path / "out.pcap"
    with create(str(path), 1) as writer:
        for packet in rewrite([(0, 0, data, len(data))], 1, lambda each: each.payload.replace(b"secret", b"xxxxxx")):
            writer.packet(*packet)
    output = subprocess.run(["tcpdump", "-nvvr", str(path)], capture_output=True, text=True, check=True).stdout
    assert "(correct)" in output
    assert "incorrect" not in output
    assert struct.unpack("=I", path.read_bytes()[:4]) == (0xA1B23C4D,)
