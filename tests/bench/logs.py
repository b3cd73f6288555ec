"""How fast a big log is read: the whole `wsdiag diagnose` beside ripgrep and grep counting the same literals.

`python tests/bench/logs.py [--megabytes 100] [--share 0.0005] [--rounds 3]`. The log is made of ordinary lines of four
programs and, of the given share, of lines that matter (examples of the tables). It also checks that the findings are
those of the matching lines alone, and prints the peak memory.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from wsdiag.rules import tables

ORDINARY = (
    '127.0.0.1 - - [22/Nov/2026:11:16:{0:02} +0000] "GET /api/v1/items/{1} HTTP/1.1" 200 {2} "-" "Mozilla/5.0 (X11)"',
    "2026-11-22 11:15:{0:02} pid:{1} INFO worker handled message in {2} ms",
    "Nov 22 11:00:{0:02} host app[{1}]: user logged in, session refreshed id={2}",
    '{{"level":"info","ts":"2026-11-22T11:00:{0:02}Z","msg":"processed request","conn":{1},"bytes":{2}}}',
)
WHOSE = ("workerman", "gatewayworker")  # whose lines matter in this log


def write_log(path: Path, size: int, share: float) -> None:
    """A log of about `size` bytes; its lines that matter also go to a file of their own beside it."""
    chance = random.Random(7)
    # Wordings that are judged by their neighbours would be judged otherwise where the lines between are left out.
    by_neighbours = {each.literal for each in tables.load() if each.near or each.unless}
    telling = [
        example
        for signature in tables.load()
        if signature.program in WHOSE and signature.kind == "rule" and signature.literal not in by_neighbours
        for example in signature.examples
        if "\n" not in example
    ]
    block = [
        chance.choice(ORDINARY).format(chance.randrange(60), chance.randrange(10**6), chance.randrange(10**5))
        for _ in range(20_000)
    ]
    written = 0
    with path.open("w") as log, path.with_suffix(".matching").open("w") as matching:
        while written < size:
            chance.shuffle(block)
            lines = []
            for line in block:
                lines.append(line)
                if chance.random() < share:
                    lines.append(chance.choice(telling))
                    matching.write(lines[-1] + "\n")
            text = "\n".join(lines) + "\n"
            log.write(text)
            written += len(text)


class Run(NamedTuple):
    """Wall and processor seconds, peak memory in MB and output of a whole process."""

    seconds: float
    processor: float
    memory: float
    output: bytes


def run(command: list[str], folder: str) -> Run:
    """Run the command to its end; compiled modules are kept in the folder, as an installed package has them."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env=environment)
        _, _, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output.read())


def findings(output: bytes) -> list[tuple[str, str]]:
    """Verdict and findings of a JSON report."""
    report = json.loads(output)
    return [("", report["verdict"]), *sorted((each["name"], each["certainty"]) for each in report["findings"])]


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.0005)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "big.log"
        literals = Path(folder) / "literals"
        write_log(log, options.megabytes * 1_000_000, options.share)
        literals.write_text("\n".join(tables.literals()) + "\n")
        wsdiag = [sys.executable, "-m", "wsdiag", "diagnose", "--format", "json"]
        commands = {
            "wsdiag": [*wsdiag, str(log)],
            "rg": ["rg", "-c", "-F", "-f", str(literals), str(log)],
            "grep": ["grep", "-c", "-F", "-f", str(literals), str(log)],
        }
        best: dict[str, Run] = {}
        for _ in range(options.rounds):
            for name, command in commands.items():
                if shutil.which(command[0]) is None:
                    continue
                taken = run(command, folder)
                if name not in best or taken.seconds < best[name].seconds:
                    best[name] = taken
        size = log.stat().st_size / 1e6
        print(f"{size:.0f} MB, {len(tables.literals())} literals, best of {options.rounds}")
        for name, taken in best.items():
            ratio = best["wsdiag"].seconds / taken.seconds
            print(
                f"{name:8} {taken.seconds:7.3f} s {size / taken.seconds:7.0f} MB/s, cpu {taken.processor:6.3f} s, "
                f"{taken.memory:6.0f} MB   wsdiag/{name} {ratio:.2f}"
            )
        alone = findings(run([*wsdiag, str(log.with_suffix(".matching"))], folder).output)
        print("findings as on the matching lines alone:", findings(best["wsdiag"].output) == alone)


if __name__ == "__main__":
    main()
