"""The protection of TLS records: key schedules and ciphers of TLS 1.0 to 1.3 (RFC 8446 sections 5.2, 7.1 and 7.3,
RFC 5246 sections 5, 6.2.3 and 6.3); which secret belongs to which record is left to `decrypt`.

scapy can decrypt too, but it takes a second to import, fills gaps with zeros, loses its place in reordered captures and
dissects a thousand packets a second; what is needed of TLS here is these few functions over `cryptography`.
"""

import hashlib
import hmac
from typing import TYPE_CHECKING, Protocol

from wsdiag.record import NamedTuple

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

TLS10, TLS11, TLS12, TLS13 = 0x0301, 0x0302, 0x0303, 0x0304
APPLICATION_DATA = 23


class Suite(NamedTuple):
    """What a cipher suite means for records. `mac` is the digest of the CBC suites, empty for AEAD ciphers."""

    cipher: str  # "gcm", "ccm", "ccm8", "chacha", "cbc"
    key_size: int
    prf: str
    mac: str = ""


def _table() -> dict[int, Suite]:
    """The suites by number: https://www.iana.org/assignments/tls-parameters, those with AES and ChaCha20."""
    groups = {
        Suite("gcm", 16, "sha256"): "1301 9c 9e a0 a2 a4 a6 a8 aa ac c02b c02d c02f c031 d001",
        Suite("gcm", 32, "sha384"): "1302 9d 9f a1 a3 a5 a7 a9 ab ad c02c c02e c030 c032 d002",
        Suite("chacha", 32, "sha256"): "1303 cca8 cca9 ccaa ccab ccac ccad ccae",
        Suite("ccm", 16, "sha256"): "1304 c09c c09e c0a4 c0a6 c0ac d005",
        Suite("ccm", 32, "sha256"): "c09d c09f c0a5 c0a7 c0ad",
        Suite("ccm8", 16, "sha256"): "1305 c0a0 c0a2 c0a8 c0aa c0ae d003",
        Suite("ccm8", 32, "sha256"): "c0a1 c0a3 c0a9 c0ab c0af",
        Suite("cbc", 16, "sha256", "sha1"): "2f 30 31 32 33 34 8c 90 94 c004 c009 c00e c013 c018 c01d c01e c01f c035",
        Suite("cbc", 32, "sha256", "sha1"): "35 36 37 38 39 3a 8d 91 95 c005 c00a c00f c014 c019 c020 c021 c022 c036",
        Suite("cbc", 16, "sha256", "sha256"): "3c 3e 3f 40 67 6c ae b2 b6 c023 c025 c027 c029 c037",
        Suite("cbc", 32, "sha256", "sha256"): "3d 68 69 6a 6b 6d",
        Suite("cbc", 32, "sha384", "sha384"): "af b3 b7 c024 c026 c028 c02a c038",
    }
    return {int(number, 16): suite for suite, numbers in groups.items() for number in numbers.split()}


SUITES = _table()


class Protection(Protocol):
    """One direction's keys; each call opens the next record."""

    overhead: int  # bytes of the record's body ahead of what corresponds to the plaintext

    def open(self, kind: int, version: int, body: bytes) -> tuple[int, bytes] | None:
        """The content type and the plaintext; None when the keys do not fit (the place in the row is then kept)."""
        ...


class Protection13:
    """TLS 1.3's protection under one traffic secret: RFC 8446 sections 5.2, 5.3 and 7.3."""

    overhead = 0

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self.suite = suite
        self.secret = secret
        self._aead = _aead(suite, expand_label(secret, "key", suite.key_size, suite.prf))
        self._iv = int.from_bytes(expand_label(secret, "iv", 12, suite.prf), "big")
        self._count = 0

    def open(self, kind: int, version: int, body: bytes) -> tuple[int, bytes] | None:
        """The inner content type and plaintext of a record."""
        nonce = (self._iv ^ self._count).to_bytes(12, "big")
        plain = _decrypt(self._aead, nonce, body, b"\x17\x03\x03" + len(body).to_bytes(2, "big"))
        if plain is None:
            return None
        self._count += 1
        inner = plain.rstrip(b"\0")  # padding: RFC 8446 section 5.4
        return (inner[-1], inner[:-1]) if inner else (APPLICATION_DATA, b"")

    def updated(self) -> "Protection13":
        """The keys after a KeyUpdate: RFC 8446 section 7.2."""
        size = hashlib.new(self.suite.prf).digest_size
        return Protection13(self.suite, expand_label(self.secret, "traffic upd", size, self.suite.prf))


class ProtectionAead:
    """TLS 1.2's protection with an AEAD cipher: RFC 5246 section 6.2.3.3, RFC 5288, RFC 6655, RFC 7905."""

    def __init__(self, suite: Suite, key: bytes, iv: bytes) -> None:
        self._aead = _aead(suite, key)
        self._iv = iv
        self._count = 0
        self.overhead = 0 if suite.cipher == "chacha" else 8
        self._tag = 8 if suite.cipher == "ccm8" else 16

    def open(self, kind: int, version: int, body: bytes) -> tuple[int, bytes] | None:
        """The plaintext of a record."""
        size = len(body) - self.overhead - self._tag
        if size < 0:
            return None
        if self.overhead:
            nonce = self._iv + body[:8]
        else:
            nonce = (int.from_bytes(self._iv, "big") ^ self._count).to_bytes(12, "big")
        plain = _decrypt(self._aead, nonce, body[self.overhead :], _additional(self._count, kind, version, size))
        if plain is None:
            return None
        self._count += 1
        return kind, plain


