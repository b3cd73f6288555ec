"""How long `wsdiag decode` of a 500-byte dump takes beside an empty Python and beside text2pcap with tshark.

Run it as `python -m tests.bench.decode [ROUNDS]` with the Python of an environment into which wsdiag is installed as
users install it: an editable installation searches for its modules, and that is measured as well. All commands run in
turn, so that a busy machine is busy for all of them; medians are shown, with processor time beside wall time.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 30
REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: ws.example.com:2346\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
    b"Gecko) Chrome/120.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://www.example.com\r\n"
    b"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: zh-CN,zh;q=0.9\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)


def hexdump(data: bytes) -> str:
    """The rows of `hexdump -C`."""
    rows = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        cells = " ".join(f"{byte:02x}" for byte in part[:8]) + "  " + " ".join(f"{byte:02x}" for byte in part[8:])
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{at:08x}  {cells:<48}  |{shown}|")
    return "\n".join([*rows, f"{len(data):08x}", ""])


def installed() -> list[str]:
    """The `wsdiag` beside this Python, or this checkout's."""
    script = Path(sys.executable).with_name("wsdiag")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "wsdiag"]


def commands() -> dict[str, tuple[list[str], bytes]]:
    """What is measured: name, arguments, standard input."""
    wsdiag, rows = installed(), hexdump(REQUEST).encode()
    line = f"Worker[4242] process terminated\nerror package. package_length=1195725856 Buffer:{REQUEST.hex()}\n"
    found = {
        "python -c pass": ([sys.executable, "-c", "pass"], b""),
        "wsdiag decode HEX": ([*wsdiag, "decode", REQUEST.hex()], b""),
        "hexdump -C | wsdiag decode": ([*wsdiag, "decode"], rows),
        "wsdiag decode 'Buffer:HEX'": ([*wsdiag, "decode", f"Buffer:{REQUEST.hex()}"], b""),
        "wsdiag < two lines of a log": (wsdiag, line.encode()),
    }
    if shutil.which("text2pcap") and shutil.which("tshark"):
        read = "text2pcap -q -T 40000,2346 - - 2>/dev/null | tshark -V -r - 2>/dev/null"
        found["text2pcap | tshark -V"] = (["sh", "-c", read], rows)
    return found


def processor_time() -> float:
    """Seconds that the processes which ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(rounds: int) -> None:
    """Run all commands in turn and print a table."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    measured: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds + 1):
        for name, (arguments, given) in commands().items():
            before, begun = processor_time(), time.perf_counter()
            subprocess.run(arguments, input=given, stdout=subprocess.DEVNULL, env=environment, check=False)
            measured.setdefault(name, []).append((time.perf_counter() - begun, processor_time() - before))
    print(f"{len(REQUEST)} bytes, medians of {rounds} rounds in turn; the times of python -c pass are 1")
    print(f"{'':30} {'wall':>9} {'times':>6} {'processor':>10} {'times':>6}")
    empty = [statistics.median(column) for column in zip(*measured["python -c pass"][1:], strict=True)]
    for name, times in measured.items():
        wall, spent = (statistics.median(column) for column in zip(*times[1:], strict=True))
        print(f"{name:30} {wall * 1e3:6.1f} ms {wall / empty[0]:6.2f} {spent * 1e3:7.1f} ms {spent / empty[1]:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
