"""Packets from a Linux packet socket: AF_PACKET with the kernel's filter and its ring of blocks (packet(7),
Documentation/networking/packet_mmap.rst); what the packets mean, signals and privileges are left to others.

The ring is why no packet is lost: it is filled while Python is busy, needs no system call for each packet,
brings the kernel's own time stamps and, unlike a large receive buffer, no privilege beyond CAP_NET_RAW.
"""

import errno
import mmap
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from wsdiag.intake.bpf import ETHERNET, RAW_IP, tcp_filter
from wsdiag.model import WsdiagError

# linux/if_packet.h and asm-generic/socket.h; Python's socket module names none of them.
_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_IGNORE_OUTGOING = 5, 6, 10, 23
_TPACKET_V3 = 2
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_ETH_P_ALL = 0x0003
_USER = 1  # TP_STATUS_USER: the block is ours
_ARPHRD_ETHERNET, _ARPHRD_LOOPBACK = 1, 772
_IFF_UP = 1

BLOCK = 1 << 20  # holds at least 15 of the largest packets (64 KiB, offloaded segments on lo)
BLOCKS = 32  # one second of 20,000 full-size packets
FEWEST_BLOCKS = 4
RETIRE_MS = 50  # a block is handed over after this time although it is not full: what a live table may lag
RECEIVE_BUFFER = 32 << 20  # the same room for a socket without ring

_BLOCK_HEAD = struct.Struct("=8xIII")  # status, packets, offset of the first
_PACKET_HEAD = struct.Struct("=IIIII4xH")  # next, seconds, nanoseconds, length here, length on the wire, data offset
_STATISTICS = struct.Struct("=II")  # packets, dropped (a third counter, queue freezes, follows for a ring)

Raw = tuple[int, int, bytes, int]  # seconds, nanoseconds, bytes, size on the wire


