"""The records of one TLS connection, read in order and opened with a key log: RFC 8446, RFC 5246.

The ciphers are in `cipher`, the key log in `keylog`; what becomes of the plaintext is left to `decrypt`.
"""

from collections.abc import Iterator

from wsdiag.intake.cipher import SUITES, TLS12, TLS13, Protection, Protection13, protections12
from wsdiag.intake.keylog import KeyLog
from wsdiag.model import CLIENT, SERVER, Side
from wsdiag.record import NamedTuple

MAX_RECORD = (1 << 14) + 2048  # RFC 5246 section 6.2.3; TLS 1.3 allows 256 bytes more than the plaintext
MAX_HELLO = 1 << 17  # as in wire.tls: a hello is a few KB at most
MAX_TICKETS = 1 << 16  # handshake messages that are looked through after the handshake (KeyUpdate is 5 bytes)

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, _ENCRYPTED_EXTENSIONS, _KEY_UPDATE = 1, 2, 8, 24
_EXT_SERVER_NAME, _EXT_ALPN, _EXT_ENCRYPT_THEN_MAC, _EXT_VERSIONS = 0, 16, 22, 43
# RFC 8446 section 4.1.3: the random value that makes a ServerHello a HelloRetryRequest
_HELLO_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


class Record(NamedTuple):
    """A record: what it holds, and where its bytes stand in that side's stream. `body` is where the plaintext began."""

    side: Side
    kind: int
    data: bytes
    start: int
    body: int
    stop: int


class _Direction:
    """What is known of one side's records."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.buffer = bytearray()
        self.offset = 0  # of the buffer's first byte in the stream
        self.handshake = bytearray()  # the beginning of a message that goes on in the next record
        self.keys: list[Protection] = []  # the one in use first; those that may follow after it
        self.protected = False
        self.opened = False  # some record was decrypted
        self.skipped = False  # a record was passed over that may have been early data
        self.lost = False  # something did not fit: nothing after it can be read


class Decryptor:
    """Both directions of one TLS connection, fed in order and without gaps, from the ClientHello on."""

    def __init__(self, keys: KeyLog) -> None:
        self._log = keys
        self._sides: dict[Side, _Direction] = {CLIENT: _Direction(CLIENT), SERVER: _Direction(SERVER)}
        self._random = b""
        self._hello_server: _ServerHello | None = None
        self.server_name = ""
        self.alpn = ""
        self.fits: bool | None = None  # None until both hellos were seen

    @property
    def version(self) -> int:
        """The version that was agreed on, as on the wire; 0 before the ServerHello."""
        return self._hello_server.version if self._hello_server else 0

    @property
    def suite(self) -> int:
        """The cipher suite's number; 0 before the ServerHello."""
        return self._hello_server.suite if self._hello_server else 0

    def lost(self, side: Side) -> bool:
        """True when a record of this side could not be decrypted: what follows it is not known."""
        direction = self._sides[side]
        return direction.lost or (direction.skipped and not direction.opened)

    def feed(self, side: Side, data: bytes | memoryview) -> list[Record]:
        """Take in more bytes of one side; returns the records that could be read now, of either side."""
        self._sides[side].buffer += data
        records: list[Record] = []
        while True:
            before = len(records)
            for each in self._sides.values():
                records.extend(self._records(each))
            if len(records) == before:
                return records

    def _records(self, side: _Direction) -> Iterator[Record]:
        buffer, at = side.buffer, 0
        while not side.lost and len(buffer) - at >= 5:
            kind, version = buffer[at], buffer[at + 1] << 8 | buffer[at + 2]
            size = buffer[at + 3] << 8 | buffer[at + 4]
            if not CHANGE_CIPHER_SPEC <= kind <= 24 or version >> 8 != 3 or size > MAX_RECORD:
                side.lost = True
                break
            if len(buffer) - at < 5 + size:
                break
            if self._waits(side, kind):
                break
            record = self._open(side, kind, version, bytes(buffer[at + 5 : at + 5 + size]), side.offset + at)
            at += 5 + size
            if record is not None:
                yield record
        del buffer[:at]
        side.offset += at

    def _waits(self, side: _Direction, kind: int) -> bool:
        """True while the meaning of a record hangs on what the other side has not said yet."""
        if self._hello_server is not None:
            return False
        if side.side == SERVER and not self._random:
            return True  # its hello is to be understood with the client's
        return (kind == APPLICATION_DATA or side.protected) and self.fits is not False

    def _open(self, side: _Direction, kind: int, version: int, body: bytes, start: int) -> Record | None:
        stop = start + 5 + len(body)
        secret = kind == APPLICATION_DATA if self.version == TLS13 else side.protected
        if not secret:
            if kind == HANDSHAKE:
                self._messages(side, body)
            elif kind == CHANGE_CIPHER_SPEC and self.version != TLS13:
                # A server that sends one ahead of its hello has sent a HelloRetryRequest: RFC 8446 appendix D.4.
                side.protected = side.side == CLIENT or self._hello_server is not None
            return Record(side.side, kind, body, start, start + 5, stop)
        for index, keys in enumerate(side.keys):
            opened = keys.open(kind, version, body)
            if opened is None:
                continue
            if index:
                del side.keys[:index]
                side.handshake.clear()
            side.opened = True
            inner, plain = opened
            if inner == HANDSHAKE:
                self._messages(side, plain)
            elif inner == CHANGE_CIPHER_SPEC:  # renegotiation, whose keys no log line of this connection holds
                side.lost = True
            return Record(side.side, inner, plain, start, start + 5 + keys.overhead, stop)
        # Early data that the log has no secret for (or that the server refused) comes ahead of the handshake's end.
        if self.version == TLS13 and side.side == CLIENT and not side.opened:
            side.skipped = True
        else:
            side.lost = True
        return None

    def _messages(self, side: _Direction, data: bytes) -> None:
        """Look through handshake messages: RFC 8446 section 4."""
        pending = side.handshake
        pending += data
        while len(pending) >= 4:
            size = int.from_bytes(pending[1:4], "big")
            if size > MAX_HELLO and not side.opened:
                pending.clear()
                return
            if len(pending) < 4 + size:
                break
            kind, message = pending[0], bytes(pending[4 : 4 + size])
            del pending[: 4 + size]
            try:
                self._message(side, kind, message)
            except IndexError:
                side.lost = True
        if len(pending) > MAX_HELLO + MAX_TICKETS:
            side.lost = True

    def _message(self, side: _Direction, kind: int, message: bytes) -> None:
        if kind == CLIENT_HELLO and side.side == CLIENT and not self._hello_server:
            self._random = message[2:34]
            self.server_name = _server_name(_client_extensions(message).get(_EXT_SERVER_NAME, b""))
        elif kind == SERVER_HELLO and side.side == SERVER and not self._hello_server:
            hello = _ServerHello.read(message)
            if hello.random != _HELLO_RETRY:
                self._hello_server = hello
                self.alpn = _alpn(hello.extensions)
                self._schedule(hello)
        elif kind == _ENCRYPTED_EXTENSIONS and side.side == SERVER and side.opened:
            self.alpn = _alpn(_extensions(message, 0)) or self.alpn
        elif kind == _KEY_UPDATE and side.opened and side.keys and isinstance(side.keys[0], Protection13):
            side.keys = [side.keys[0].updated()]

    def _schedule(self, hello: "_ServerHello") -> None:
        """Make the keys that the log has for this connection."""
        client, server = self._sides[CLIENT], self._sides[SERVER]
        secrets = self._log.secrets(self._random)
        suite = SUITES.get(hello.suite)
        if suite is None:
            self.fits = False
            return
        if hello.version == TLS13:
            # Where one ends and the next begins is not looked up: the next is tried when one does not fit.
            for side, labels in (
                (client, ("CLIENT_EARLY_TRAFFIC_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0")),
                (server, ("SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0")),
            ):
                side.keys = [Protection13(suite, secrets[label]) for label in labels if label in secrets]
        elif "CLIENT_RANDOM" in secrets and hello.version <= TLS12:
            pair = protections12(
                suite,
                hello.version,
                secrets["CLIENT_RANDOM"],
                self._random,
                hello.random,
                _EXT_ENCRYPT_THEN_MAC in hello.extensions,
            )
            client.keys, server.keys = [pair[0]], [pair[1]]
        self.fits = bool(client.keys or server.keys)