class ProtectionCbc:
    """TLS 1.0 to 1.2's protection with AES-CBC and an HMAC: RFC 5246 section 6.2.3.2, RFC 2246, RFC 7366."""

    def __init__(self, suite: Suite, version: int, mac_key: bytes, key: bytes, iv: bytes, mac_last: bool) -> None:
        self._digest = suite.mac
        self._mac_size = len(mac_key)
        self._mac_key, self._key = mac_key, key
        self._chained: bytes | None = iv if version == TLS10 else None
        self._mac_last = mac_last  # encrypt-then-MAC
        self._count = 0
        self.overhead = 0 if version == TLS10 else 16

    def open(self, kind: int, version: int, body: bytes) -> tuple[int, bytes] | None:
        """The plaintext of a record; None when its MAC does not fit."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        tag = b""
        if self._mac_last:
            body, tag = body[: -self._mac_size], body[-self._mac_size :]
        iv = self._chained if self._chained is not None else body[:16]
        sealed = body if self._chained is not None else body[16:]
        if not sealed or len(sealed) % 16 or len(iv) != 16:
            return None
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(iv)).decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
        kept = len(plain) - 1 - plain[-1]
        if not self._mac_last:
            kept -= self._mac_size
        if kept < 0:
            return None
        if self._mac_last:
            signed = body
        else:
            tag, signed = plain[kept : kept + self._mac_size], plain[:kept]
        head = _additional(self._count, kind, version, len(signed))
        if not hmac.compare_digest(hmac.digest(self._mac_key, head + signed, self._digest), tag):
            return None
        self._count += 1
        if self._chained is not None:
            self._chained = sealed[-16:]
        return kind, plain[:kept]


def protections12(
    suite: Suite, version: int, master: bytes, client_random: bytes, server_random: bytes, mac_last: bool
) -> tuple[Protection, Protection]:
    """The client's and the server's protection from the master secret: RFC 5246 section 6.3."""
    mac_size = hashlib.new(suite.mac).digest_size if suite.mac else 0
    iv_size = {"cbc": 16, "chacha": 12}.get(suite.cipher, 4)
    sizes = [mac_size, mac_size, suite.key_size, suite.key_size, iv_size, iv_size]
    block = prf(version, suite.prf, master, b"key expansion", server_random + client_random, sum(sizes))
    parts: list[bytes] = []
    for size in sizes:
        parts.append(block[:size])
        block = block[size:]
    sides = (parts[0::2], parts[1::2])
    if suite.cipher == "cbc":
        client, server = (ProtectionCbc(suite, version, mac, key, iv, mac_last) for mac, key, iv in sides)
        return client, server
    return ProtectionAead(suite, *sides[0][1:]), ProtectionAead(suite, *sides[1][1:])


def expand_label(secret: bytes, label: str, size: int, digest: str) -> bytes:
    """HKDF-Expand-Label with an empty context: RFC 8446 section 7.1, RFC 5869 section 2.3."""
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    result = block = b""
    while len(result) < size:
        block = hmac.digest(secret, block + info + bytes([len(result) // hashlib.new(digest).digest_size + 1]), digest)
        result += block
    return result[:size]


def prf(version: int, digest: str, secret: bytes, label: bytes, seed: bytes, size: int) -> bytes:
    """The pseudorandom function of TLS 1.2 (RFC 5246 section 5), or of TLS 1.0 and 1.1 (RFC 2246 section 5)."""
    seed = label + seed
    if version >= TLS12:
        return _p_hash(digest, secret, seed, size)
    half = (len(secret) + 1) // 2
    first, second = _p_hash("md5", secret[:half], seed, size), _p_hash("sha1", secret[-half:], seed, size)
    return bytes(one ^ other for one, other in zip(first, second, strict=True))


def _p_hash(digest: str, secret: bytes, seed: bytes, size: int) -> bytes:
    result, chain = b"", seed
    while len(result) < size:
        chain = hmac.digest(secret, chain, digest)
        result += hmac.digest(secret, chain + seed, digest)
    return result[:size]


def _additional(count: int, kind: int, version: int, size: int) -> bytes:
    return count.to_bytes(8, "big") + bytes([kind]) + version.to_bytes(2, "big") + size.to_bytes(2, "big")


def _aead(suite: Suite, key: bytes) -> "AESGCM | AESCCM | ChaCha20Poly1305":
    from cryptography.hazmat.primitives.ciphers import aead

    if suite.cipher == "gcm":
        return aead.AESGCM(key)
    if suite.cipher == "chacha":
        return aead.ChaCha20Poly1305(key)
    return aead.AESCCM(key, tag_length=8 if suite.cipher == "ccm8" else 16)


def _decrypt(
    cipher: "AESGCM | AESCCM | ChaCha20Poly1305", nonce: bytes, data: bytes, additional: bytes
) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(nonce, data, additional)
    except (InvalidTag, ValueError):
        return None
