"""A 64-byte request in 39 notations: what wsdiag, xxd -r, xxd -r -p, text2pcap and scapy's import_hexcap make of each.

Run it as `python -m tests.bench.notations`; it prints one line per notation and the counts, and exits with 1 unless
wsdiag is exact in all. "exact": the bytes; "wrong": other bytes and no complaint; "refused": nothing, or an error.
"""

import contextlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.notations import WRITERS, ip_packet
from wsdiag.intake.dump import decode_dump, find_dumps
from wsdiag.model import LogLine, Origin, WsdiagError

REQUEST = b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1:2346\r\nUpgrade: websocket\r\n\r\n"[:64]
# What is left of the request in the notations that are cut on purpose, and must be said to be cut.
CUT_AT = 40
# Seconds after which a tool that does not answer has refused.
PATIENCE = 4

FORMS: dict[str, str] = {
    "plain hex": WRITERS["hex"](REQUEST),
    "upper hex": WRITERS["hex-upper"](REQUEST),
    "spaced hex": WRITERS["hex-spaced"](REQUEST),
    "xxd -p": WRITERS["hex-wrapped"](REQUEST),
    "0x47, 0x45": WRITERS["hex-0x-commas"](REQUEST),
    "0x4745": WRITERS["hex-0x"](REQUEST),
    "\\x47\\x45": WRITERS["hex-escapes"](REQUEST),
    "47:45:54": WRITERS["hex-colons"](REQUEST),
    "47-45-54": WRITERS["hex-dashes"](REQUEST),
    "Python b''": WRITERS["python-bytes"](REQUEST),
    "Go %q": WRITERS["go-q"](REQUEST),
    "Node <Buffer>": f"<Buffer {REQUEST.hex(' ')}>",
    "Buffer JSON": WRITERS["node-buffer-json"](REQUEST),
    "[71, 69]": WRITERS["python-list"](REQUEST),
    "[71 69] (Go %v)": WRITERS["go-v"](REQUEST),
    "<<71,69>>": WRITERS["erlang"](REQUEST),
    "C array (xxd -i)": WRITERS["xxd-i"](REQUEST),
    "Go []byte{}": WRITERS["go-sharp-v"](REQUEST),
    "octal escapes": "".join(f"\\{byte:03o}" for byte in REQUEST),
    "base64": WRITERS["base64"](REQUEST),
    "URL-encoded": WRITERS["url-encoded"](REQUEST),
    "xxd": WRITERS["xxd"](REQUEST),
    "hexdump -C": WRITERS["hexdump-C"](REQUEST),
    "hexdump": WRITERS["hexdump"](REQUEST),
    "od -t x1": WRITERS["od-t-x1"](REQUEST),
    "od -A x -t x1z": WRITERS["od-A-x-t-x1z"](REQUEST),
    "od": WRITERS["od"](REQUEST),
    "od -c": WRITERS["od-c"](REQUEST),
    "hexdump -c": WRITERS["hexdump-c"](REQUEST),
    "od -b": WRITERS["od-b"](REQUEST),
    "tcpdump -X": WRITERS["tcpdump-X"](REQUEST),
    "tshark -x": WRITERS["tshark-x"](REQUEST),
    "follow hex": WRITERS["follow-hex"](REQUEST),
    "WinDbg db": WRITERS["windbg"](REQUEST),
    "Format-Hex": WRITERS["format-hex"](REQUEST),
    "certutil": WRITERS["certutil"](REQUEST),
    "Workerman line": WRITERS["workerman"](REQUEST),
    "Workerman dated": WRITERS["workerman-dated"](REQUEST),
    "cut hex, odd nibble": REQUEST.hex()[: 2 * CUT_AT + 1] + "...",
}
# Tools that take a dump for a packet give the whole packet back; that is right for them.
PACKETS = {ip_packet(REQUEST), bytes(12) + b"\x08\x00" + ip_packet(REQUEST)}


def grade(found: bytes | None, name: str, *, said_cut: bool = False) -> str:
    """exact, wrong or refused."""
    if not found:
        return "refused"
    if name.startswith("cut"):
        return "exact" if said_cut and found == REQUEST[:CUT_AT] else "wrong"
    return "exact" if found == REQUEST or found in PACKETS else "wrong"


def wsdiag(text: str, name: str) -> str:
    """wsdiag's own reading; it must give the stream's bytes, from free text as well as from a given dump."""
    lines = [LogLine(line, Origin("paste", number)) for number, line in enumerate(text.split("\n"), 1)]
    grades = set()
    for read in (lambda: find_dumps(lines), lambda: decode_dump(text, "argument")):
        try:
            dumps = read()
        except WsdiagError:
            dumps = []
        data = b"".join(dump.data for dump in dumps)
        grades.add(grade(data if data not in PACKETS else b"?", name, said_cut=any(dump.cut for dump in dumps)))
    return grades.pop() if len(grades) == 1 else "wrong"


def limit() -> None:
    """Some of the tools never end on some texts, write gigabytes or eat memory: hold them short."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, PATIENCE))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def answer(command: list[str], text: str) -> bytes | None:
    """What the command writes to standard output for this input; None when it fails or does not end."""
    with tempfile.TemporaryFile() as out:
        try:
            run = subprocess.run(
                command,
                input=text.encode(),
                stdout=out,
                stderr=subprocess.DEVNULL,
                timeout=2 * PATIENCE,
                preexec_fn=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        out.seek(0)
        return out.read(1 << 20) if run.returncode == 0 else None


def xxd_r(text: str, name: str, *options: str) -> str:
    return grade(answer(["xxd", "-r", *options], text), name)


def text2pcap(text: str, name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.pcap"
        done = answer(["text2pcap", "-q", "-F", "pcap", "-l", "147", "-", str(path)], text)
        raw = path.read_bytes() if done is not None and path.exists() else b""
    packets, at = [], 24
    while at + 16 <= len(raw):
        size = struct.unpack_from("<I", raw, at + 8)[0]
        packets.append(raw[at + 16 : at + 16 + size])
        at += 16 + size
    return grade(b"".join(packets), name)


HEXCAP = "import sys; from scapy.utils import import_hexcap; sys.stdout.buffer.write(bytes(import_hexcap(sys.argv[1])))"


def scapy_hexcap(text: str, name: str) -> str:
    return grade(answer([sys.executable, "-c", HEXCAP, text], ""), name)


def main() -> int:
    tools: dict[str, Callable[[str, str], str]] = {"wsdiag": wsdiag}
    if shutil.which("xxd"):
        tools["xxd -r"] = xxd_r
        tools["xxd -r -p"] = lambda text, name: xxd_r(text, name, "-p")
    if shutil.which("text2pcap"):
        tools["text2pcap"] = text2pcap
    with contextlib.suppress(ImportError):
        import scapy.utils  # noqa: F401

        tools["import_hexcap"] = scapy_hexcap
    print(f"{'notation':<20}" + "".join(f"{tool:>14}" for tool in tools))
    counts = {tool: Counter[str]() for tool in tools}
    for name, text in FORMS.items():
        grades = {tool: read(text, name) for tool, read in tools.items()}
        for tool, each in grades.items():
            counts[tool][each] += 1
        print(f"{name:<20}" + "".join(f"{each:>14}" for each in grades.values()))
    for kind in ("exact", "wrong", "refused"):
        print(f"{kind:<20}" + "".join(f"{counts[tool][kind]:>14}" for tool in tools))
    return 0 if counts["wsdiag"]["exact"] == len(FORMS) else 1


if __name__ == "__main__":
    sys.exit(main())