class PacketSocket:
    """An open packet socket on one interface (`None`: on all of them).

    `link` is the link type of what it yields. Ethernet and loopback interfaces give Ethernet frames; from any other
    (tun, ppp, tunnels, "any") the kernel takes the link header off, which gives raw IP.
    """

    def __init__(self, interface: str | None, ports: tuple[int, ...]) -> None:
        """Open it. Raises PermissionError without CAP_NET_RAW, OSError for what else the system refuses."""
        self.interface = interface or "any"
        framed = interface is not None and _hardware(interface) in (_ARPHRD_ETHERNET, _ARPHRD_LOOPBACK)
        self.link = ETHERNET if framed else RAW_IP
        # Protocol 0 receives nothing until bind: no packet comes in ahead of the filter. Python cannot bind to all
        # interfaces; there the ring, when it is made, throws away what came in first.
        protocol = 0 if interface is not None else socket.htons(_ETH_P_ALL)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW if framed else socket.SOCK_DGRAM, protocol)
        try:
            self._attach(ports)
            if interface is not None and _hardware(interface) == _ARPHRD_LOOPBACK:
                self._try_option(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)  # saves the copy that the filter would drop
            self._ring = self._map_ring()
            if self._ring is None:
                if not self._try_option(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER):
                    self._try_option(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                self._try_option(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            if interface is not None:
                self._socket.bind((interface, _ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)
        self._next = 0  # the block that the kernel fills next
        self._dropped = 0

    def read(self, timeout: float) -> Iterator[Raw]:
        """The packets that are there, after waiting at most `timeout` seconds for the first.

        Raises OSError when the interface goes away.
        """
        if self._ring is None:
            yield from self._receive(timeout)
            return
        ring = self._ring
        if not ring[self._next * BLOCK + 8] & _USER:
            for _, event in self._poll.poll(timeout * 1000):
                if event & select.POLLERR:
                    self._raise_error()
        unpack = _PACKET_HEAD.unpack_from
        for _ in range(self._blocks):
            base = self._next * BLOCK
            status, packets, first = _BLOCK_HEAD.unpack_from(ring, base)
            if not status & _USER:
                break
            at = base + first
            for _ in range(packets):
                step, seconds, nanoseconds, here, size, data = unpack(ring, at)
                yield seconds, nanoseconds, ring[at + data : at + data + here], size
                at += step
            struct.pack_into("=I", ring, base + 8, 0)
            self._next = (self._next + 1) % self._blocks

    def dropped(self) -> int:
        """How many packets the kernel had no room for since the socket was opened. Reading resets its counter."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        self._dropped += int(_STATISTICS.unpack_from(raw)[1])
        return self._dropped

    def close(self) -> None:
        """Close the socket and give the ring back."""
        self._socket.close()
        if self._ring is not None:
            self._ring.close()

    def _attach(self, ports: tuple[int, ...]) -> None:
        """Hand the filter to the kernel: struct sock_fprog holds a length and a pointer."""
        import ctypes

        program = tcp_filter(ports, self.link, loopback=_loopback_index())
        code = b"".join(struct.pack("=HBBI", *each) for each in program)
        held = ctypes.create_string_buffer(code, len(code))
        option = struct.pack("@HP", len(program), ctypes.addressof(held))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)

    def _map_ring(self) -> mmap.mmap | None:
        """Ask for a TPACKET_V3 ring, a smaller one where memory is short; None where there are none (gVisor, WSL 1)."""
        if not self._try_option(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3):
            return None
        self._blocks = BLOCKS
        while self._blocks >= FEWEST_BLOCKS:
            frame = 2048  # only its product with the count matters to version 3
            size = self._blocks * BLOCK
            request = struct.pack("=7I", BLOCK, self._blocks, frame, size // frame, RETIRE_MS, 0, 0)
            try:
                self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
                return mmap.mmap(self._socket.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    return None
            self._blocks //= 2
        return None

    def _receive(self, timeout: float) -> Iterator[Raw]:
        """The same without a ring: one call for each packet, for the time stamp."""
        if not self._poll.poll(timeout * 1000):
            return
        buffer = bytearray(1 << 18)
        view = memoryview(buffer)
        for _ in range(4096):  # come back now and then: signals and ticks are looked after between two reads
            try:
                size, extra, _, _ = self._socket.recvmsg_into(
                    [buffer], socket.CMSG_SPACE(16), socket.MSG_DONTWAIT | socket.MSG_TRUNC
                )
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("@ll", extra[0][2][:16]) if extra else _now()
            yield seconds, nanoseconds, bytes(view[: min(size, len(buffer))]), size

    def _try_option(self, level: int, option: int, value: int) -> bool:
        try:
            self._socket.setsockopt(level, option, value)
        except OSError:
            return False
        return True

    def _raise_error(self) -> None:
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, errno.errorcode.get(code, ""))


def open_packet_socket(interface: str | None, ports: tuple[int, ...]) -> PacketSocket:
    """Open a packet socket on an interface that exists and is up; else a WsdiagError names what is wrong."""
    if interface == "any":
        interface = None
    if interface is not None:
        names = [name for _, name in socket.if_nameindex()]
        if interface not in names:
            raise WsdiagError("unknown-interface", interface=interface, available=", ".join(names))
    try:
        opened = PacketSocket(interface, ports)
    except PermissionError:
        raise
    except OSError as error:
        raise WsdiagError("capture-failed", interface=interface or "any", detail=str(error)) from error
    if interface is not None and not _is_up(interface):
        opened.close()
        raise WsdiagError("interface-down", interface=interface)
    return opened


def _hardware(interface: str) -> int:
    """The ARPHRD number of an interface; 0 when it cannot be told."""
    try:
        return int(Path("/sys/class/net", interface, "type").read_text())
    except (OSError, ValueError):
        return _ARPHRD_LOOPBACK if interface == "lo" else 0


def _is_up(interface: str) -> bool:
    try:
        return bool(int(Path("/sys/class/net", interface, "flags").read_text(), 16) & _IFF_UP)
    except (OSError, ValueError):
        return True


def _loopback_index() -> int | None:
    for index, name in socket.if_nameindex():
        if _hardware(name) == _ARPHRD_LOOPBACK:
            return index
    return None


def _now() -> tuple[int, int]:
    import time

    return divmod(time.time_ns(), 10**9)
