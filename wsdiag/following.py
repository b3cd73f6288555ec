"""`diagnose --follow`: a growing log is read as it grows, and each burst of lines that tells something is reported.

Reading the file like `tail -F` is left to `intake.tail`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from wsdiag.console import EXIT_CODES, Console
from wsdiag.diagnosis import diagnose_evidence
from wsdiag.intake.paste import read_lines
from wsdiag.intake.tail import follow as tail
from wsdiag.model import LogLine, Verdict, WsdiagError

# A burst that tells nothing may be the beginning of something (a stack trace, a dump): its end goes with the next one.
CARRIED = 40


def follow(files: Sequence[str], console: Console, wait: "object | None" = None) -> int:
    """Report until Ctrl-C ends it; the exit code is that of the worst verdict seen."""
    if len(files) != 1 or files[0] == "-":
        raise WsdiagError("follow-one-file")
    path = Path(files[0])
    if path.is_dir():
        raise WsdiagError("is-a-directory", path=files[0])
    worst: Verdict = "undecided"
    carried: list[LogLine] = []
    pause = wait if callable(wait) else time.sleep
    try:
        for burst in tail(path, pause):
            report = diagnose_evidence(read_lines(files[0], [*carried, *burst]))
            if not report.findings:
                carried = [*carried, *burst][-CARRIED:]
                continue
            carried = []
            console.report(report)
            if report.verdict == "faulty" or (report.verdict == "healthy" and worst == "undecided"):
                worst = report.verdict
    except KeyboardInterrupt:
        pass
    return EXIT_CODES[worst]
