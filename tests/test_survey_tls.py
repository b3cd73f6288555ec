"""Captures of TLS judged by what was said inside: a key log beside the capture, inside it, growing, or of others."""

import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet, Raw

from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.bpf import RAW_IP
from wsdiag.intake.capture import open_capture
from wsdiag.intake.keylog import KeyLog
from wsdiag.intake.save import PcapWriter
from wsdiag.intake.survey import Survey
from wsdiag.wire.handshake import accept_for

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()
ACCEPTED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Accept: {accept_for(KEY)}\r\n\r\n"
).encode()
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
# As long as the 101, so that both connections look the same from outside.
NOT_FOUND = NOT_FOUND[:-2] + b"X-Padding: " + b"x" * (len(ACCEPTED) - len(NOT_FOUND) - 13) + b"\r\n\r\n"


def handshake(answer: bytes, folder: Path) -> tuple[bytes, bytes]:
    """What a client and a server say over TLS 1.3; the secrets go to `folder`/keys.log."""
    here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.check_hostname = False
    here.verify_mode = ssl.CERT_NONE
    here.keylog_filename = str(folder / "keys.log")
    there.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    inboxes, outboxes = [ssl.MemoryBIO(), ssl.MemoryBIO()], [ssl.MemoryBIO(), ssl.MemoryBIO()]
    client = here.wrap_bio(inboxes[0], outboxes[0], server_hostname="localhost")
    server = there.wrap_bio(inboxes[1], outboxes[1], server_side=True)
    wire = [b"", b""]

    def carry() -> None:
        for side in (0, 1):
            data = outboxes[side].read()
            wire[side] += data
            inboxes[1 - side].write(data)

    for _ in range(3):
        for end in (client, server):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
            carry()
    client.write(REQUEST)
    carry()
    assert server.read(4096) == REQUEST
    server.write(answer)
    carry()
    return wire[0], wire[1]


def packets(streams: tuple[bytes, bytes], port: int) -> Iterator[Packet]:
    """One connection of them."""
    forth, back = IP(src="10.0.0.1", dst="10.0.0.2"), IP(src="10.0.0.2", dst="10.0.0.1")
    asks, says = {"sport": port, "dport": 443}, {"sport": 443, "dport": port}
    client, server = streams
    yield forth / TCP(**asks, flags="S", seq=1000)
    yield back / TCP(**says, flags="SA", seq=5000, ack=1001)
    for at in range(0, len(client), 1000):
        yield forth / TCP(**asks, flags="PA", seq=1001 + at, ack=5001) / Raw(client[at : at + 1000])
    for at in range(0, len(server), 1000):
        yield back / TCP(**says, flags="PA", seq=5001 + at, ack=1001 + len(client)) / Raw(server[at : at + 1000])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key, a key log and a capture of two connections."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    made = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    (made / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding, form, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (made / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))
    out = BytesIO()
    writer = PcapWriter(out, RAW_IP)
    for number, answer in enumerate((ACCEPTED, NOT_FOUND)):
        for count, packet in enumerate(packets(handshake(answer, made), 40000 + number)):
            data = bytes(packet)
            writer.packet(1_700_000_000 + number, 1000 * count, data, len(data))
    (made / "capture.pcap").write_bytes(out.getvalue())
    return made


def judged(capture: bytes, keys: KeyLog | None = None) -> tuple[list[str | None], Survey]:
    """The primary cause of each connection, in the order of the client's ports."""
    found: dict[int, str | None] = {}
    survey = Survey(
        frozenset({443}),
        "x",
        diagnose_connection,
        lambda sighting, report: found.update({sighting.client.port: report.primary or report.verdict}),
        keys=keys,
    )
    survey.read(open_capture(BytesIO(capture), "x"))
    return [found[port] for port in sorted(found)], survey


def test_equal_from_outside_and_different_inside(folder: Path) -> None:
    capture = (folder / "capture.pcap").read_bytes()
    without, survey = judged(capture)
    assert without == ["undecided", "undecided"]
    assert survey.opened == 0
    found, survey = judged(capture, KeyLog.parse((folder / "keys.log").read_bytes()))
    assert found == ["healthy", "response-404"]
    assert survey.opened == 2


def test_a_key_log_of_others_changes_nothing(folder: Path) -> None:
    keys = KeyLog.parse(f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n".encode())
    found, survey = judged((folder / "capture.pcap").read_bytes(), keys)
    assert (found, survey.opened) == (["undecided", "undecided"], 0)


def test_a_key_log_that_is_still_empty_when_the_capture_starts(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    path.write_bytes(b"")
    with path.open("rb") as file:
        keys = KeyLog(file)
        path.write_bytes((folder / "keys.log").read_bytes())
        assert judged((folder / "capture.pcap").read_bytes(), keys)[0] == ["healthy", "response-404"]


def block(kind: int, body: bytes) -> bytes:
    """A block of a pcapng file."""
    body += b"\0" * (-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def test_keys_inside_the_capture(folder: Path) -> None:
    """A Decryption Secrets Block: draft-ietf-opsawg-pcapng section 4.7."""
    secrets = (folder / "keys.log").read_bytes()
    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(10, struct.pack("<II", 0x544C534B, len(secrets)) + secrets)
    out += block(1, struct.pack("<HHI", RAW_IP, 0, 0))
    data = (folder / "capture.pcap").read_bytes()
    at = 24
    while at < len(data):
        _, _, size, _ = struct.unpack_from("=IIII", data, at)
        out += block(6, struct.pack("<IIIII", 0, 0, at, size, size) + data[at + 16 : at + 16 + size])
        at += 16 + size
    found, survey = judged(out)
    assert found == ["healthy", "response-404"]
    assert survey.opened == 2


def test_the_whole_command(folder: Path) -> None:
    from wsdiag.inputs import read_all

    report = read_all((str(folder / "capture.pcap"), str(folder / "keys.log")))
    assert (report.verdict, report.primary) == ("faulty", "response-404")
    assert "tls-decrypted" in [note.name for each in report.inputs for note in each.notes]
    other = folder / "other.log"
    other.write_text(f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n")
    report = read_all((str(folder / "capture.pcap"), str(other)))
    assert "keylog-unmatched" in [note.name for each in report.inputs for note in each.notes]
