"""The `decode` command's work: dumps given as arguments or on standard input, their bytes annotated, and the findings.

It stands apart from the other commands because it must start fast: nothing here imports more than it needs.
"""

from collections.abc import Sequence

from wsdiag.console import EXIT_CODES, Console
from wsdiag.diagnosis import diagnose_evidence
from wsdiag.intake.dump import decode_dump
from wsdiag.intake.paste import from_dumps
from wsdiag.model import Report, WsdiagError

# A dump is read into memory whole; nobody pastes more, and a capture file has its own command.
MAX_DUMP = 64 * 1024 * 1024


def decode(dumps: Sequence[str], console: Console) -> int:
    """Print what the dumps are; returns the exit code."""
    report = read(dumps)
    from wsdiag.render.terminal import decoded

    console.write(
        decoded(
            report,
            console.words,
            width=console.width,
            color=console.color,
            unicode=console.unicode,
            verbose=console.verbose,
        )
    )
    return EXIT_CODES[report.verdict]


def read(dumps: Sequence[str]) -> Report:
    """The report on the dumps: arguments, or standard input for `-` or no argument at all.

    Several arguments are one dump each, unless they only make sense together (`wsdiag decode 47 45 54`).
    """
    texts = list(dumps) or ["-"]
    if texts == ["-"]:
        from wsdiag.intake.typed import standard_input

        data = standard_input().read(MAX_DUMP + 1)
        if len(data) > MAX_DUMP:
            raise WsdiagError("input-too-large", limit=MAX_DUMP)
        if not data.strip():
            raise WsdiagError("empty-input", source="-")
        found = decode_dump(data.decode("utf-8", "replace"), "-")
    else:
        found = decode_dump("\n".join(texts) if all(len(each) > 8 for each in texts) else " ".join(texts), "argument")
    return diagnose_evidence(from_dumps("-" if texts == ["-"] else "argument", found))
