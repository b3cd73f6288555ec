"""TLS read with a key log: real handshakes of OpenSSL between two buffers in memory, every version and cipher."""

import datetime
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.intake.cipher import SUITES, expand_label, prf
from wsdiag.intake.decrypt import decrypt_connection
from wsdiag.intake.keylog import KeyLog, looks_like_key_log
from wsdiag.intake.records import Decryptor
from wsdiag.model import CLIENT, SERVER, ClientHello, Connection, Gap, Mark, Origin, Stream

REQUEST = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
NO_ENCRYPT_THEN_MAC = 1 << 19  # SSL_OP_NO_ENCRYPT_THEN_MAC

Certificate = tuple[Path, Path]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """A self-signed certificate for localhost with an RSA key, and one with an EC key."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {}
    keys = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1())}
    for kind, key in keys.items():
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        chain, private = folder / f"{kind}.pem", folder / f"{kind}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        made[kind] = (chain, private)
    return made


class Conversation:
    """Both ends of a TLS connection in one process; `wire` holds what each side sent."""

    def __init__(
        self,
        certificate: Certificate,
        log: Path,
        *,
        versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        ciphers: str = "",
        server: Callable[[ssl.SSLContext], object] = lambda context: None,
        alpn: list[str] | None = None,
        session: ssl.SSLSession | None = None,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        verify: bool = False,
    ) -> None:
        if contexts is None:
            here, there = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            here.check_hostname = False
            here.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
            there.load_cert_chain(*certificate)
            for context in (here, there):
                context.minimum_version, context.maximum_version = versions
                if ciphers:
                    context.set_ciphers(ciphers)
                if alpn:
                    context.set_alpn_protocols(alpn)
            here.keylog_filename = str(log)
            server(there)
            contexts = here, there
        self.contexts = contexts
        self.buffers = {CLIENT: ssl.MemoryBIO(), SERVER: ssl.MemoryBIO()}
        self.out = {CLIENT: ssl.MemoryBIO(), SERVER: ssl.MemoryBIO()}
        self.ends = {
            CLIENT: contexts[0].wrap_bio(
                self.buffers[CLIENT], self.out[CLIENT], server_hostname="localhost", session=session
            ),
            SERVER: contexts[1].wrap_bio(self.buffers[SERVER], self.out[SERVER], server_side=True),
        }
        self.wire = {CLIENT: b"", SERVER: b""}

    def carry(self) -> bool:
        """Bring what was sent to the other side; False when there was nothing."""
        moved = False
        for side, other in ((CLIENT, SERVER), (SERVER, CLIENT)):
            data = self.out[side].read()
            if data:
                self.wire[side] += data
                self.buffers[other].write(data)
                moved = True
        return moved

    def shake(self) -> None:
        """The handshake; raises ssl.SSLError when a side breaks it off, after its alert was brought over."""
        done = {CLIENT: False, SERVER: False}
        try:
            while not all(done.values()):
                for side in (CLIENT, SERVER):
                    try:
                        self.ends[side].do_handshake()
                        done[side] = True
                    except ssl.SSLWantReadError:
                        pass
                    self.carry()
        finally:
            self.carry()

    def say(self, side: str, data: bytes) -> None:
        """One side says something, the other hears it."""
        self.ends[side].write(data)  # type: ignore[index]
        self.carry()
        heard = b""
        while len(heard) < len(data):
            heard += self.ends[SERVER if side == CLIENT else CLIENT].read(1 << 20)
        assert heard == data

    def connection(self) -> Connection:
        """What a capture of it would give: a packet for each 100 bytes."""
        return Connection(
            0,
            *(
                Stream(
                    self.wire[side],
                    tuple(
                        Mark(at, Origin("x.pcap", packet=1000 * number + at // 100 + 1))
                        for at in range(0, len(self.wire[side]), 100)
                    ),
                    ending="fin",
                    total=len(self.wire[side]),
                )
                for number, side in enumerate((CLIENT, SERVER))
            ),
            kind="capture",
        )


def talked(conversation: Conversation, long: bytes = b"") -> Conversation:
    """A handshake, a request and its answer; then something longer than a record."""
    conversation.shake()
    conversation.say(CLIENT, REQUEST)
    conversation.say(SERVER, ANSWER)
    if long:
        conversation.say(SERVER, long)
        conversation.say(CLIENT, long)
    return conversation


def keys_of(log: Path) -> KeyLog:
    return KeyLog.parse(log.read_bytes())


def decrypted(conversation: Conversation, log: Path) -> Connection:
    connection = decrypt_connection(conversation.connection(), keys_of(log))
    assert connection is not None
    return connection


TLS12_CIPHERS = [
    ("ECDHE-RSA-AES128-GCM-SHA256", "rsa"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "rsa"),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "ec"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "rsa"),
    ("ECDHE-ECDSA-AES128-CCM", "ec"),
    ("ECDHE-ECDSA-AES256-CCM8:@SECLEVEL=0", "ec"),
    ("AES128-GCM-SHA256", "rsa"),
    ("ECDHE-RSA-AES128-SHA256", "rsa"),
    ("ECDHE-RSA-AES256-SHA384", "rsa"),
    ("ECDHE-RSA-AES128-SHA", "rsa"),
    ("AES256-SHA256", "rsa"),
    ("AES256-SHA", "rsa"),
]


def test_tls13_with_sni_and_alpn(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log, alpn=["h2", "http/1.1"]), b"long" * 10_000)
    found = decrypted(conversation, log)
    assert found.client.data == REQUEST + b"long" * 10_000
    assert found.server.data == ANSWER + b"long" * 10_000
    assert found.tls is not None
    assert (found.tls.version, found.tls.server_name, found.tls.alpn) == (0x0304, "localhost", "h2")
    assert (found.client.ending, found.client.total) == ("fin", len(found.client.data))
    assert [note.name for note in found.notes] == ["tls-decrypted"]


@pytest.mark.parametrize("plain_mac", [False, True], ids=["", "mac-then-encrypt"])
@pytest.mark.parametrize(("cipher", "kind"), TLS12_CIPHERS)
def test_tls12(cipher: str, kind: str, plain_mac: bool, certificates: dict[str, Certificate], tmp_path: Path) -> None:
    def options(context: ssl.SSLContext) -> None:
        if plain_mac:
            context.options |= NO_ENCRYPT_THEN_MAC

    log = tmp_path / "keys.log"
    version = ssl.TLSVersion.TLSv1_2
    conversation = Conversation(
        certificates[kind], log, versions=(version, version), ciphers=cipher, server=options, alpn=["http/1.1"]
    )
    found = decrypted(talked(conversation, b"long" * 10_000), log)
    assert found.client.data == REQUEST + b"long" * 10_000
    assert found.server.data == ANSWER + b"long" * 10_000
    assert found.tls is not None
    assert (found.tls.version, found.tls.server_name, found.tls.alpn) == (0x0303, "localhost", "http/1.1")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("plain_mac", [False, True], ids=["", "mac-then-encrypt"])
def test_older_versions(
    version: ssl.TLSVersion, plain_mac: bool, certificates: dict[str, Certificate], tmp_path: Path
) -> None:
    def options(context: ssl.SSLContext) -> None:
        if plain_mac:
            context.options |= NO_ENCRYPT_THEN_MAC

    log = tmp_path / "keys.log"
    conversation = Conversation(
        certificates["rsa"],
        log,
        versions=(version, version),
        ciphers="AES128-SHA:ECDHE-RSA-AES256-SHA:@SECLEVEL=0",
        server=options,
    )
    try:
        talked(conversation, b"long" * 10_000)
    except ssl.SSLError as error:
        pytest.skip(f"this OpenSSL has no {version.name}: {error}")
    found = decrypted(conversation, log)
    assert found.client.data == REQUEST + b"long" * 10_000
    assert found.server.data == ANSWER + b"long" * 10_000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session(version: ssl.TLSVersion, certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    first = talked(Conversation(certificates["rsa"], log, versions=(version, version)))
    again = Conversation(certificates["rsa"], log, contexts=first.contexts, session=first.ends[CLIENT].session)
    talked(again)
    assert again.ends[CLIENT].session_reused
    for conversation in (first, again):
        found = decrypted(conversation, log)
        assert (found.client.data, found.server.data) == (REQUEST, ANSWER)
    assert len(keys_of(log)) == 2


def test_a_hello_retry_request(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    conversation = Conversation(certificates["rsa"], log, server=lambda context: context.set_ecdh_curve("secp521r1"))
    talked(conversation)
    hello_retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891")
    assert hello_retry in conversation.wire[SERVER]
    found = decrypted(conversation, log)
    assert (found.client.data, found.server.data) == (REQUEST, ANSWER)
    assert found.tls is not None
    assert found.tls.server_name == "localhost"


def test_the_hidden_alert_of_tls13_is_a_plain_one(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """The client does not trust the certificate; its alert is inside encryption."""
    from wsdiag.wire import tls

    log = tmp_path / "keys.log"
    conversation = Conversation(certificates["rsa"], log, verify=True)
    with pytest.raises(ssl.SSLError):
        conversation.shake()
    found = decrypted(conversation, log)
    assert found.client.data.endswith(b"\x15\x03\x03\x00\x02\x02\x30")  # fatal, unknown_ca
    elements = tls.read(found.client.data, 0, len(found.client.data), CLIENT)
    assert isinstance(elements[0], ClientHello)
    assert any(isinstance(each, tls.TlsAlert) and each.description == 48 for each in elements)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_after_which_nothing_was_said_stays_as_it_is(
    version: ssl.TLSVersion, certificates: dict[str, Certificate], tmp_path: Path
) -> None:
    log = tmp_path / "keys.log"
    conversation = Conversation(certificates["rsa"], log, versions=(version, version))
    conversation.shake()
    found = decrypted(conversation, log)
    assert (found.client.data, found.server.data) == (conversation.wire[CLIENT], conversation.wire[SERVER])
    assert found.tls is not None


def test_marks_lead_to_the_packets_of_the_records(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log), b"0123456789" * 4000)
    found = decrypted(conversation, log)
    raw = conversation.wire[SERVER]
    for offset in (0, len(ANSWER) - 1, len(ANSWER), len(ANSWER) + 5000, len(found.server.data) - 1):
        origin = found.server.origin_at(offset)
        assert origin is not None
        assert origin.packet is not None
        at = (origin.packet - 1001) * 100
        # AEAD keeps the order and the length of the bytes, so the packet's distance from the end is known
        tail = len(raw) - at - (len(found.server.data) - offset)
        assert -100 <= tail <= 1000, (offset, origin)
    offsets = [mark.offset for mark in found.server.marks]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0


def test_without_the_right_keys_there_is_nothing(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log, other = tmp_path / "keys.log", tmp_path / "other.log"
    conversation = talked(Conversation(certificates["rsa"], log))
    talked(Conversation(certificates["rsa"], other))
    assert decrypt_connection(conversation.connection(), keys_of(other)) is None
    assert decrypt_connection(conversation.connection(), KeyLog.parse(b"# nothing\n")) is None


def test_damaged_secrets_say_that_decryption_stopped(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log))
    lines = [line[:-2] + b"00" for line in log.read_bytes().splitlines()]
    found = decrypt_connection(conversation.connection(), KeyLog.parse(b"\n".join(lines)))
    assert found is not None
    assert "tls-decryption-stopped" in [note.name for note in found.notes]


def test_a_gap_ends_what_can_be_known(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log), b"long" * 20_000)
    connection = conversation.connection()
    raw = connection.server
    at = len(raw.data) - 30_000
    broken = raw._replace(data=raw.data[:at] + raw.data[at + 500 :], gaps=(Gap(at, 500),))
    found = decrypt_connection(connection._replace(server=broken), keys_of(log))
    assert found is not None
    assert found.server.data.startswith(ANSWER + b"long")
    assert found.server.ending == "cut"
    assert found.server.total > len(found.server.data)
    assert found.server.gaps == ()
    assert found.client.data == REQUEST + b"long" * 20_000


def test_what_stands_ahead_of_tls_stays(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """A forward proxy's CONNECT, or a PROXY header."""
    log = tmp_path / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log))
    connect = b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"
    conversation.wire[CLIENT] = connect + conversation.wire[CLIENT]
    conversation.wire[SERVER] = b"HTTP/1.1 200 OK\r\n\r\n" + conversation.wire[SERVER]
    found = decrypted(conversation, log)
    assert found.client.data == connect + REQUEST
    assert found.server.data == b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_portions_do_not_matter(seed: int, recorded: tuple[dict[str, bytes], bytes]) -> None:
    wire, log = recorded
    rng = random.Random(seed)
    decryptor = Decryptor(KeyLog.parse(log))
    left = dict(wire)
    said = {CLIENT: b"", SERVER: b""}
    while any(left.values()):
        side = rng.choice([each for each in (CLIENT, SERVER) if left[each]])
        size = rng.choice((1, 3, 100, 5000))
        for record in decryptor.feed(side, left[side][:size]):
            if record.kind == 23:
                said[record.side] += record.data
                assert 0 <= record.start < record.body < record.stop <= len(wire[record.side])
        left[side] = left[side][size:]
    assert said[CLIENT] == REQUEST + b"long" * 5000
    assert said[SERVER] == ANSWER + b"long" * 5000


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_bytes_raise(data: st.DataObject, recorded: tuple[dict[str, bytes], bytes]) -> None:
    wire, log = recorded
    streams = []
    for side in (CLIENT, SERVER):
        raw = bytearray(wire[side])
        for at in data.draw(st.lists(st.integers(0, 400), max_size=4)):
            raw[at] = data.draw(st.integers(0, 255))
        streams.append(Stream(bytes(raw[: data.draw(st.integers(0, len(raw)))])))
    found = decrypt_connection(Connection(0, streams[0], streams[1], kind="capture"), KeyLog.parse(log))
    assert found is None or len(found.client.data) <= len(streams[0].data)


