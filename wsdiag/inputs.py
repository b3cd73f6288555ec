"""Every input is opened, recognised by its content and read; all of them together make one report.

Formats are read in `intake`, the story is told in `verdict`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from wsdiag.console import Console
from wsdiag.diagnose import diagnose_evidence
from wsdiag.model import Connection, Evidence, Input, LogLine, Report, WsdiagError


def read_all(sources: Sequence[str], keylog: str | None = None) -> Report:
    """The report on all sources; `-` is standard input."""
    if sources.count("-") > 1:
        raise WsdiagError("stdin-twice")
    inputs: list[Input] = []
    connections: list[Connection] = []
    lines: list[LogLine] = []
    for source in sources:
        with opened(source) as stream:
            evidence = read_stream(stream, source)
        inputs += evidence.inputs
        connections += [each._replace(id=len(connections) + number) for number, each in enumerate(evidence.connections)]
        lines += evidence.lines
    return diagnose_evidence(Evidence(tuple(inputs), tuple(connections), tuple(lines)))


def opened(source: str) -> BinaryIO:
    """The file, opened for reading bytes; what is wrong with it is one clear error."""
    if source == "-":
        return sys.stdin.buffer
    path = Path(source)
    try:
        if path.is_dir():
            raise WsdiagError("is-a-directory", path=source)
        return path.open("rb")
    except FileNotFoundError as error:
        raise WsdiagError("file-not-found", path=source) from error
    except PermissionError as error:
        raise WsdiagError("no-permission", path=source) from error
    except OSError as error:
        raise WsdiagError("cannot-read", path=source, detail=error.strerror or str(error)) from error


def read_stream(stream: BinaryIO, source: str) -> Evidence:
    """What one input holds, whatever it is."""
    from wsdiag.intake.log import scan
    from wsdiag.intake.paste import read_lines

    scanned = scan(stream, source)
    return read_lines(source, scanned.lines, scanned.notes)


def follow(files: Sequence[str], console: Console) -> int:
    """Report on a growing log as its lines arrive, until Ctrl-C."""
    raise NotImplementedError
