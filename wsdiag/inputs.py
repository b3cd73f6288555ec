"""Every input is opened, recognised by its content and read; all of them together make one report.

Formats are read in `intake`, the story is told in `verdict`.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from wsdiag.diagnosis import diagnose_evidence
from wsdiag.intake.recognise import HEAD, recognise
from wsdiag.intake.typed import standard_input
from wsdiag.model import CaptureSummary, Connection, Evidence, Input, LogLine, Note, Pairing, Report, WsdiagError
from wsdiag.record import NamedTuple


class Opened(NamedTuple):
    """An input that is open: its name, its bytes and what it was recognised as."""

    source: str
    stream: BinaryIO
    kind: str


def read_all(sources: Sequence[str], keylog: str | None = None) -> Report:
    """The report on all sources; `-` is standard input. Key logs among them open the captures beside them."""
    if list(sources).count("-") > 1:
        raise WsdiagError("stdin-twice")
    with ExitStack() as stack:
        inputs = []
        for source in (*sources, *((keylog,) if keylog else ())):
            stream = opened(source)
            if source != "-":
                stack.enter_context(stream)
            inputs.append(Opened(source, stream, recognise(head(stream, source))))
        return diagnose_evidence(gathered(inputs))


def opened(source: str) -> BinaryIO:
    """The file, opened for reading bytes; what is wrong with it is one clear error."""
    if source == "-":
        return standard_input()
    path = Path(source)
    try:
        if path.is_dir():
            raise WsdiagError("is-a-directory", path=source)
        return path.open("rb")
    except FileNotFoundError as error:
        raise WsdiagError("file-not-found", path=source) from error
    except PermissionError as error:
        raise WsdiagError("no-permission", path=source) from error
    except (OSError, ValueError) as error:
        raise WsdiagError("cannot-read", path=source, detail=getattr(error, "strerror", "") or str(error)) from error


def head(stream: BinaryIO, source: str) -> bytes:
    """The first bytes, left in the stream."""
    try:
        return cast(BufferedReader, stream).peek(HEAD)[:HEAD]
    except OSError as error:
        raise WsdiagError("cannot-read", path=source, detail=error.strerror or str(error)) from error


def gathered(inputs: Sequence[Opened]) -> Evidence:
    """The evidence of all inputs; key logs are read first, since captures need them."""
    keys = [each.stream.read(MAX_KEY_LOG) for each in inputs if each.kind == "keylog"]
    told: list[Input] = []
    connections: list[Connection] = []
    lines: list[LogLine] = []
    pairings: list[Pairing] = []
    capture: CaptureSummary | None = None
    for each in inputs:
        if each.kind == "keylog":
            told.append(Input(each.source, "keylog", (Note("keylog"),)))
            continue
        evidence = _read(each, keys)
        base = len(connections)
        told += evidence.inputs
        connections += [found._replace(id=base + number) for number, found in enumerate(evidence.connections)]
        pairings += [pair._replace(outer=base + pair.outer, inner=base + pair.inner) for pair in evidence.pairings]
        lines += evidence.lines
        capture = _sum(capture, evidence.capture)
    return Evidence(tuple(told), tuple(connections), tuple(lines), capture, tuple(pairings))


MAX_KEY_LOG = 64 * 1024 * 1024  # a browser's key log of a week; more is no key log


def _read(each: Opened, keys: Sequence[bytes]) -> Evidence:
    if each.kind == "capture":
        return read_capture(each.stream, each.source, keys)
    if each.kind == "har":
        from wsdiag.intake.har import read_har

        return read_har(each.stream, each.source)
    if each.kind == "raw":
        from wsdiag.intake.paste import read_raw

        return read_raw(each.stream, each.source)
    from wsdiag.intake.log import scan
    from wsdiag.intake.paste import read_lines

    scanned = scan(each.stream, each.source)
    if not scanned.total_lines and not scanned.lines:
        raise WsdiagError("empty-input", source=each.source)
    return read_lines(each.source, scanned.lines, scanned.notes, scanned.quoting)


def read_capture(stream: BinaryIO, source: str, keys: Sequence[bytes]) -> Evidence:
    """All connections of a capture, opened with whatever key fits."""
    from wsdiag.intake.flow import KEPT
    from wsdiag.intake.survey import KEPT_KEYED, read_connections

    reading = read_connections(stream, source, kept_tls=KEPT_KEYED if keys else KEPT)
    connections = reading.connections
    logs = (*keys, *reading.key_logs)
    if logs:
        from wsdiag.intake.decrypt import decrypt_connection
        from wsdiag.intake.keylog import KeyLog

        known = KeyLog.parse(b"\n".join(logs))
        connections = tuple(decrypt_connection(each, known) or each for each in connections)
    unmatched = logs and not any(each.tls for each in connections)
    notes = (
        *reading.notes,
        *((Note("keylog-unmatched"),) if unmatched else ()),
        *(note for each in connections[:MAX_TOLD] for note in each.notes),
    )
    return Evidence(
        (Input(source, "capture", _unique(notes)),),
        connections,
        (),
        reading.summary,
        reading.pairings,
    )


MAX_TOLD = 100  # connections whose own notes are told with the input's


def _unique(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes without repetitions."""
    return tuple({(note.name, *sorted(note.values.items())): note for note in notes}.values())


def _sum(first: CaptureSummary | None, second: CaptureSummary | None) -> CaptureSummary | None:
    if first is None or second is None:
        return first or second
    return CaptureSummary(
        first.packets + second.packets,
        first.bytes + second.bytes,
        first.dropped + second.dropped,
        first.truncated or second.truncated,
        first.link if first.link == second.link else f"{first.link}, {second.link}",
    )