@pytest.fixture(scope="module")
def recorded(
    certificates: dict[str, Certificate], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], bytes]:
    """What both sides sent, and the key log."""
    log = tmp_path_factory.mktemp("recorded") / "keys.log"
    conversation = talked(Conversation(certificates["rsa"], log), b"long" * 5000)
    return {side: bytes(data) for side, data in conversation.wire.items()}, log.read_bytes()


# --- the key log ------------------------------------------------------------------------------------------------------


def test_key_logs_are_read_as_they_come() -> None:
    random_value = "ab" * 32
    text = (
        f"# comment\r\n\r\nCLIENT_RANDOM {random_value} {'cd' * 48}\r\nEXPORTER_SECRET {random_value} 00ff\nnonsense\n"
    )
    keys = KeyLog.parse(text.encode())
    assert (len(keys), keys.unreadable) == (1, 1)
    assert keys.secrets(bytes.fromhex(random_value)) == {"CLIENT_RANDOM": bytes.fromhex("cd" * 48)}
    assert keys.secrets(b"") == {}
    keys.add(f"CLIENT_RANDOM {'00' * 32} {'11' * 48}".encode())
    assert len(keys) == 2
    assert looks_like_key_log(text.encode())
    assert not looks_like_key_log(b"GET / HTTP/1.1\r\n")
    assert not looks_like_key_log(b"")


