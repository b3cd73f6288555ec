"""The bare `wsdiag`: a paste from standard input, until its end, and the report on it.

It stands apart from the other commands because it has no options to parse; `wsdiag diagnose` does the same and more.
"""

import gc
import sys

from wsdiag.console import EXIT_CODES, Console
from wsdiag.inputs import read_all


def pasted(console: Console) -> int:
    """Read the paste and print the report; returns the exit code."""
    gc.disable()  # one report and the end: there are no cycles worth the search for them
    if sys.stdin is not None and sys.stdin.isatty():
        print(console.words.text("interface", "paste-prompt"), file=sys.stderr)
    report = read_all(("-",))
    console.report(report)
    return EXIT_CODES[report.verdict]
