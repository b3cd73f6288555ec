"""Capture files: every format and byte order, whole and damaged; scapy's reader is the oracle."""

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import RawPcapReader

from tests.captures import (
    LINKS,
    Packet,
    block,
    enhanced,
    healthy,
    interface,
    packets,
    pcap,
    read,
    section,
)
from wsdiag.intake import capture
from wsdiag.intake.survey import CaptureReading, read_connections
from wsdiag.model import Stream, WsdiagError


def streams(reading: CaptureReading) -> list[tuple[Stream, Stream]]:
    """What both sides said, without what only the file's form changes."""
    return [(each.client, each.server) for each in reading.connections]


WHOLE = read(pcap(packets(healthy())))


@pytest.mark.parametrize("kind", sorted(LINKS))
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_every_variant_of_pcap_tells_the_same(kind: str, v6: bool, order: str, nano: bool) -> None:
    reading = read(pcap(packets(healthy(), kind, v6=v6), kind, order=order, nano=nano))
    assert streams(reading) == streams(WHOLE)
    first, other = reading.connections[0].transport, WHOLE.connections[0].transport
    assert first is not None
    assert other is not None
    assert first == other
    assert reading.summary.packets == len(healthy().segments)
    assert not reading.notes


def test_the_counts_are_those_of_scapy(tmp_path: Path) -> None:
    data = pcap(packets(healthy(20)))
    path = tmp_path / "a.pcap"
    path.write_bytes(data)
    with RawPcapReader(str(path)) as reader:
        wires = [wire for wire, _ in reader]
    summary = read(data).summary
    assert (summary.packets, summary.bytes) == (len(wires), sum(map(len, wires)))
    assert summary.link == "ethernet"


def pcapng(kind: str, order: str) -> bytes:
    return b"".join(
        [section(order), interface(kind, order), *(enhanced(each, order) for each in packets(healthy(), kind))]
    )


@pytest.mark.parametrize("kind", sorted(LINKS))
@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(kind: str, order: str, tmp_path: Path) -> None:
    data = pcapng(kind, order)
    reading = read(data)
    assert streams(reading) == streams(WHOLE)
    one, other = reading.connections[0].transport, WHOLE.connections[0].transport
    assert one is not None
    assert other is not None
    assert one.closed_at == pytest.approx(other.closed_at, abs=1e-6)
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    with RawPcapReader(str(path)) as reader:
        assert len(list(reader)) == reading.summary.packets


