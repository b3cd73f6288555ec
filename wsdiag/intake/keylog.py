"""TLS key logs (SSLKEYLOGFILE; RFC 9850): the secrets by connection; using them is left to `decrypt`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import BinaryIO

LABELS = frozenset(
    {
        "CLIENT_RANDOM",  # TLS 1.2 and older: the master secret
        "CLIENT_EARLY_TRAFFIC_SECRET",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    }
)
MAX_SECRETS = 1_000_000  # a browser left alone for months writes some 100,000 lines; more is not a key log
MAX_LINE = 4096  # a line is 200 to 300 characters long

_NOTHING: Mapping[str, bytes] = MappingProxyType({})


class KeyLog:
    """Secrets of TLS connections, by the client's random value and the label of the line."""

    __slots__ = ("_file", "_rest", "_secrets", "unreadable")

    def __init__(self, file: BinaryIO | None = None) -> None:
        """`file`: a key log that may still be growing; it is read on whenever a connection's secrets are missing."""
        self._secrets: dict[bytes, dict[str, bytes]] = {}
        self.unreadable = 0  # lines that are neither a secret, nor a comment, nor empty
        self._file = file
        self._rest = b""  # the beginning of a line whose end is not written yet

    def __len__(self) -> int:
        """How many connections have a secret."""
        return len(self._secrets)

    @classmethod
    def parse(cls, data: bytes) -> "KeyLog":
        """Read the bytes of a key log file, or of a pcapng Decryption Secrets Block."""
        keys = cls()
        keys.add(data)
        return keys

    def add(self, data: bytes) -> None:
        """Read more lines, of another file or block."""
        for line in data.replace(b"\r", b"\n").split(b"\n"):
            words = line.split()
            if not words or words[0].startswith(b"#"):
                continue
            try:
                label, random, secret = words[0].decode("ascii"), bytes.fromhex(_hex(words[1])), _hex(words[2])
                known = bytes.fromhex(secret)
            except (IndexError, ValueError):
                self.unreadable += 1
                continue
            if label in LABELS and len(random) == 32 and known and len(self._secrets) < MAX_SECRETS:
                self._secrets.setdefault(random, {})[label] = known

    def secrets(self, random: bytes) -> Mapping[str, bytes]:
        """The secrets of the connection whose ClientHello has this random value, by label."""
        if random not in self._secrets and self._file is not None:
            self._read_on()
        return self._secrets.get(random, _NOTHING)

    def _read_on(self) -> None:
        assert self._file is not None
        lines = self._rest + self._file.read()
        end = lines.rfind(b"\n") + 1
        self._rest = lines[end:][-MAX_LINE:]
        self.add(lines[:end])


def looks_like_key_log(data: bytes) -> bool:
    """True when the first lines that are no comments are those of a key log."""
    for line in data[:65536].splitlines():
        words = line.split()
        if words and not words[0].startswith(b"#"):
            return len(words) == 3 and words[0].decode("latin-1") in LABELS | {"EXPORTER_SECRET", "RSA", "ECH_SECRET"}
    return False


def _hex(word: bytes) -> str:
    return word.decode("ascii")
