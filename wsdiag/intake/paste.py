"""Text that somebody pasted becomes log lines and connections: dumps and quoted HTTP heads are found in it and paired
into conversations. Notations are read in `dump`, quoted heads in `transcript`, big files in `log`.
"""

from __future__ import annotations

from collections.abc import Sequence

from wsdiag.intake.dump import Dump, find_dumps
from wsdiag.model import CLIENT, SERVER, Connection, Ending, Evidence, Input, LogLine, Mark, Note, Origin, Side, Stream
from wsdiag.record import TYPE_CHECKING, NamedTuple
from wsdiag.wire.identify import identify

if TYPE_CHECKING:
    from typing import BinaryIO

# First bytes that only a server, or only a client, begins with.
SERVER_KINDS = frozenset({"response"})
CLIENT_KINDS = frozenset({"request", "proxy-v1", "proxy-v2", "http2"})
# A program that complains of bytes and shows them says whose they are: a client quotes what the server sent.
SERVER_SAID = (
    "Expected HTTP/",
    "HPE_INVALID_CONSTANT",
    "Bad status line",
    "Invalid status line",
    "malformed HTTP response",
    "did not receive a valid HTTP response",
)
CLIENT_SAID = ("HPE_INVALID_METHOD", "Invalid method encountered", "did not receive a valid HTTP request")
MAX_RAW = 16 * 1024 * 1024  # raw bytes that are read; a capture has a format of its own
CONTEXT_LINES = 12  # a stack trace stands between the message and the object's properties


class Talk(NamedTuple):
    """One direction's bytes found in text, with the side that sent them."""

    side: Side
    stream: Stream
    first: int  # index of its first line, for keeping the order of the text
    notation: str = ""


def read_lines(
    source: str, lines: Sequence[LogLine], notes: tuple[Note, ...] = (), quoting: Sequence[range] | None = None
) -> Evidence:
    """Everything that the lines hold. Lines that are nothing but a dump are not searched for wording again.

    `quoting` are the only ranges of the lines that may hold dumps, where that is known (a big log).
    """
    from wsdiag.intake.transcript import find_exchanges

    dumps = [
        dump._replace(first=dump.first + part.start, last=dump.last + part.start)
        for part in (quoting if quoting is not None else (range(len(lines)),))
        for dump in find_dumps(lines[part.start : part.stop])
    ]
    consumed = {index for dump in dumps if dump.last > dump.first for index in range(dump.first, dump.last + 1)}
    talks = [_talk(dump, _context(lines, dump)) for dump in dumps if dump.data]
    paired: list[Connection] = []
    for transcript in find_exchanges(lines):
        if any(index in consumed for index in range(transcript.first, transcript.last + 1)):
            continue
        paired.append(
            Connection(
                0,
                transcript.client or Stream(seen=False),
                transcript.server or Stream(seen=False),
                "transcript",
                notes=transcript.notes,
            )
        )
    notes += tuple({(note.name, *sorted(note.values.items())): note for dump in dumps for note in dump.notes}.values())
    connections = [*pair(talks), *paired]
    connections = [connection._replace(id=number) for number, connection in enumerate(connections)]
    told = tuple(line for index, line in enumerate(lines) if index not in consumed)
    kind = "dump" if dumps and not any(line.text.strip() for line in told) else "text"
    return Evidence((Input(source, "dump" if kind == "dump" else "text", notes),), tuple(connections), told)


def read_raw(stream: BinaryIO, source: str) -> Evidence:
    """Bytes as they went over the wire, in a file or piped in: one stream, or a request with its response behind it."""
    data = stream.read(MAX_RAW + 1)
    notes = [Note("raw-bytes", {"size": min(len(data), MAX_RAW)})]
    cut = len(data) > MAX_RAW
    if cut:
        data = data[:MAX_RAW]
        notes.append(Note("input-cut", {"limit": MAX_RAW}))
    split = _response_behind(data)
    talks = []
    for piece, offset in ((data[:split], 0), (data[split:], split)) if split else ((data, 0),):
        marks = (Mark(0, Origin(source)),)
        last = offset + len(piece) == len(data)
        stream_ = Stream(piece, marks, (), "cut" if cut and last else "open", True, True, len(piece))
        talks.append(Talk(_side_of(piece), stream_, 0))
    return Evidence((Input(source, "dump", tuple(notes)),), tuple(pair(talks)))


