"""Live capture: on lo where the tests may (CAP_NET_RAW), and with sources that are made up."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from wsdiag.intake import privileges
from wsdiag.intake.live import Live, open_live
from wsdiag.intake.save import create
from wsdiag.model import WsdiagError

ROOT = Path(__file__).resolve().parents[1]


def may_capture() -> bool:
    """True when a packet socket can be opened here."""
    if sys.platform != "linux":
        return False
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


live_only = pytest.mark.skipif(not may_capture(), reason="needs CAP_NET_RAW on Linux")
root_only = pytest.mark.skipif(not (may_capture() and os.geteuid() == 0), reason="needs root on Linux to give it up")


class Made:
    """A source that hands out batches that were made up."""

    link = 1
    interface = "made0"

    def __init__(self, *batches: list[bytes], error: OSError | None = None, forever: bool = False) -> None:
        self.batches = list(batches)
        self.error = error
        self.forever = forever
        self.closed = False

    def read(self, timeout: float) -> Iterator[tuple[int, int, bytes, int]]:
        """The next batch; then nothing, for as long as is waited."""
        if self.batches:
            for data in self.batches.pop(0) if not self.forever else self.batches[0]:
                yield 10, 500_000_000, data, len(data)
        elif self.error is not None:
            raise self.error
        else:
            time.sleep(timeout)

    def dropped(self) -> int:
        """Some were lost."""
        return 3

    def close(self) -> None:
        """Remember it."""
        self.closed = True


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_packets_reach_the_caller_and_are_counted() -> None:
    got: list[tuple[float, bytes, int]] = []
    source = Made([b"one", b"three"], [b"x"])
    with Live(source) as live:
        summary = live.run(lambda *packet: got.append(packet), duration=0.01)
    assert got == [(10.5, b"one", 3), (10.5, b"three", 5), (10.5, b"x", 1)]
    assert (summary.packets, summary.bytes, summary.dropped, summary.ended) == (3, 9, 3, "duration")
    assert (summary.link, summary.interface, summary.truncated) == ("ethernet", "made0", False)
    assert source.closed


def test_count_ends_in_the_middle_of_a_batch() -> None:
    got: list[bytes] = []
    summary = Live(Made([b"a", b"b", b"c"])).run(lambda time, data, size: got.append(data), count=2)
    assert (got, summary.packets, summary.ended) == ([b"a", b"b"], 2, "count")


def test_an_interface_that_goes_away_ends_the_capture() -> None:
    summary = Live(Made([b"a"], error=OSError(100, "Network is down"))).run(lambda *packet: None)
    assert (summary.packets, summary.ended) == (1, "interface-gone")


def test_what_the_caller_raises_is_the_callers() -> None:
    def fail(time: float, data: bytes, size: int) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        Live(Made([b"a"])).run(fail)


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    writer = create("/dev/full", 1)
    live = Live(Made([b"a" * 100_000]))
    with pytest.raises(WsdiagError) as caught:
        live.run(lambda *packet: None, save=writer, duration=0.5)
    assert caught.value.name == "cannot-write"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_even_in_a_flood(number: int) -> None:
    before = signal.getsignal(number)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
    timer.start()
    summary = Live(Made([b"a"] * 100, forever=True)).run(lambda *packet: None)
    timer.join()
    assert summary.ended == "interrupted"
    assert signal.getsignal(number) is before


def test_ticks_come_without_packets() -> None:
    ticks: list[float] = []
    Live(Made()).run(lambda *packet: None, tick=ticks.append, duration=0.5)
    assert ticks
    assert abs(ticks[0] - time.time()) < 60


# --- what cannot be opened --------------------------------------------------------------------------------------------


def test_without_the_privilege_there_are_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(WsdiagError) as caught:
        open_live("lo", (2346, 80))
    assert caught.value.name == "no-capture-privilege"
    values = caught.value.values
    expected = "sudo tcpdump -i lo -U -w - 'tcp port 2346 or tcp port 80' | wsdiag sniff -p 2346 -p 80 -r -"
    assert values["command"] == expected
    assert values["sudo"] == "sudo wsdiag sniff -p 2346 -p 80 -i lo"
    assert str(values["setcap"]).startswith("sudo setcap cap_net_raw+ep /")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's packet socket")
def test_an_unknown_interface_names_those_there_are() -> None:
    with pytest.raises(WsdiagError) as caught:
        open_live("nope0")
    assert caught.value.name == "unknown-interface"
    assert "lo" in str(caught.value.values["available"]).split(", ")


@live_only
def test_an_interface_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsdiag.intake import ring

    monkeypatch.setattr(ring, "_is_up", lambda name: False)
    with pytest.raises(WsdiagError) as caught:
        open_live("lo")
    assert (caught.value.name, caught.value.values) == ("interface-down", {"interface": "lo"})


# --- on lo ------------------------------------------------------------------------------------------------------------


def talk(host: str, reply: bytes = b"world") -> int:
    """One TCP connection on lo; gives the server's port. Nothing is in flight any more when it returns."""
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port: int = listener.getsockname()[1]
    return_port.append(port)
    started.wait(5)
    client = socket.create_connection((host, port))
    server, _ = listener.accept()
    client.sendall(b"hello")
    server.recv(5)
    server.sendall(reply)
    received = 0
    while received < len(reply):
        received += len(client.recv(1 << 20))
    for each in (client, server, listener):
        each.close()
    return port