class _ServerHello(NamedTuple):
    """What the keys hang on of a ServerHello: RFC 8446 section 4.1.3."""

    version: int
    random: bytes
    suite: int
    extensions: dict[int, bytes]

    @classmethod
    def read(cls, message: bytes) -> "_ServerHello":
        """Raises IndexError when it is cut."""
        at = 35 + message[34]
        suite = message[at] << 8 | message[at + 1]
        extensions = _extensions(message, at + 3)
        chosen = extensions.get(_EXT_VERSIONS, message[:2])
        return cls(int.from_bytes(chosen, "big"), message[2:34], suite, extensions)


def _client_extensions(message: bytes) -> dict[int, bytes]:
    """The extensions of a ClientHello: RFC 8446 section 4.1.2. Raises IndexError when it is cut."""
    at = 35 + message[34]
    at += 2 + (message[at] << 8 | message[at + 1])
    at += 1 + message[at]
    return _extensions(message, at)


def _extensions(message: bytes, at: int) -> dict[int, bytes]:
    """The extensions of a hello, whose two-byte length stands at `at`; as far as they go."""
    found: dict[int, bytes] = {}
    end = min(len(message), at + 2 + int.from_bytes(message[at : at + 2], "big"))
    at += 2
    while at + 4 <= end:
        size = int.from_bytes(message[at + 2 : at + 4], "big")
        found[int.from_bytes(message[at : at + 2], "big")] = message[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def _server_name(extension: bytes) -> str:
    """RFC 6066 section 3: one name of the type host_name."""
    if len(extension) < 5 or extension[2] != 0:
        return ""
    return extension[5 : 5 + int.from_bytes(extension[3:5], "big")].decode("latin-1")


def _alpn(extensions: dict[int, bytes]) -> str:
    """RFC 7301 section 3.1: the one protocol that the server chose."""
    extension = extensions.get(_EXT_ALPN, b"")
    return extension[3 : 3 + extension[2]].decode("latin-1") if len(extension) > 3 else ""