def _response_behind(data: bytes) -> int:
    """Where a response begins behind a request in the same file; 0 when there is none."""
    if identify(data).kind != "request":
        return 0
    end = data.find(b"\r\n\r\n")
    start = data.find(b"HTTP/1.", end + 4) if end >= 0 else -1
    return start if start > 0 and data[end + 4 : start].strip() == b"" else 0


def from_dumps(source: str, dumps: Sequence[Dump]) -> Evidence:
    """Dumps that were given as such (`wsdiag decode`)."""
    connections = pair([_talk(dump) for dump in dumps if dump.data])
    notes = tuple(note for dump in dumps for note in dump.notes)
    return Evidence((Input(source, "dump", notes),), tuple(connections))


def _context(lines: Sequence[LogLine], dump: Dump) -> Side | None:
    """The side that sent the bytes, by what the program says around them."""
    around = [line.text for line in lines[max(0, dump.first - CONTEXT_LINES) : dump.last + 1]]
    for text in reversed(around):
        if any(words in text for words in SERVER_SAID):
            return SERVER
        if any(words in text for words in CLIENT_SAID):
            return CLIENT
    return None


def _talk(dump: Dump, context: Side | None = None) -> Talk:
    side = dump.side or _sure_side(dump.data) or context or _side_of(dump.data)
    ending: Ending = "cut" if dump.cut else "open"
    stream = Stream(dump.data, dump.marks, dump.gaps, ending, True, dump.from_start, len(dump.data))
    return Talk(side, stream, dump.first, dump.notation)


def _sure_side(data: bytes) -> Side | None:
    """The side that bytes prove by themselves, whatever the words around them (servers, too, quote a status line)."""
    found = identify(data)
    if found.sure == "certain" and found.kind in CLIENT_KINDS:
        return CLIENT
    return SERVER if found.sure == "certain" and found.kind in SERVER_KINDS else None


def _side_of(data: bytes) -> Side:
    kind = identify(data).kind
    if kind in SERVER_KINDS:
        return SERVER
    if kind == "tls" and data[5:6] == b"\x02":  # a ServerHello
        return SERVER
    if kind == "foreign" and identify(data, SERVER).sure == "certain" and identify(data, CLIENT).sure != "certain":
        return SERVER
    return CLIENT


def pair(talks: Sequence[Talk]) -> list[Connection]:
    """Directions that follow each other become the two sides of one connection.

    A new opening (a request, a hello) begins a new connection; bytes of the other side, or frames, belong to the one
    that is open.
    """
    connections: list[Connection] = []
    opened: dict[Side, Stream] = {}
    notation = ""

    def close() -> None:
        if opened:
            client, server = (opened.get(side, Stream(seen=False)) for side in (CLIENT, SERVER))
            connections.append(Connection(len(connections), client, server, "dump", notation=notation))
            opened.clear()

    for talk in talks:
        if talk.side in opened:
            if _continues(opened[talk.side], talk.stream) and len(opened) == 2:
                opened[talk.side] = _joined(opened[talk.side], talk.stream)
                continue
            close()
        elif talk.side == CLIENT and opened and identify(talk.stream.data).kind in CLIENT_KINDS:
            close()
        opened[talk.side] = talk.stream
        notation = talk.notation
    close()
    return connections


def _continues(first: Stream, second: Stream) -> bool:
    """True when the second piece reads as what follows the first: frames after a handshake."""
    return first.ending != "cut" and identify(second.data).kind == "frame"


def _joined(first: Stream, second: Stream) -> Stream:
    shift = len(first.data)
    marks = first.marks + tuple(Mark(mark.offset + shift, mark.origin) for mark in second.marks)
    return first._replace(
        data=first.data + second.data, marks=marks, ending=second.ending, total=shift + len(second.data)
    )
