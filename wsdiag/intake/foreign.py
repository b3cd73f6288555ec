"""Packets from scapy's listening sockets, for macOS, the BSDs and Windows; of scapy only the sockets are used, never
its dissection, which would cost a hundred times the capture. Linux has its own socket in `ring`.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from wsdiag.model import WsdiagError

BUFFER = 1 << 20  # scapy's default of 64 KiB loses packets in every burst
BATCH = 4096  # packets between two looks at the clock and the signals
_BSD_RAW = (12, 14)  # DLT_RAW as the BSDs number it; capture files say 101
_RAW_IP = 101
_ETHERNET = 1
# BPF hands over a buffer of packets, which scapy takes apart by recursion: one level for each packet in it.
_RECURSION = 4000


class ScapySocket:
    """A listening socket of scapy's as a source of raw packets."""

    def __init__(self, listening: Any, interface: str, link: int) -> None:
        self.interface = interface
        self.link = link
        self._socket = listening

    def read(self, timeout: float) -> Iterator[tuple[int, int, bytes, int]]:
        """The packets that are there, after waiting at most `timeout` seconds for the first."""
        for _ in range(BATCH):
            if not self._socket.select([self._socket], timeout):
                return
            timeout = 0.0
            _, data, when = self._socket.recv_raw()
            if data is None:
                continue
            seconds, fraction = divmod(float(when), 1.0)
            yield int(seconds), int(fraction * 1e9), data, len(data)

    def dropped(self) -> int:
        """Packets lost so far, where scapy can tell (BPF)."""
        statistics = getattr(self._socket, "get_stats", None)
        lost = statistics()[1] if statistics is not None else 0
        return int(lost or 0)

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()


def open_scapy_socket(interface: str | None, ports: tuple[int, ...]) -> ScapySocket:
    """Open scapy's listening socket on an interface, or on the default one."""
    import logging

    logging.getLogger("scapy").setLevel(logging.CRITICAL)  # its warnings would be printed into the report
    import scapy.arch  # noqa: F401 (first: it settles which sockets this system has)
    from scapy.config import conf
    from scapy.error import Scapy_Exception

    sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION))
    conf.bufsize = BUFFER
    name = interface or str(conf.iface)
    if interface is not None and not any(_is_named(each, interface) for each in conf.ifaces.values()):
        raise WsdiagError("unknown-interface", interface=interface, available=_names(conf.ifaces.values()))
    plain = " or ".join(f"tcp port {port}" for port in ports) or "tcp"
    failures = (Scapy_Exception, OSError, RuntimeError, ValueError)
    try:
        try:
            listening = conf.L2listen(iface=name, filter=f"({plain}) or (vlan and ({plain}))")
        except failures as error:
            if _forbidden(error):
                raise
            listening = conf.L2listen(iface=name, filter=plain)  # loopback and tunnels know no VLAN
    except failures as error:
        if _forbidden(error):
            raise PermissionError(str(error)) from error
        raise WsdiagError("capture-failed", interface=name, detail=str(error)) from error
    return ScapySocket(listening, name, _link(listening, conf))


def _forbidden(error: Exception) -> bool:
    """scapy tells a missing privilege in words, where the system raised it."""
    told = str(error).lower()
    return isinstance(error, PermissionError) or "permission denied" in told or "not permitted" in told


def _names(known: Iterable[Any]) -> str:
    return ", ".join(str(getattr(each, "name", each)) for each in known)


def _is_named(known: Any, wanted: str) -> bool:
    """Windows interfaces have a GUID, a name and a description; any of them will do."""
    return wanted in {str(known), *(getattr(known, part, None) for part in ("name", "network_name", "description"))}


def _link(listening: Any, conf: Any) -> int:
    """The link type of a socket, by the layer that scapy would dissect its packets with."""
    layer = getattr(listening, "guessed_cls", None) or getattr(listening, "LL", None)
    number = conf.l2types.layer2num.get(layer, _ETHERNET) if layer is not None else _ETHERNET
    return _RAW_IP if number in _BSD_RAW else int(number)
