"""Both legs of a proxied connection, found by the Sec-WebSocket-Key that a proxy passes on.

What the difference between the legs means is left to the rules.
"""

import re
from collections import OrderedDict

from wsdiag.intake.flow import Flow
from wsdiag.model import Pairing
from wsdiag.record import NamedTuple

MAX_KEYS = 1024  # keys that wait for their other leg; it begins within the first one's life
MAX_PAIRINGS = 1000  # pairs that are remembered: more of them repeat each other
_KEY = re.compile(rb"\nsec-websocket-key[ \t]*:[ \t]*([^\r\n]{8,64}?)[ \t]*\r?\n", re.IGNORECASE)
_NAME = re.compile(rb"\n([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:")


class _Leg(NamedTuple):
    id: int
    first: int
    last: int
    server: bytes
    head: bytes


class Pairs:
    """Remembers the keys of finished connections within bounds; `found` are the pairs."""

    __slots__ = ("_waiting", "found")

    def __init__(self) -> None:
        self.found: list[Pairing] = []
        self._waiting: OrderedDict[bytes, _Leg] = OrderedDict()

    def see(self, flow: Flow) -> None:
        """A connection ended; its id is set."""
        data = flow.client.kept
        if not data or len(self.found) >= MAX_PAIRINGS:
            return
        at = data.find(b"\nSec-WebSocket-Key: ")  # as nearly everybody writes it
        if at >= 0:
            at += 20
            key = bytes(data[at : data.find(b"\r", at)])
        else:
            match = _KEY.search(data)
            if match is None:
                return
            key = match[1]
        if not 8 <= len(key) <= 64:
            return
        half = (len(flow.key) - 4) // 2
        leg = _Leg(
            flow.id,
            flow.first_number,
            max(flow.client.number, flow.server.number),
            flow.key[half : 2 * half] + flow.key[-2:],
            bytes(data[:4096]),
        )
        other = self._waiting.get(key)
        if other is not None and other.server != leg.server:
            outer, inner = (other, leg) if other.first < leg.first else (leg, other)
            if inner.first <= outer.last:
                before, after = header_names(outer.head[:4096]), header_names(inner.head[:4096])
                self.found.append(
                    Pairing(
                        key.decode("latin-1"),
                        outer.id,
                        inner.id,
                        tuple(name for name in before if name not in after),
                        tuple(name for name in after if name not in before),
                    )
                )
        self._waiting[key] = leg
        if len(self._waiting) > MAX_KEYS:
            self._waiting.popitem(last=False)


def header_names(head: bytes) -> list[str]:
    """The names of the header fields of the last request in these bytes, in lower case, each once."""
    start = max(head.rfind(b" HTTP/1."), 0)
    stop = head.find(b"\r\n\r\n", start)
    names = _NAME.findall(head, start, stop + 1 if stop >= 0 else len(head))
    return list(dict.fromkeys(name.decode("latin-1").lower() for name in names))
