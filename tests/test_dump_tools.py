"""What real programs printed is read back: xxd, hexdump, od, base64, tcpdump, tshark, strace, gdb, Python, Node, PHP,
Perl, Ruby, Go, Java and Rust, each run on the same three files (tests/data/dumps/<file>.<program>.txt).
"""

from pathlib import Path

import pytest

from tests.test_dump_roundtrip import lines_of
from wsdiag.intake.dump import Dump, decode_dump, find_dumps

DATA = Path(__file__).parent / "data" / "dumps"
OUTPUTS = sorted(path.name for path in DATA.glob("*.txt") if not path.name.startswith("talk."))
TALKS = sorted(path.name for path in DATA.glob("talk.*.txt"))
GET = (DATA / "get.bin").read_bytes()
FRAME = (DATA / "frame.bin").read_bytes()
# Nothing, docker-compose, Kubernetes, syslog, a quote in Markdown.
PREFIXES = ("", "app-1  | ", "2026-11-22T12:18:34.1Z stdout F ", "Nov 22 12:18:34 host app[9]: ", "> ")


def text_of(name: str) -> str:
    with (DATA / name).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def right(dumps: list[Dump], data: bytes) -> bool:
    """All the bytes, or (Node shows the first 50 or 100 only) a piece that is said to be one."""
    if len(dumps) != 1:
        return False
    (dump,) = dumps
    if dump.cut:
        missing = next(note.values["missing"] for note in dump.notes if note.name == "dump-cut")
        return len(dump.data) >= 50 and dump.data + data[-int(missing) :] == data
    return dump.data == data


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_of_a_program_is_decoded(name: str) -> None:
    data = (DATA / (name.split(".")[0] + ".bin")).read_bytes()
    assert right(decode_dump(text_of(name), name), data)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name.startswith("get.")])
@pytest.mark.parametrize(
    "prefix", ["", "app-1  | ", "2026-11-22T12:18:34.1Z stdout F ", "Nov 22 12:18:34 host app[9]: ", "> "]
)
def test_a_request_is_found_in_a_log(name: str, prefix: str) -> None:
    text = "\n".join(prefix + line for line in text_of(name).rstrip("\n").split("\n"))
    before, after = "starting up\nlistening on port 2346", "connection closed"
    assert right(find_dumps(lines_of(f"{before}\n{text}\n{after}")), GET)


def test_a_long_log_is_searched_like_a_short_one() -> None:
    """The search that passes over ordinary lines misses none of the programs' outputs."""
    ordinary = "\n".join(f"2026-11-22 12:18:{index % 60:02} INFO request {index} done" for index in range(60))
    for name in OUTPUTS:
        if name.startswith("get."):
            assert right(find_dumps(lines_of(f"{ordinary}\n{text_of(name)}\n{ordinary}")), GET), name


@pytest.mark.parametrize("name", TALKS)
def test_both_directions_of_a_conversation(name: str) -> None:
    for dumps in (find_dumps(lines_of(text_of(name))), decode_dump(text_of(name), name)):
        if "strace" not in name:
            assert [dump.data[:5] for dump in dumps] == [b"GET /", b"HTTP/"]
            assert dumps[0].data == GET
            assert [dump.side for dump in dumps] in (["client", "server"], [None, None])
            continue
        by_side = {(dump.side, dump.data.endswith(FRAME)) for dump in dumps}
        assert by_side == {("client", True), ("server", False)}
        if "s16" in name:
            assert all(dump.lossy or dump.cut for dump in dumps)


def test_packets_are_said_to_be_packets() -> None:
    client, server = find_dumps(lines_of(text_of("talk.tcpdump-X.txt")))
    notes = {note.name: dict(note.values) for note in client.notes}
    assert notes["dump-packets"] == {"packets": 6, "payload": len(client.data + server.data), "layers": "ip tcp"}
    assert notes["dump-endpoints"] == {
        "client_host": "127.0.0.1",
        "client_port": 50312,
        "server_host": "127.0.0.1",
        "server_port": 2346,
    }
    # The request's bytes stand in the lines of the fourth packet, the first of them in its third line.
    assert [mark.offset for mark in client.marks] == [0, 8, 24, 40, 56]
    assert text_of("talk.tcpdump-X.txt").split("\n")[(client.marks[0].origin.line or 0) - 1].endswith("GET./cha")
