"""How fast captures are read: the whole `wsdiag sniff -r` beside tcpdump's filter, tcpflow and tshark, run in turn.

`python tests/bench/captures.py [--packets 100000] [--mix server storm wsonly needle] [--rounds 3] [--tshark]`, or
`--file F.pcap` for a capture made elsewhere. Captures are made by generate.py in a temporary folder (or `--folder`).
Prints the median wall time, in brackets the least processor time (which other work on the machine disturbs less), their
ratios and the peak memory; `--check` compares each cause with the generator's truth.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = "2346"
SIGHT = "websocket || http"
FIELDS = ("frame.number", "tcp.stream", "http.response.code", "websocket.opcode")


def commands(path: str, with_tshark: bool) -> dict[str, list[str]]:
    """What is run, by name; programs that are not installed are left out."""
    found = {
        "wsdiag": [sys.executable, "-m", "wsdiag", "sniff", "-r", path, "-p", PORT],
        "wsdiag, any port": [sys.executable, "-m", "wsdiag", "sniff", "-r", path],
        "tcpdump": ["tcpdump", "-r", path, "-w", "/dev/null", f"tcp port {PORT}"],
        "tcpflow": ["tcpflow", "-r", path, "-c"],
    }
    if with_tshark:
        found["tshark"] = ["tshark", "-r", path, "-Y", SIGHT, "-T", "fields", *(x for f in FIELDS for x in ("-e", f))]
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def run(command: list[str], folder: Path) -> tuple[float, float, int]:
    """Wall time and processor time in seconds, and peak memory in KiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if "wsdiag" in command and process.returncode not in (0, 1, 3):
        raise SystemExit(f"{' '.join(command)} failed: {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def check(path: Path, truth: Path) -> str:
    """Compare the causes with the generator's truth."""
    command = [sys.executable, "-m", "wsdiag", "sniff", "-r", str(path), "-p", PORT, "--format", "ndjson"]
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    out = subprocess.run(command, capture_output=True, env=env, check=False).stdout
    told = {}
    for line in out.splitlines():
        entry = json.loads(line)
        if entry["type"] == "connection":
            told[entry["first_packet"]] = entry["primary"]
    right = wrong = 0
    for line in truth.read_text().splitlines():
        entry = json.loads(line)
        if not entry["cut"]:
            expected = None if entry["kind"] in ("healthy", "nothing-sent") else entry["kind"]
            if entry["first"] in told and told[entry["first"]] == expected:
                right += 1
            else:
                wrong += 1
    return f"{right} causes right, {wrong} wrong"


def measure(path: Path, rounds: int, with_tshark: bool, folder: Path) -> None:
    """Run everything in turn and print the table."""
    todo = commands(str(path.resolve()), with_tshark)
    walls: dict[str, list[float]] = {name: [] for name in todo}
    busy: dict[str, list[float]] = {name: [] for name in todo}
    memory = dict.fromkeys(todo, 0)
    run(["cat", str(path.resolve())], folder)  # into the page cache
    for _ in range(rounds):
        for name, command in todo.items():
            wall, processor, peak = run(command, folder)
            walls[name].append(wall)
            busy[name].append(processor)
            memory[name] = max(memory[name], peak)
    wall_of = {name: statistics.median(each) for name, each in walls.items()}
    busy_of = {name: min(each) for name, each in busy.items()}
    for name in todo:
        ratios = "  ".join(
            f"{wall_of[name] / wall_of[other]:.2f} ({busy_of[name] / busy_of[other]:.2f}) x {other}"
            for other in todo
            if not other.startswith("wsdiag") and other != name
        )
        print(f"  {name:<17}{wall_of[name]:7.2f} s ({busy_of[name]:6.2f} s){memory[name] / 1024:5.0f} MB  {ratios}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=100_000)
    parser.add_argument("--mix", nargs="+", default=["server", "storm", "wsonly", "needle"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tshark", action="store_true", help="slow: a minute for a million packets")
    parser.add_argument("--check", action="store_true", help="compare every cause with the truth")
    parser.add_argument("--file", type=Path, help="measure this capture instead")
    parser.add_argument("--folder", type=Path, help="where captures are kept between runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        if chosen.file:
            print(chosen.file.name)
            measure(chosen.file, chosen.rounds, chosen.tshark, Path(temporary))
            return
        for mix in chosen.mix:
            path, truth = folder / f"{mix}-{chosen.packets}.pcap", folder / f"{mix}-{chosen.packets}.ndjson"
            if not truth.exists():
                make = [sys.executable, str(HERE / "generate.py"), "--packets", str(chosen.packets), "--mix", mix]
                subprocess.run([*make, "--out", str(path), "--truth", str(truth)], check=True)
            print(f"{mix}, {chosen.packets} packets, {path.stat().st_size / 1e6:.0f} MB")
            measure(path, chosen.rounds, chosen.tshark, Path(temporary))
            if chosen.check:
                print("  " + check(path, truth))


if __name__ == "__main__":
    main()
