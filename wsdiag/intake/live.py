"""Capturing from an interface until somebody or a bound ends it; what the packets mean is left to the flow engine.

Linux has its own packet socket (`ring`); macOS, the BSDs and Windows use scapy's, of which only raw bytes are taken.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Literal, Protocol, TypeAlias

from wsdiag.intake.privileges import drop_privileges, unprivileged_user, ways_out
from wsdiag.intake.save import PcapWriter, create
from wsdiag.model import WsdiagError
from wsdiag.record import NamedTuple

TICK = 0.2  # seconds: how often the caller hears of the time, and how late a signal may be noticed
LINGER = 0.12  # seconds to wait for the kernel's last, half-full block once the end is near
LINK_NAMES = {0: "null", 1: "ethernet", 9: "ppp", 101: "raw", 108: "loop", 113: "sll", 276: "sll2"}

Deliver: TypeAlias = Callable[[float, bytes, int], object]
Ended: TypeAlias = Literal["interrupted", "duration", "count", "interface-gone"]


class LiveSummary(NamedTuple):
    """Counts of a live capture: packets and bytes that passed the filter, and how many the kernel had no room for."""

    packets: int
    bytes: int
    dropped: int
    truncated: bool
    link: str
    ended: Ended
    interface: str


class Source(Protocol):
    """What packets are read from."""

    link: int
    interface: str

    def read(self, timeout: float) -> Iterator[tuple[int, int, bytes, int]]:
        """The packets that are there: seconds, nanoseconds, bytes, size on the wire."""
        ...

    def dropped(self) -> int:
        """Packets lost so far."""
        ...

    def close(self) -> None:
        """Stop capturing."""
        ...


class Live:
    """An open capture. Use it as a context manager; `run` may be called once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.link = source.link
        self.interface = source.interface
        self.user: str | None = None  # whom the process became
        self.root_kept = False  # it could not give up root, as the package would have been out of reach

    def __enter__(self) -> "Live":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def secure(self, path: str | None = None) -> PcapWriter | None:
        """Give up root, and open the file to save to, in the order that gives it the right owner.

        With sudo it is made by the user who called, afterwards; for a root login by root, before. Whatever else needs
        root (a key log, an output file) is opened ahead of this call.
        """
        user = unprivileged_user()
        later = user is not None and user.invoking
        writer = create(path, self.link) if path is not None and not later else None
        self.user = drop_privileges(user)
        self.root_kept = user is not None and self.user is None
        return create(path, self.link) if path is not None and later else writer

    def run(
        self,
        deliver: Deliver,
        *,
        tick: Callable[[float], object] | None = None,
        save: PcapWriter | None = None,
        duration: float | None = None,
        count: int | None = None,
    ) -> LiveSummary:
        """Hand each packet to `deliver(time, data, size)` until `duration` seconds, `count` packets, Ctrl-C or SIGTERM.

        `tick(now)` is called every TICK seconds, also when nothing comes. A
        second Ctrl-C interrupts as usual.
        """
        source = self._source
        packets = total = 0
        truncated = False
        ended: Ended | None = None
        deadline = None if duration is None else time.monotonic() + duration
        next_tick = time.monotonic() + TICK
        with _Signals() as signals:
            while True:
                now = time.monotonic()
                if ended is None and (signals.caught or (deadline is not None and now >= deadline)):
                    ended = "interrupted" if signals.caught else "duration"
                    stop_at = now + LINGER
                if ended is not None and now >= stop_at:
                    break
                wait = LINGER if ended else TICK if deadline is None else max(0.0, min(TICK, deadline - now))
                try:
                    for seconds, nanoseconds, data, size in source.read(wait):
                        packets += 1
                        total += size
                        if size != len(data):
                            truncated = True
                        if save is not None:
                            save.packet(seconds, nanoseconds, data, size)
                        deliver(seconds + nanoseconds * 1e-9, data, size)
                        if packets == count:
                            break
                except OSError as error:
                    if isinstance(error, BrokenPipeError):
                        raise
                    ended = "interface-gone"
                    break
                if packets == count:
                    ended = "count"
                    break
                if tick is not None and time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + TICK
                    tick(time.time())
                    if save is not None:
                        save.flush()
        name = LINK_NAMES.get(self.link, str(self.link))
        return LiveSummary(packets, total, source.dropped(), truncated, name, ended, self.interface)


def open_live(interface: str | None = None, ports: tuple[int, ...] = ()) -> Live:
    """Open an interface (None: all of them where the system can, else the default one) for TCP on these ports.

    Raises WsdiagError: "no-capture-privilege" (with the ways out as values), "unknown-interface", "interface-down",
    "capture-failed".
    """
    try:
        if sys.platform == "linux":
            from wsdiag.intake.ring import open_packet_socket

            return Live(open_packet_socket(interface, ports))
        from wsdiag.intake.foreign import open_scapy_socket

        return Live(open_scapy_socket(interface, ports))
    except PermissionError as error:
        raise WsdiagError("no-capture-privilege", **ways_out(ports, interface)) from error


class _Signals:
    """Ctrl-C and SIGTERM set a flag, once; a second one does what it did before."""

    def __init__(self) -> None:
        self.caught = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = True
        self.__exit__()
