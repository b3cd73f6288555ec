"""The kernel's packet filter for "tcp port N or …", assembled by hand; attaching it is left to `ring` and scapy.

Classic BPF (the instructions of `tcpdump -d`), so that filtering needs no libpcap, which slim images lack.
"""

from wsdiag.record import NamedTuple

# Link types as capture files number them (https://www.tcpdump.org/linktypes.html).
ETHERNET = 1
RAW_IP = 101

ACCEPT_BYTES = 0x40000  # as much of a packet as tcpdump takes; larger than any segment, offloaded ones included
MAX_PORTS = 100  # conditional jumps reach 255 instructions ahead; two tests for each port must fit with room to spare
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS of the kernel

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # A = packet[k]
_LOAD_HALF_AT_X = 0x48  # A = packet[X + k : +2]
_LOAD_IP_LENGTH = 0xB1  # X = 4 * (packet[k] & 15)
_AND = 0x54
_JUMP_EQUAL, _JUMP_SET = 0x15, 0x45
_RETURN = 0x06

_IPV4, _IPV6, _VLAN, _QINQ = 0x0800, 0x86DD, 0x8100, 0x88A8
_TCP = 6
_LATER_FRAGMENT = 0x1FFF

# linux/filter.h: loads beyond SKF_AD_OFF read what the kernel knows beside the packet's bytes.
_PACKET_TYPE = 0xFFFFF000 + 4
_INTERFACE_INDEX = 0xFFFFF000 + 8
_OUTGOING = 4


class Instruction(NamedTuple):
    """One instruction: operation, jumps if true and if false (counted from the next instruction), operand."""

    code: int
    jt: int
    jf: int
    k: int


class _Line(NamedTuple):
    """An instruction whose jumps are still labels; the empty label is the next instruction."""

    code: int
    k: int
    if_true: str = ""
    if_false: str = ""


def tcp_filter(ports: tuple[int, ...], link: int, *, loopback: int | None = None) -> list[Instruction]:
    """The program that accepts TCP packets from or to one of the ports, over IPv4 and IPv6 (all TCP without ports).

    `link` is ETHERNET (up to two VLAN tags are looked behind) or RAW_IP. With `loopback`, the index of Linux's
    loopback interface, the first of the two copies that a packet socket sees of each packet there is dropped. Like
    tcpdump's own, the filter passes over later fragments and over TCP behind IPv6 extension headers.
    """
    ports = tuple(dict.fromkeys(ports))
    if len(ports) > MAX_PORTS:
        ports = ()
    lines: list[_Line | str] = []
    if loopback is not None:
        lines += [
            _Line(_LOAD_WORD, _INTERFACE_INDEX),
            _Line(_JUMP_EQUAL, loopback, "", "link"),
            _Line(_LOAD_WORD, _PACKET_TYPE),
            _Line(_JUMP_EQUAL, _OUTGOING, "own copy", "link"),
            "own copy",
            _Line(_RETURN, 0),
            "link",
        ]
    lines += _raw(ports) if link == RAW_IP else _ethernet(ports)
    return _assemble(lines)


def _raw(ports: tuple[int, ...]) -> list[_Line | str]:
    """Packets that begin with the IP header: the version is its first half byte."""
    return [
        _Line(_LOAD_BYTE, 0),
        _Line(_AND, 0xF0),
        _Line(_JUMP_EQUAL, 0x60, "", "not 6"),
        *_ipv6(0, ports, "raw 6"),
        "not 6",
        _Line(_JUMP_EQUAL, 0x40, "", "other"),
        *_ipv4(0, ports, "raw 4"),
        "other",
        _Line(_RETURN, 0),
    ]


def _ethernet(ports: tuple[int, ...]) -> list[_Line | str]:
    """Ethernet, whose type field moves on by four bytes for each VLAN tag (IEEE 802.1Q)."""
    lines: list[_Line | str] = []
    for tags in range(3):
        type_at = 12 + 4 * tags
        here, after = f"type {tags}", f"type {tags + 1}"
        lines += [
            here,
            _Line(_LOAD_HALF, type_at),
            _Line(_JUMP_EQUAL, _IPV6, "", f"{here} not 6"),
            *_ipv6(type_at + 2, ports, here + " 6"),
            f"{here} not 6",
            _Line(_JUMP_EQUAL, _IPV4, "", f"{here} not 4"),
            *_ipv4(type_at + 2, ports, here + " 4"),
            f"{here} not 4",
        ]
        if tags < 2:
            lines += [
                _Line(_JUMP_EQUAL, _VLAN, after),
                _Line(_JUMP_EQUAL, _QINQ, after),
            ]
            lines += [_Line(_RETURN, 0)]
    lines += [_Line(_RETURN, 0)]
    return lines


def _ipv4(start: int, ports: tuple[int, ...], name: str) -> list[_Line | str]:
    """TCP over an IPv4 header at `start` (RFC 791 section 3.1); both outcomes return."""
    tests: list[_Line | str] = [_Line(_LOAD_BYTE, start + 9), _Line(_JUMP_EQUAL, _TCP, "", name + " no")]
    if ports:
        tests += [
            _Line(_LOAD_HALF, start + 6),
            _Line(_JUMP_SET, _LATER_FRAGMENT, name + " no"),
            _Line(_LOAD_IP_LENGTH, start),
            _Line(_LOAD_HALF_AT_X, start),
            *(_Line(_JUMP_EQUAL, port, name + " yes") for port in ports),
            _Line(_LOAD_HALF_AT_X, start + 2),
            *(_Line(_JUMP_EQUAL, port, name + " yes") for port in ports),
            _Line(_RETURN, 0),
        ]
    return [*tests, name + " yes", _Line(_RETURN, ACCEPT_BYTES), name + " no", _Line(_RETURN, 0)]


def _ipv6(start: int, ports: tuple[int, ...], name: str) -> list[_Line | str]:
    """TCP right behind an IPv6 header at `start` (RFC 8200 section 3); both outcomes return."""
    tests: list[_Line | str] = [_Line(_LOAD_BYTE, start + 6), _Line(_JUMP_EQUAL, _TCP, "", name + " no")]
    if ports:
        tests += [
            _Line(_LOAD_HALF, start + 40),
            *(_Line(_JUMP_EQUAL, port, name + " yes") for port in ports),
            _Line(_LOAD_HALF, start + 42),
            *(_Line(_JUMP_EQUAL, port, name + " yes") for port in ports),
            _Line(_RETURN, 0),
        ]
    return [*tests, name + " yes", _Line(_RETURN, ACCEPT_BYTES), name + " no", _Line(_RETURN, 0)]


def _assemble(lines: list[_Line | str]) -> list[Instruction]:
    """Turn labels into distances."""
    places: dict[str, int] = {}
    count = 0
    for line in lines:
        if isinstance(line, str):
            places[line] = count
        else:
            count += 1
    program: list[Instruction] = []
    for line in lines:
        if isinstance(line, _Line):
            after = len(program) + 1
            if_true = places[line.if_true] - after if line.if_true else 0
            if_false = places[line.if_false] - after if line.if_false else 0
            program.append(Instruction(line.code, if_true, if_false, line.k))
    if any(each.jt > 255 or each.jf > 255 for each in program) or len(program) > MAX_INSTRUCTIONS:
        raise ValueError("the packet filter is too long")
    return program
