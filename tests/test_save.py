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
from wsdiag.intake.rewrite import find_segment, rewrite
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
REPLACED = {bytes([10, 0, 0, 1]): bytes([198, 51, 100, 7]), bytes.fromhex("fe80" + "0" * 27 + "1"): b"\x20\x01" * 8}


@pytest.mark.parametrize(("link", "frame"), LINKS)
@pytest.mark.parametrize("network", NETWORKS, ids=Packet.summary)
@settings(max_examples=20, deadline=None)
@given(payload=st.binary(max_size=60), sequence=st.integers(0, 0xFFFFFFFF), anonymous=st.booleans())
def test_rewriting_keeps_lengths_and_checksums(
    link: int, frame: Packet | None, network: Packet, payload: bytes, sequence: int, anonymous: bool
) -> None:
    def packet(network: Packet, said: bytes) -> Packet:
        return network / TCP(sport=1, dport=2, seq=sequence, flags="PA") / Raw(said)

    inner = packet(network, payload)
    data = bytes(frame / inner if frame is not None else inner)
    segment = find_segment(data, link)
    assert segment is not None
    assert (segment.source_port, segment.destination_port, segment.sequence) == (1, 2, sequence)
    assert (segment.payload, segment.whole, segment.size) == (payload, True, len(bytes(inner)))
    expected = packet(network, b"*" * len(payload))
    if anonymous:
        expected = expected.copy()
        expected[0].src = "198.51.100.7" if expected[0].version == 4 else "2001:" * 7 + "2001"
    found = rewrite(data, segment, b"*" * len(payload), REPLACED if anonymous else {})
    assert found == bytes(expected)
    assert rewrite(data, segment, None) == bytes(inner)[: len(bytes(inner)) - len(payload)]


def test_padding_and_other_protocols() -> None:
    short = bytes(Ether(**ADDRESSES) / V4 / TCP()) + b"leak!!"
    segment = find_segment(short, 1)
    assert segment is not None
    assert (segment.payload, rewrite(short, segment, b"")) == (b"", bytes(V4 / TCP()))
    assert find_segment(bytes(Ether(**ADDRESSES) / V4 / UDP() / Raw(b"secret")), 1) is None
    assert find_segment(bytes(IP(frag=3) / TCP() / Raw(b"secret")), RAW_IP) is None
    assert find_segment(bytes(V4 / TCP()), 147) is None


def test_a_segment_that_was_cut_keeps_a_checksum_that_fits_its_whole() -> None:
    """The rest of the segment is unknown, but the change of the sum is not."""
    whole = bytes(V4 / TCP(sport=1, dport=2) / Raw(b"secret" + b"rest" * 20))
    cut = whole[: 40 + 6]
    segment = find_segment(cut, RAW_IP)
    assert segment is not None
    assert (segment.size, segment.whole) == (len(whole), False)
    changed = rewrite(cut, segment, b"public")
    assert changed + whole[len(cut) :] == bytes(V4 / TCP(sport=1, dport=2) / Raw(b"public" + b"rest" * 20))


def test_a_replacement_of_another_length_is_refused() -> None:
    data = bytes(V4 / TCP() / Raw(b"secret"))
    segment = find_segment(data, RAW_IP)
    assert segment is not None
    with pytest.raises(ValueError, match="length"):
        rewrite(data, segment, b"*")


def test_the_sequence_number_is_that_of_the_first_byte() -> None:
    """A SYN takes one number of its own (TCP Fast Open sends bytes with it)."""
    segment = find_segment(bytes(V4 / TCP(flags="S", seq=0xFFFFFFFF) / Raw(b"x")), RAW_IP)
    assert segment is not None
    assert segment.sequence == 0


@given(data=st.binary(max_size=120), link=st.sampled_from([0, 1, 9, 101, 113, 276, 999]))
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise(data: bytes, link: int) -> None:
    segment = find_segment(data, link)
    if segment is not None:
        assert 0 <= segment.ip < segment.tcp < segment.begin <= segment.stop <= len(data)
        assert len(rewrite(data, segment, segment.payload)) == segment.stop - segment.ip


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_finds_the_checksums_correct(tmp_path: Path) -> None:
    data = bytes(Ether(**ADDRESSES) / V4 / TCP(sport=1, dport=2346) / Raw(b"GET /?token=secret HTTP/1.1\r\n"))
    segment = find_segment(data, 1)
    assert segment is not None
    path = tmp_path / "out.pcap"
    with create(str(path), RAW_IP) as writer:
        found = rewrite(data, segment, segment.payload.replace(b"secret", b"xxxxxx"), REPLACED)
        writer.packet(0, 0, found, len(found))
    output = subprocess.run(["tcpdump", "-nvvr", str(path)], capture_output=True, text=True, check=True).stdout
    assert "198.51.100.7.1 > 10.0.0.2.2346" in output
    assert "(correct)" in output
    assert "incorrect" not in output
    assert "bad cksum" not in output
    assert struct.unpack("=I", path.read_bytes()[:4]) == (0xA1B23C4D,)