return_port: list[int] = []
started = threading.Event()


def captured(interface: str | None, host: str, *, ring: bool = True) -> tuple[int, list[tuple[float, bytes, int]], int]:
    """Capture a conversation on lo: the port, the packets and the losses."""
    return_port.clear()
    started.clear()
    talking = threading.Thread(target=talk, args=(host, b"x" * 200_000))
    talking.start()
    while not return_port:
        time.sleep(0.005)
    packets: list[tuple[float, bytes, int]] = []
    with open_live(interface, (return_port[0],)) as live:
        link = live.link
        started.set()
        summary = live.run(lambda *packet: packets.append(packet), duration=0.5)
    talking.join()
    assert summary.dropped == 0
    assert summary.packets == len(packets)
    return return_port[0], packets, link


def segments(packets: list[tuple[float, bytes, int]], link: int) -> list[tuple[int, int, int, str, int]]:
    """What tells TCP segments apart, of each packet."""
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6

    found = []
    for _, data, _ in packets:
        packet = Ether(data) if link == 1 else IPv6(data) if data[0] >> 4 == 6 else IP(data)
        tcp = packet[TCP]
        found.append((tcp.sport, tcp.seq, tcp.ack, str(tcp.flags), len(tcp.payload)))
    return found


@live_only
@pytest.mark.parametrize("ring", [True, False], ids=["ring", "without ring"])
@pytest.mark.parametrize(("interface", "host"), [("lo", "127.0.0.1"), ("lo", "::1"), (None, "127.0.0.1")])
def test_each_packet_on_lo_is_seen_once(
    interface: str | None, host: str, ring: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ring:
        from wsdiag.intake.ring import PacketSocket

        monkeypatch.setattr(PacketSocket, "_map_ring", lambda self: None)
    before = time.time()
    port, packets, link = captured(interface, host)
    assert link == (101 if interface is None else 1)
    seen = segments(packets, link)
    assert len(set(seen)) == len(seen)
    sent = {side: sum(size for sport, *_, size in seen if (sport == port) == side) for side in (False, True)}
    assert sent == {False: 5, True: 200_000}
    flags = "".join(each[3] for each in seen)
    assert (flags.count("S"), flags.count("F")) == (2, 2)
    times = [stamp for stamp, _, _ in packets]
    assert times == sorted(times)
    assert before - 1 < times[0] < time.time() + 1


@live_only
def test_other_ports_stay_in_the_kernel() -> None:
    got: list[bytes] = []
    started.set()
    with open_live("lo", (1,)) as live:
        threading.Timer(0.1, talk, ("127.0.0.1",)).start()
        live.run(lambda time, data, size: got.append(data), duration=0.4)
    assert got == []


@live_only
def test_a_websocket_between_real_programs(tmp_path: Path) -> None:
    """The library `websockets` at both ends; what was saved holds the handshake, each packet once."""
    from websockets.sync.client import connect
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    path = tmp_path / "out.pcap"
    with serve(echo, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.socket.getsockname()[1]

        def converse() -> None:
            time.sleep(0.1)
            with connect(f"ws://127.0.0.1:{port}/chat") as connection:
                connection.send("hello")
                connection.recv()

        talking = threading.Thread(target=converse)
        packets: list[tuple[float, bytes, int]] = []
        with open_live("lo", (port,)) as live, create(str(path), live.link) as writer:
            talking.start()
            live.run(lambda *packet: packets.append(packet), save=writer, duration=0.8)
        talking.join()
        server.shutdown()
    whole = b"".join(data for _, data, _ in packets)
    assert whole.count(b"GET /chat HTTP/1.1\r\n") == 1
    assert whole.count(b"HTTP/1.1 101 ") == 1
    seen = segments(packets, 1)
    assert len(set(seen)) == len(seen)
    from scapy.utils import RawPcapReader

    assert [data for data, _ in RawPcapReader(str(path))] == [data for _, data, _ in packets]


# --- scapy's sockets, on other systems --------------------------------------------------------------------------------


class Listening:
    """A socket as scapy makes them on macOS (BPF): raw packets, a layer for the link type, statistics."""

    def __init__(self, **options: object) -> None:
        from scapy.packet import Packet

        self.options = options
        self.packets: list[tuple[type[Packet], bytes | None, float | None]] = [
            (Ether, b"first", 1.5),
            (Ether, None, None),
            (Ether, b"second", 2.25),
        ]
        self.guessed_cls = Ether
        self.closed = False

    def select(self, sockets: list[object], remain: float) -> list[object]:
        return sockets if self.packets else []

    def recv_raw(self) -> tuple[object, bytes | None, float | None]:
        return self.packets.pop(0)

    def get_stats(self) -> tuple[int, int]:
        return 10, 4

    def close(self) -> None:
        self.closed = True


def test_packets_come_from_scapys_sockets_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from scapy.config import conf

    made: list[Listening] = []
    monkeypatch.setattr(conf, "L2listen", lambda **options: made.append(Listening(**options)) or made[-1])
    monkeypatch.setattr(sys, "platform", "darwin")
    got: list[tuple[float, bytes, int]] = []
    with open_live("lo", (2346, 80)) as live:
        summary = live.run(lambda *packet: got.append(packet), count=2)
    (listening,) = made
    ports = "tcp port 2346 or tcp port 80"
    assert listening.options == {"iface": "lo", "filter": f"({ports}) or (vlan and ({ports}))"}
    assert got == [(1.5, b"first", 5), (2.25, b"second", 6)]
    assert (summary.link, summary.dropped, summary.interface) == ("ethernet", 4, "lo")
    assert listening.closed


def test_an_interface_without_vlan_gets_the_plain_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """libpcap compiles no "vlan" for macOS's loopback (DLT_NULL)."""
    from scapy.config import conf
    from scapy.error import Scapy_Exception

    filters: list[object] = []

    def listen(**options: object) -> Listening:
        filters.append(options["filter"])
        if "vlan" in str(options["filter"]):
            raise Scapy_Exception("Cannot set filter: Failed to compile filter expression (no VLAN support for NULL)")
        return Listening(**options)

    monkeypatch.setattr(conf, "L2listen", listen)
    monkeypatch.setattr(sys, "platform", "darwin")
    open_live("lo", (2346,)).__exit__(None, None, None)
    assert filters[1:] == ["tcp port 2346"]


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (
            "Permission denied: could not open /dev/bpf0. Make sure to be running Scapy as root !",
            "no-capture-privilege",
        ),
        ("Cannot set filter: libpcap is not available. Cannot compile filter !", "capture-failed"),
    ],
)
def test_what_scapy_cannot_open_is_told(message: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scapy.config import conf
    from scapy.error import Scapy_Exception

    def refuse(**options: object) -> Listening:
        raise Scapy_Exception(message)

    monkeypatch.setattr(conf, "L2listen", refuse)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(WsdiagError) as caught:
        open_live("lo", (2346,))
    assert caught.value.name == name


def test_an_interface_that_scapy_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(WsdiagError) as caught:
        open_live("nope0", (2346,))
    assert caught.value.name == "unknown-interface"


# --- privileges -------------------------------------------------------------------------------------------------------

DROP = """
import os, sys, threading, socket
from wsdiag.intake import privileges
from wsdiag.intake.live import open_live
if sys.argv[2] == "readable":
    privileges._readable_by = lambda user: True
with open_live("lo", (9,)) as live:
    writer = live.secure(sys.argv[1] or None)
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        again = "yes"
    except PermissionError:
        again = "no"
    threading.Timer(0.05, lambda: socket.socket().connect_ex(("127.0.0.1", 9))).start()
    summary = live.run(lambda *packet: None, save=writer, count=2)
    writer.close()
print(os.getuid(), os.geteuid(), os.getgid(), len(os.getgroups()), again, summary.packets)
"""


def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> tuple[list[str], os.stat_result]:
    """Capture in a process of its own that gives up root; what it had become, and the file that it wrote."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    for each in (tmp_path, *tmp_path.parents[:-1]):
        if each.owner() == "root" and not each.stat().st_mode & 1 and str(each).startswith("/tmp/"):
            each.chmod(each.stat().st_mode | 0o111)
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)
    path = folder / "out.pcap"
    result = subprocess.run(
        [sys.executable, "-c", DROP, str(path), "readable"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split(), path.stat()


@root_only
def test_a_root_login_becomes_nobody_and_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    words, file = dropped(tmp_path, monkeypatch)
    assert words == [str(nobody.pw_uid), str(nobody.pw_uid), str(nobody.pw_gid), "0", "no", "2"]
    assert file.st_uid == 0
    assert file.st_size > 24


@root_only
def test_sudo_becomes_the_user_who_called_and_owns_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, file = dropped(tmp_path, monkeypatch, SUDO_UID="12345", SUDO_GID="23456")
    assert words == ["12345", "12345", "23456", "0", "no", "2"]
    assert (file.st_uid, file.st_gid) == (12345, 23456)


@root_only
def test_root_is_kept_where_nobody_could_read_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "_opens", lambda path: False)
    assert privileges.drop_privileges(privileges.User("nobody", 65534, 65534, False)) is None
    assert (os.getuid(), os.geteuid(), os.getegid()) == (0, 0, 0)


def test_whom_to_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert privileges.unprivileged_user() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "23456")
    assert privileges.unprivileged_user() == privileges.User("12345", 12345, 23456, True)
    monkeypatch.setenv("SUDO_UID", "0")  # root through sudo
    monkeypatch.setenv("SUDO_GID", "0")
    user = privileges.unprivileged_user()
    assert user is not None
    assert (user.name, user.invoking) == ("nobody", False)