def test_pcapng_with_several_sections_interfaces_and_clocks() -> None:
    found = packets(healthy())
    raw = packets(healthy(), "raw")
    nano = struct.pack("<HHB3x", 9, 1, 9) + struct.pack("<HHq", 14, 8, 1_000_000_000)
    binary = struct.pack(">HHB3x", 9, 1, 0x80 | 20)
    data = section() + interface() + interface("raw", options=nano)
    for index in range(5):
        data += enhanced(found[index])
    for index in range(5, 8):
        data += enhanced(raw[index], index=1, ticks=raw[index].time * 1000 - 10**18)
    data += block(0xBAD, b"custom") + section(">") + interface("raw", ">", binary)
    for index in range(8, len(raw)):
        data += enhanced(raw[index], ">", ticks=(raw[index].time << 20) // 1_000_000)
    reading = read(data)
    assert streams(reading) == streams(WHOLE)
    assert reading.summary.link == "ethernet,raw"
    one, other = reading.connections[0].transport, WHOLE.connections[0].transport
    assert one is not None
    assert other is not None
    assert one.opened_at == pytest.approx(other.opened_at, abs=1e-4)
    assert one.request_at == pytest.approx(other.request_at, abs=1e-4)
    assert one.closed_at == pytest.approx(other.closed_at, abs=1e-4)


def test_pcapng_simple_and_old_packets_and_key_logs() -> None:
    found = packets(healthy())
    secret = b"CLIENT_RANDOM 00 11\n"
    data = section() + interface() + block(10, struct.pack("<II", 0x544C534B, len(secret)) + secret)
    for index, each in enumerate(found):
        if index % 2:
            data += block(3, struct.pack("<I", len(each.data)) + each.data)
        else:
            size = len(each.data)
            head = struct.pack("<HHIIII", 0, 3, each.time >> 32, each.time & 0xFFFFFFFF, size, size)
            data += block(2, head + each.data)
    data += block(5, struct.pack("<III", 0, 0, 0) + struct.pack("<HHQ", 5, 8, 41))
    reading = read(data)
    assert streams(reading) == streams(WHOLE)
    assert reading.key_logs == (secret,)
    assert reading.summary.dropped == 41 + 3 * ((len(found) + 1) // 2)


def test_gzip_and_streams_that_cannot_seek() -> None:
    data = pcap(packets(healthy()))

    class Pipe(io.RawIOBase):
        """Gives a few bytes at a time, as a pipe does."""

        def __init__(self, data: bytes) -> None:
            self.source = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.source.readinto(memoryview(buffer)[:13])

    for content in (data, gzip.compress(data)):
        for stream in (io.BytesIO(content), Pipe(content)):
            reading = read_connections(stream, "x", frozenset({2346}))  # type: ignore[arg-type]
            assert streams(reading) == [
                (
                    a._replace(marks=reading.connections[0].client.marks),
                    b._replace(marks=reading.connections[0].server.marks),
                )
                for a, b in streams(WHOLE)
            ]
            assert not reading.notes


def test_a_gzip_file_that_is_cut_is_read_as_far_as_it_goes() -> None:
    data = gzip.compress(pcap(packets(healthy(400))))
    reading = read(data[: len(data) // 2])
    assert 0 < reading.summary.packets < len(healthy(400).segments)
    assert reading.summary.truncated


def test_a_cut_file_is_read_as_far_as_it_goes_and_said() -> None:
    data = pcap(packets(healthy()))
    whole = len(healthy().segments)
    reading = read(data[:-10])
    assert reading.summary.packets == whole - 1
    assert reading.summary.truncated
    assert [each.name for each in reading.notes] == ["capture-cut-short"]


def test_a_corrupt_length_is_passed_over_and_said() -> None:
    found = packets(healthy())
    data = bytearray(pcap(found))
    second = 24 + 16 + len(found[0].data)
    struct.pack_into("<I", data, second + 8, 0x7FFFFFFF)
    reading = read(bytes(data))
    assert reading.summary.packets == len(found) - 1
    assert [each.name for each in reading.notes] == ["capture-resynchronised"]
    assert reading.summary.truncated
    assert reading.connections[0].client.data == WHOLE.connections[0].client.data


def test_a_file_of_nothing_but_corruption_ends() -> None:
    data = pcap(packets(healthy())[:1]) + b"\xff" * 3_000_000
    reading = read(data)
    assert [each.name for each in reading.notes] == ["capture-corrupt"]


def test_a_snaplen_leaves_gaps_and_no_claims() -> None:
    reading = read(pcap(packets(healthy()), snaplen=96))
    (connection,) = reading.connections
    assert connection.client.gaps
    assert connection.server.gaps
    from wsdiag.diagnosis import diagnose_connection

    assert diagnose_connection(connection).verdict == "undecided"


def test_an_unknown_link_type_is_named() -> None:
    data = bytearray(pcap(packets(healthy())))
    struct.pack_into("<I", data, 20, 127)
    reading = read(bytes(data))
    assert reading.connections == ()
    assert [each.values for each in reading.notes] == [
        {"kind": "ieee802.11-radiotap", "count": len(healthy().segments)}
    ]
    assert reading.summary.link == "ieee802.11-radiotap"


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\n\r\nHost", b"\xd4\xc3\xb2\xa1", gzip.compress(b"a log")])
def test_what_is_no_capture_is_refused(head: bytes) -> None:
    with pytest.raises(WsdiagError):
        capture.open_capture(io.BytesIO(head), "x")
    assert capture.is_capture(b"\x0a\x0d\x0d\x0a")


def test_a_record_larger_than_the_buffer() -> None:
    big = Packet(packets(healthy())[0].time, b"\0" * (capture.CHUNK * 3))
    found = packets(healthy())
    reading = read(pcap([*found[:5], big, *found[5:]], snaplen=1 << 20))
    assert reading.summary.packets == len(found) + 1
    assert reading.connections[0].client.data == WHOLE.connections[0].client.data


def test_modified_pcap() -> None:
    found = packets(healthy())
    data = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    for each in found:
        seconds, micros = divmod(each.time, 1_000_000)
        data += struct.pack("<IIIIIHBB", seconds, micros, len(each.data), len(each.data), 0, 0, 0, 0) + each.data
    assert streams(read(data)) == streams(WHOLE)


@pytest.mark.parametrize("ng", [False, True])
def test_a_file_much_larger_than_the_buffer(ng: bool) -> None:
    found: list[Packet] = []
    for index in range(250):
        found += packets(healthy(40), ports=(20000 + index, 2346))
    data = section() + interface() + b"".join(map(enhanced, found)) if ng else pcap(found)
    assert len(data) > 3 * capture.CHUNK
    reading = read(data)
    assert reading.summary.packets == len(found)
    assert len(reading.connections) == 250
    assert not reading.summary.truncated