def test_a_key_log_that_grows_is_read_on(tmp_path: Path) -> None:
    """As in a live capture: the client writes its secrets while the connection is followed."""
    path = tmp_path / "keys.log"
    line = f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n".encode()
    path.write_bytes(b"# made by a browser\n" + line[:50])
    with path.open("rb") as file:
        keys = KeyLog(file)
        assert keys.secrets(b"\xab" * 32) == {}
        with path.open("ab") as more:
            more.write(line[50:])
        assert keys.secrets(b"\xab" * 32) == {"CLIENT_RANDOM": b"\xcd" * 48}
        assert (len(keys), keys.unreadable) == (1, 0)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_key_log_raises(data: bytes) -> None:
    keys = KeyLog.parse(data)
    assert len(keys) == 0 or b"_" in data
    looks_like_key_log(data)


# --- arithmetic, against others' -------------------------------------------------------------------------------------


def test_suites_are_those_of_scapy() -> None:
    """scapy's table, made from IANA's, is the oracle for numbers, ciphers and digests."""
    from scapy.layers.tls.crypto.suites import _tls_cipher_suites

    for number, suite in SUITES.items():
        name = _tls_cipher_suites.get(number)
        if name is None:  # newer than scapy
            assert number in (0xD001, 0xD002, 0xD003, 0xD005), hex(number)
            continue
        tokens = name.split("_")
        expected = {"gcm": "GCM", "ccm": "CCM", "ccm8": "CCM", "chacha": "CHACHA20", "cbc": "CBC"}[suite.cipher]
        assert expected in tokens, name
        assert bool({"8", "CCM8"} & set(tokens)) == (suite.cipher == "ccm8"), name
        if suite.cipher != "chacha":
            assert str(suite.key_size * 8) in tokens, name
        if suite.mac:
            assert {"sha1": "SHA", "sha256": "SHA256", "sha384": "SHA384"}[suite.mac] == tokens[-1], name
        assert suite.prf == ("sha384" if name.endswith("SHA384") else "sha256"), name


