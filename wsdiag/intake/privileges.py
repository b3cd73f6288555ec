"""Giving up root once the capture is open, before a byte of it is parsed; opening the capture is left to `live`.

As tcpdump does it: with sudo the process becomes the user who called it, for a root login it becomes nobody.
"""

import os
import sys
from pathlib import Path

from wsdiag.model import WsdiagError
from wsdiag.record import NamedTuple


class User(NamedTuple):
    """Whom to become. `invoking`: this is the person at the keyboard (sudo), who owns what is written from now on."""

    name: str
    uid: int
    gid: int
    invoking: bool


def unprivileged_user() -> User | None:
    """Whom to become: the user behind sudo, else nobody; None when the process is not root (or has no such notion)."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    sudo = _number("SUDO_UID"), _number("SUDO_GID")
    if sudo[0] and sudo[1] is not None:
        try:
            name = pwd.getpwuid(sudo[0]).pw_name
        except KeyError:
            name = str(sudo[0])
        return User(name, sudo[0], sudo[1], True)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return None
    return User(nobody.pw_name, nobody.pw_uid, nobody.pw_gid, False)


def drop_privileges(user: User | None) -> str | None:
    """Become `user` for good; returns the name, or None when root was kept.

    Root is kept when there is nobody to become, and when the user could not read wsdiag's own files (a virtual
    environment in /root): what is imported later would fail. Raises WsdiagError when root would not go away.
    """
    if user is None or not _readable_by(user):
        return None
    os.setgroups(_groups(user))
    os.setgid(user.gid)
    os.setuid(user.uid)  # as root, both set the real, effective and saved id
    try:
        os.setuid(0)
    except OSError:
        return user.name
    raise WsdiagError("privileges-kept", user=user.name)


def _groups(user: User) -> list[int]:
    """The user's own groups; none for nobody."""
    return os.getgrouplist(user.name, user.gid) if user.invoking and not user.name.isdigit() else []


def _readable_by(user: User) -> bool:
    """True when the user can read the package, the standard library and the packages that are imported later."""
    import importlib.util

    probes = [Path(__file__), Path(os.__file__)]
    for name in ("rich", "click"):
        found = importlib.util.find_spec(name)
        if found is not None and found.origin:
            probes.append(Path(found.origin))
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(_groups(user))
        os.setegid(user.gid)
        os.seteuid(user.uid)
        return all(_opens(probe) for probe in probes)
    except OSError:
        return False
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _opens(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False


def _number(variable: str) -> int | None:
    try:
        return int(os.environ.get(variable, ""))
    except ValueError:
        return None


def ways_out(ports: tuple[int, ...], interface: str | None) -> dict[str, str]:
    """The lines to copy for somebody without the privilege to capture: `command`, `sudo` and `setcap`."""
    wanted = " or ".join(f"tcp port {port}" for port in ports) or "tcp"
    options = "".join(f" -p {port}" for port in ports) + (f" -i {interface}" if interface else "")
    program = os.path.realpath(sys.executable)
    return {
        "command": f"sudo tcpdump -i {interface or 'any'} -U -w - '{wanted}' | wsdiag sniff{_ports(ports)} -r -",
        "sudo": f"sudo wsdiag sniff{options}",
        "setcap": f"sudo setcap cap_net_raw+ep {program}",
    }


def _ports(ports: tuple[int, ...]) -> str:
    return "".join(f" -p {port}" for port in ports)
