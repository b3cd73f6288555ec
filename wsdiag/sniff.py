"""The `sniff` command's work: a capture file, a stream or a live interface, one line per connection, then the story.

Packets are read in `intake`, connections judged in `diagnose`; here they are counted, printed and summed up.
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from wsdiag.console import EXIT_CODES, Console, write
from wsdiag.diagnosis import diagnose_connection, diagnose_evidence
from wsdiag.intake.survey import CaptureReading, Sighting, Survey
from wsdiag.model import (
    CaptureSummary,
    ConnectionReport,
    Endpoint,
    Evidence,
    Input,
    Note,
    Report,
    Value,
    Verdict,
    WsdiagError,
)
from wsdiag.record import NamedTuple

if TYPE_CHECKING:
    from wsdiag.intake.keylog import KeyLog

# Reports that are remembered for the story at the end. A capture has some dozens of different ones; where a hostile
# one has more, the further connections are counted by their cause alone.
MAX_STORIES = 4096
EXPIRE_EVERY = 1.0  # seconds between two looks for connections that went silent in a live capture


class Asked(NamedTuple):
    """The command's options."""

    ports: tuple[int, ...]
    interface: str | None
    read: str | None
    write: str | None
    keylog: str | None
    duration: float | None
    packets: int | None
    form: str
    output: str | None
    quiet: bool
    reveal: bool = False


class Tally:
    """What a run saw: connections by verdict and cause, and the different reports with how often each was met."""

    def __init__(self, *, shared: bool) -> None:
        """`shared`: connections of the same shape share one report object, which is then known again."""
        self._shared = shared
        self._same: dict[int, tuple[object, ...]] = {}
        self._held: list[ConnectionReport] = []
        self.connections = 0
        self.causes: dict[tuple[Verdict, str | None], int] = {}
        self.stories: dict[tuple[object, ...], tuple[ConnectionReport, int]] = {}

    def add(self, report: ConnectionReport) -> None:
        """Count one connection."""
        self.connections += 1
        name = (report.verdict, report.primary)
        self.causes[name] = self.causes.get(name, 0) + 1
        story = self._same.get(id(report))
        if story is None:
            story = (report.verdict, *((found.name, found.variant) for found in report.findings))
            if len(self._same) < MAX_STORIES and self._shared:
                self._same[id(report)] = story
                self._held.append(report)  # as long as it lives, no other object has its id
        first, count = self.stories.get(story, (report, 0))
        if count or len(self.stories) < MAX_STORIES:
            self.stories[story] = (first, count + 1)

    def report(self, evidence: Evidence) -> Report:
        """The story of the run: every different report once, its findings counted as often as they were met."""
        counted = [
            report._replace(
                findings=tuple(each._replace(occurrences=each.occurrences * count) for each in report.findings)
            )
            for report, count in self.stories.values()
        ]
        return diagnose_evidence(evidence, counted)


def sniff(asked: Asked, console: Console) -> int:
    """Run it; returns the exit code."""
    ports = frozenset(asked.ports) or None
    run = _Run(asked, console)
    with ExitStack() as stack:
        if asked.read is not None:
            from wsdiag.inputs import opened

            stream = opened(asked.read)
            if asked.read != "-":
                stack.enter_context(stream)
            from wsdiag.intake.capture import open_capture

            if asked.write is not None and asked.read == "-":
                raise WsdiagError("save-needs-file")
            gc.disable()  # reading makes no reference cycles, and looking for them costs a tenth of the time
            survey = Survey(ports, asked.read, diagnose_connection, run.emit, each=run.each, keys=run.keys)
            reading = survey.read(open_capture(stream, asked.read), run.progress(stream))
            notes = (*reading.notes, *_unmatched(survey))
            run.finish(Input(asked.read, "capture", notes), reading)
            if asked.write is not None:
                _share(asked, asked.read, asked.write, run, ports)
        else:
            _live(asked, run, ports)
    return run.deliver()


