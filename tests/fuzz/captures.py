"""Mangle captures and read them: nothing may raise, hang or fill the memory. `captures.py [COUNT] [SEED]`."""

import io
import random
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.captures import RST, SYN, Packet, Talk, enhanced, frame, healthy, interface, packets, pcap, request, section
from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.capture import open_capture
from wsdiag.intake.survey import Survey, read_connections
from wsdiag.model import WsdiagError

MOST_SECONDS = 20.0  # for one capture of some kilobytes: a hang, not a slow machine
MOST_MEGABYTES = 64  # more than at the beginning


def seeds() -> list[bytes]:
    """Whole captures of every kind, to be mangled."""
    wires: list[Packet] = []
    talks = [
        healthy(8),
        Talk(mss=40).open().say(0, request()).close(1),
        Talk().add(0, SYN).add(1, RST),
        Talk().open().say(0, frame(b"x" * 2000, mask=b"abcd")),
    ]
    for index, talk in enumerate(talks):
        wires += packets(talk, ports=(40000 + index, 2346), v6=index == 1)
    wires.sort()
    found = [pcap(wires), pcap(wires, order=">", nano=True), pcap(wires, snaplen=100)]
    found += [pcap(packets(healthy(3), kind), kind) for kind in ("raw", "null", "sll", "sll2", "ppp")]
    found.append(section() + interface() + b"".join(enhanced(each) for each in wires))
    found.append(
        section(">") + interface("raw", ">") + b"".join(enhanced(each, ">") for each in packets(healthy(), "raw"))
    )
    return found


def mangled(chance: random.Random, whole: bytes) -> bytes:
    """The capture with some bytes flipped, cut, doubled or forged into extreme numbers."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        at = chance.randrange(len(data)) if data else 0
        way = chance.randrange(6)
        if way == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1 and data:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif way == 2:
            del data[at : at + chance.choice((1, 4, 16, 100))]
        elif way == 3:
            data[at:at] = data[at : at + chance.choice((1, 16, 60, 400))]
        elif way == 4 and len(data) > at + 4:
            number = chance.choice((0, 1, 15, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 262144, 1 << 24))
            struct.pack_into(chance.choice("<>") + "I", data, at, number)
        elif way == 5 and chance.random() < 0.2:
            del data[at:]
    return bytes(data)


def run(count: int, seed: int) -> Iterator[int]:
    """Read that many mangled captures; the first that fails raises AssertionError (or what the reader raises)."""
    chance = random.Random(seed)
    found = seeds()
    base = 0
    for index in range(count):
        data = mangled(chance, chance.choice(found))
        ports = chance.choice((None, frozenset({2346})))
        start = time.monotonic()
        try:
            for connection in read_connections(io.BytesIO(data), "fuzz", ports).connections:
                diagnose_connection(connection)
            survey = Survey(ports, "fuzz", diagnose_connection, lambda who, what: None)
            survey.read(open_capture(io.BytesIO(data), "fuzz"))
        except WsdiagError:
            pass
        assert time.monotonic() - start < MOST_SECONDS, index
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        base = base or used
        assert used - base < MOST_MEGABYTES, index
        yield index


def main() -> None:
    """The command line."""
    count, seed = (int(each) for each in (sys.argv[1:] + ["10000", "1"][len(sys.argv) - 1 :])[:2])
    for index in run(count, seed):
        if index % 1000 == 999:
            print(f"{index + 1} captures", flush=True)


if __name__ == "__main__":
    main()