def test_hkdf_and_prf_agree_with_cryptography_and_scapy() -> None:
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
    from scapy.layers.tls.crypto.prf import PRF

    secret = bytes(range(48))
    info = (16).to_bytes(2, "big") + b"\x09tls13 key\0"
    assert expand_label(secret, "key", 16, "sha384") == HKDFExpand(hashes.SHA384(), 16, info).derive(secret)
    for version, digest, name in ((0x0303, "sha256", "sha256"), (0x0303, "sha384", "sha384"), (0x0301, "", "sha256")):
        theirs = PRF(hash_name=name, tls_version=version).prf(secret, b"key expansion", b"seed" * 8, 104)
        assert prf(version, digest, secret, b"key expansion", b"seed" * 8, 104) == theirs


# --- OpenSSL's own programs: what Python's ssl cannot ask for ---------------------------------------------------------


def openssl_conversation(
    certificate: Certificate, folder: Path, *, server: tuple[str, ...] = (), client: tuple[str, ...] = (), said: bytes
) -> tuple[Connection, KeyLog]:
    """s_client talks to s_server through a relay that keeps the bytes."""
    port = socket.create_server(("127.0.0.1", 0))
    relay = socket.create_server(("127.0.0.1", 0))
    target = port.getsockname()[1]
    port.close()
    log = folder / "keys.log"
    chain, private = certificate
    serving = subprocess.Popen(
        ["openssl", "s_server", "-accept", str(target), "-cert", chain, "-key", private, "-naccept", "1", *server],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wire = {CLIENT: b"", SERVER: b""}

    def pump(source: socket.socket, sink: socket.socket, side: str) -> None:
        while data := source.recv(1 << 16):
            wire[side] += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def carry() -> None:
        near, _ = relay.accept()
        far = connect(target)
        threads = [
            threading.Thread(target=pump, args=(near, far, CLIENT)),
            threading.Thread(target=pump, args=(far, near, SERVER)),
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        near.close()
        far.close()

    carrying = threading.Thread(target=carry)
    carrying.start()
    address = f"127.0.0.1:{relay.getsockname()[1]}"
    talking = subprocess.Popen(
        ["openssl", "s_client", "-connect", address, "-keylogfile", log, "-servername", "localhost", *client],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert talking.stdin is not None
    for part in said.split(b"|"):
        time.sleep(0.4)
        talking.stdin.write(part)
        talking.stdin.flush()
    time.sleep(0.4)
    talking.stdin.close()
    talking.wait(20)
    carrying.join(20)
    serving.communicate(timeout=20)
    relay.close()
    return (
        Connection(0, Stream(wire[CLIENT]), Stream(wire[SERVER]), kind="capture"),
        KeyLog.parse(log.read_bytes()),
    )


def connect(port: int) -> socket.socket:
    """Connect, as soon as somebody listens."""
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError("s_server does not listen")


openssl_only = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")


@openssl_only
@pytest.mark.parametrize(
    "suite",
    ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"],
)
def test_every_suite_of_tls13(suite: str, certificates: dict[str, Certificate], tmp_path: Path) -> None:
    connection, keys = openssl_conversation(
        certificates["ec"],
        tmp_path,
        server=("-ciphersuites", suite, "-quiet"),
        client=("-ciphersuites", suite),
        said=b"hello\n",
    )
    found = decrypt_connection(connection, keys)
    assert found is not None
    assert found.client.data == b"hello\n"


@openssl_only
def test_a_key_update_in_between(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """A line "K" makes s_client change its keys and ask the server to do the same (RFC 8446 section 4.6.3)."""
    connection, keys = openssl_conversation(
        certificates["rsa"], tmp_path, server=("-rev",), said=b"before\n|K\n|after\n"
    )
    found = decrypt_connection(connection, keys)
    assert found is not None
    assert found.client.data == b"before\nafter\n"
    assert found.server.data == b"erofeb\nretfa\n"
    assert not [note for note in found.notes if note.name == "tls-decryption-stopped"]


@openssl_only
def test_early_data(certificates: dict[str, Certificate], tmp_path: Path) -> None:
    """The second connection says something in its first flight (RFC 8446 section 2.3)."""
    ticket, early = tmp_path / "ticket.pem", tmp_path / "early.txt"
    early.write_bytes(b"early ")
    context = ssl.create_default_context()
    assert context is not None
    chain, private = certificates["rsa"]
    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    log = tmp_path / "keys.log"
    serving = subprocess.Popen(
        ["openssl", "s_server", "-accept", str(number), "-cert", chain, "-key", private, "-early_data", "-naccept", "2",
         "-keylogfile", log],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    relay = socket.create_server(("127.0.0.1", 0))
    wire: list[dict[str, bytes]] = []

    def pump(source: socket.socket, sink: socket.socket, kept: dict[str, bytes], side: str) -> None:
        while data := source.recv(1 << 16):
            kept[side] += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    for arguments in (("-sess_out", str(ticket)), ("-sess_in", str(ticket), "-early_data", str(early))):
        kept = {CLIENT: b"", SERVER: b""}
        wire.append(kept)
        talking = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{relay.getsockname()[1]}", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        near, _ = relay.accept()
        far = connect(number)
        threads = [
            threading.Thread(target=pump, args=(near, far, kept, CLIENT)),
            threading.Thread(target=pump, args=(far, near, kept, SERVER)),
        ]
        for each in threads:
            each.start()
        assert talking.stdin is not None
        time.sleep(0.4)
        talking.stdin.write(b"later\n")
        talking.stdin.flush()
        time.sleep(0.4)
        talking.stdin.close()
        talking.wait(20)
        for each in threads:
            each.join(20)
        near.close()
        far.close()
    serving.communicate(timeout=20)
    relay.close()
    connection = Connection(0, Stream(wire[1][CLIENT]), Stream(wire[1][SERVER]), kind="capture")
    found = decrypt_connection(connection, KeyLog.parse(log.read_bytes()))
    assert found is not None
    assert found.client.data == b"early later\n"
    without = b"\n".join(line for line in log.read_bytes().splitlines() if b"EARLY" not in line)
    found = decrypt_connection(connection, KeyLog.parse(without))
    assert found is not None
    assert found.client.data == b"later\n"