class _Run:
    """One run: prints a line per connection as it is decided, and keeps what the end needs."""

    def __init__(self, asked: Asked, console: Console) -> None:
        self.asked = asked
        self.console = console
        self.each = asked.form in ("ndjson", "json", "html")
        self.tally = Tally(shared=not self.each)
        self.kept: list[ConnectionReport] = []
        self.keys = _keys(asked.keylog)
        self.report: Report | None = None
        self.table: Any = None
        self.bar: Any = None
        self._lines: list[str] = []
        self._words = {verdict: console.words.text("sniff", f"line.{verdict}") for verdict in ("healthy", "undecided")}

    def emit(self, sighting: Sighting, report: ConnectionReport) -> None:
        """A connection is decided."""
        self.tally.add(report)
        form = self.asked.form
        if form == "text":
            if not self.asked.quiet and not self.asked.output:
                self._line(sighting, report)
        elif form == "ndjson":
            from wsdiag.render.data import connection_line

            self._print(connection_line(report) + "\n")
        else:
            self.kept.append(report)

    def _line(self, sighting: Sighting, report: ConnectionReport) -> None:
        cause = report.primary or self._words[report.verdict]
        clock = time.strftime("%H:%M:%S", time.gmtime(sighting.began_at))
        text = f"{sighting.id + 1:>6} {clock}  {_address(sighting.client)} → {_address(sighting.server)}  {cause}\n"
        if self.table is not None:
            self.table.add(sighting, report, cause)
            return
        self._lines.append(text)
        # A terminal sees each line as it is decided; a file need not be written a line at a time.
        if self.console.interactive or self.asked.read is None or len(self._lines) >= 500:
            self.flush()

    def _print(self, text: str) -> None:
        self._lines.append(text)
        if self.asked.read is None or len(self._lines) >= 500:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        if self._lines:
            text, self._lines = "".join(self._lines), []
            if not self.console.unicode:
                text = text.replace("→", "->")
            self.console.write(text)

    def progress(self, stream: Any) -> Callable[[int], None] | None:
        """A progress bar on standard error for a long file on a terminal."""
        if not sys.stderr.isatty() or self.asked.quiet or self.asked.form != "text" or self.console.interactive:
            return None
        from wsdiag.render.live import Progress

        self.bar = Progress(stream)
        return self.bar.advance  # type: ignore[no-any-return]

    def finish(self, source: Input, reading: CaptureReading) -> None:
        """Everything was read: make the report."""
        self.flush()
        if self.bar is not None:
            self.bar.close()
        evidence = Evidence((source,), (), (), reading.summary, reading.pairings)
        self.report = self.tally.report(evidence)
        if self.kept:
            self.report = self.report._replace(connections=tuple(self.kept))

    def deliver(self) -> int:
        """Print or write the report; returns the exit code."""
        report = self.report
        assert report is not None
        asked, console = self.asked, self.console
        if asked.form == "ndjson":
            from wsdiag.render.data import summary_line

            causes = {cause or verdict: count for (verdict, cause), count in self.tally.causes.items()}
            self._print(summary_line(report, causes) + "\n")
            self.flush()
        elif asked.form == "text" and not asked.output:
            if not asked.quiet:
                self._story(report)
        else:
            from wsdiag.output import send

            send(report, asked.form, asked.output, console, reveal=asked.reveal)
        return EXIT_CODES[report.verdict]

    def _story(self, report: Report) -> None:
        """What the whole run comes to, after the lines of its connections."""
        if self.tally.connections:
            self.console.write("\n")
            self.console.report(report, self.tally.causes)
        else:
            packets = report.capture.packets if report.capture is not None else 0
            self.console.write(self.console.words.text("sniff", "summary.none", packets=packets) + "\n")


def _keys(path: str | None) -> "KeyLog | None":
    """The key log, left open: in a live capture it grows while connections are followed."""
    if path is None:
        return None
    from wsdiag.inputs import opened
    from wsdiag.intake.keylog import KeyLog

    return KeyLog(opened(path))


