"""A report in the form that was asked for, and files written whole or not at all; the forms are drawn in `render`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsdiag.console import Console
from wsdiag.model import Report, WsdiagError


def send(report: Report, form: str, path: str | None, console: Console, *, reveal: bool) -> None:
    """Write the report in that form, to the file or to standard output, without its secrets where it will be shared."""
    # What goes to a file is meant to be kept or sent; on the terminal people see what they pasted.
    shared = form in ("html", "markdown", "sarif") or bool(path)
    pieces = text_of(report, form, console, redact=shared and not reveal)
    if path:
        write_file(path, pieces)
    else:
        for piece in pieces:
            console.write(piece)


def text_of(report: Report, form: str, console: Console, *, redact: bool) -> Iterator[str]:
    """The report's text, in pieces (a page on 10,000 connections need not be in memory whole)."""
    if redact:
        from wsdiag.render.redact import Redactor

        report = Redactor().report(report)
    words = console.words
    if form == "json":
        from wsdiag.render.data import document

        yield document(report, words)
    elif form == "ndjson":
        from wsdiag.render.data import connection_line, summary_line

        for connected in report.connections:
            yield connection_line(connected) + "\n"
        yield summary_line(report) + "\n"
    elif form == "html":
        from wsdiag.render.html import page

        yield from page(report, words, redacted=redact)
    elif form == "markdown":
        from wsdiag.render.markdown import document as markdown

        yield markdown(report, words, redacted=redact)
    elif form == "sarif":
        from wsdiag.render.sarif import document as sarif

        yield sarif(report, words)
    else:
        from wsdiag.render.terminal import report as rendered

        yield rendered(report, words, width=console.width, color=False, unicode=True, verbose=console.verbose)


def write_file(path: str, pieces: Iterable[str]) -> None:
    """Write beside the target and rename: a report that was cut off half way never looks like one."""
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise WsdiagError("cannot-write", path=path, detail=error.strerror or str(error)) from error