def _unmatched(survey: Survey) -> tuple[Note, ...]:
    """Told when there are keys and none of them opened anything."""
    return (Note("keylog-unmatched"),) if survey.keys is not None and not survey.opened else ()


def _address(endpoint: Endpoint) -> str:
    return f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"


def _share(asked: Asked, source: str, path: str, run: "_Run", ports: frozenset[int] | None) -> None:
    """Write the capture anew for passing on, without its secrets (unless they are to be revealed)."""
    from pathlib import Path

    from wsdiag.inputs import opened
    from wsdiag.intake.save import create
    from wsdiag.share import share

    if path != "-" and Path(path).exists() and Path(path).samefile(source):
        raise WsdiagError("same-file", path=path)
    shared = share(lambda: opened(source), source, lambda link: create(path, link), ports, reveal=asked.reveal)
    form = "shared" if not asked.reveal else "copied"
    cut: dict[str, Value] = {"cut": shared.cut} if shared.cut else {}
    text = run.console.words.text("sniff", f"save.{form}", packets=shared.packets, path=path, **cut)
    _teller(asked)(text)


def _live(asked: Asked, run: _Run, ports: frozenset[int] | None) -> None:
    """Capture from an interface until Ctrl-C, the duration or the count ends it."""
    from wsdiag.intake.live import open_live

    words, console = run.console.words, run.console
    tell = _teller(asked)
    with open_live(asked.interface, tuple(sorted(asked.ports))) as live:
        saving = live.secure(asked.write)
        if live.user is not None:
            tell(words.text("sniff", "live.user", user=live.user))
        elif live.root_kept:
            tell(words.text("sniff", "live.root-kept"))
        watched = words.text("sniff", "live.every-port")
        if asked.ports:
            watched = words.text("sniff", "live.ports", ports=", ".join(map(str, sorted(asked.ports))))
        tell(words.text("sniff", "live.listening", interface=live.interface, ports=watched))
        survey = Survey(ports, live.interface, diagnose_connection, run.emit, each=run.each, keys=run.keys)
        flows, link = survey.flows, live.link
        number = 0
        expired = 0.0

        def deliver(stamp: float, data: bytes, size: int) -> None:
            nonlocal number
            number += 1
            flows.packet(stamp, number, link, data)

        def tick(now: float) -> None:
            nonlocal expired
            if now - expired >= EXPIRE_EVERY:
                expired = now
                flows.expire(now, number)
            if run.table is not None:
                run.table.refresh(number, run.tally.connections)

        if console.interactive and asked.form == "text" and not asked.quiet and not asked.output:
            from wsdiag.render.live import Table

            run.table = Table(words)
        with ExitStack() as stack:
            if run.table is not None:
                stack.enter_context(run.table)
            summary = live.run(deliver, tick=tick, save=saving, duration=asked.duration, count=asked.packets)
            flows.close()
        notes: Sequence[Note] = ()
        if summary.dropped:
            notes = (Note("packets-dropped", {"count": summary.dropped}),)
            tell(words.text("sniff", "live.dropped", count=summary.dropped))
        notes = (*notes, *_unmatched(survey))
        if summary.ended == "interface-gone":
            tell(words.text("sniff", "live.interface-gone", interface=live.interface))
        if saving is not None and asked.write is not None:
            tell(words.text("sniff", "live.saved", packets=summary.packets, path=asked.write))
        capture = CaptureSummary(summary.packets, summary.bytes, summary.dropped, summary.truncated, summary.link)
        run.finish(
            Input(live.interface, "live", tuple(notes)), CaptureReading(capture, (), tuple(survey.pairs.found), ())
        )


def _teller(asked: Asked) -> Callable[[str], None]:
    """Remarks on the run go to standard error, so that they never mix with the report."""

    def tell(text: str) -> None:
        if not asked.quiet:
            write(text + "\n", sys.stderr)

    return tell
