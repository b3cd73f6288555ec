"""Puts together dumps that belong to one stream: the two directions of a followed stream, and calls of one program on
one socket; packets are left to `packets`.
"""

from wsdiag.intake.dump.found import Dump
from wsdiag.intake.dump.plausible import KNOWN, is_request, is_response, weight
from wsdiag.model import CLIENT, SERVER, Gap, Mark, Note, Side

_OTHER: dict[Side, Side] = {CLIENT: SERVER, SERVER: CLIENT}


def join_follow(dumps: list[Dump]) -> list[Dump]:
    """Join the pieces of `Follow TCP Stream`: each direction goes on where it left off and has its own indentation."""
    out: list[Dump] = []
    group: list[Dump] = []
    for dump in [*dumps, None]:
        if dump is not None and group and _continues(group, dump):
            group.append(dump)
            continue
        if group:
            out += _directions(group)
        group = []
        if dump is None:
            break
        if dump.indent.strip() == "" and dump.data and dump.side is None and _followable(dump):
            group = [dump]
        else:
            out.append(dump)
    return out


# Forms in which Wireshark and tshark print a followed stream.
_FOLLOWED = ("hexdump", "hexdump-c", "tshark-x", "hex")
# Empty lines and headings between two directions.
_APART = 3


def _followable(dump: Dump) -> bool:
    return dump.notation in _FOLLOWED


def _continues(group: list[Dump], dump: Dump) -> bool:
    """True when `dump` is the next piece of the same followed stream."""
    if dump.indent.strip() or not dump.data or dump.notation != group[0].notation or dump.side is not None:
        return False
    if dump.first - group[-1].last > _APART or (dump.first == group[-1].last):
        return False
    indents = {each.indent for each in group}
    if dump.notation == "hex":
        return len(indents | {dump.indent}) <= 2
    if dump.indent in indents:
        return dump.offset > 0 and dump.offset == sum(len(each.data) for each in group if each.indent == dump.indent)
    return len(indents) == 1 and dump.offset == 0


def _directions(group: list[Dump]) -> list[Dump]:
    """One dump per direction; the one without indentation is the client's unless the bytes say otherwise."""
    indents = list(dict.fromkeys(dump.indent for dump in group))
    if len(group) == 1:
        return group
    if len(indents) == 1:
        return group if group[0].notation == "hex" else [_concatenate(group, None)]
    streams = [[dump for dump in group if dump.indent == indent] for indent in indents]
    side = CLIENT if len(indents[0]) <= len(indents[1]) else SERVER
    first, second = (b"".join(dump.data for dump in stream) for stream in streams)
    if is_response(first) or is_request(second):
        side = SERVER
    elif is_request(first) or is_response(second):
        side = CLIENT
    note = Note("dump-direction", {"from": "follow-stream"})
    joined = [_concatenate(streams[0], side), _concatenate(streams[1], _OTHER[side])]
    return [dump._replace(notes=(*dump.notes, note)) for dump in joined]


def _concatenate(pieces: list[Dump], side: Side | None) -> Dump:
    """The pieces as one dump, marks and gaps shifted."""
    data = bytearray()
    marks: list[Mark] = []
    gaps: list[Gap] = []
    notes: list[Note] = []
    for piece in pieces:
        marks += [Mark(mark.offset + len(data), mark.origin) for mark in piece.marks]
        gaps += [Gap(gap.offset + len(data), gap.size) for gap in piece.gaps]
        notes += [note for note in piece.notes if note.name not in ("dump-form", "dump-starts-at")]
        data += piece.data
    first, last = pieces[0], pieces[-1]
    return Dump(
        bytes(data),
        first.notation,
        tuple(marks),
        side,
        last.cut,
        any(piece.lossy for piece in pieces),
        (Note("dump-form", {"notation": first.notation, "size": len(data)}), *notes),
        first.first,
        last.last,
        first.start,
        last.stop,
        first.from_start,
        tuple(gaps),
    )


def join_calls(dumps: list[Dump], strict: bool) -> list[Dump]:
    """Join what strace shows of each descriptor: what the program received and what it sent.

    `indent` holds the direction and the descriptor ("in 5"). In free text, a descriptor on which nothing known was
    said (a file that the program read) is left out.
    """
    calls = [dump for dump in dumps if dump.notation == "strace"]
    if not calls:
        return dumps
    out = [dump for dump in dumps if dump.notation != "strace"]
    talks: dict[str, dict[str, list[Dump]]] = {}
    for call in calls:
        direction, _, descriptor = call.indent.partition(" ")
        talks.setdefault(descriptor, {}).setdefault(direction, []).append(call)
    for talk in talks.values():
        joined = {direction: _calls(pieces) for direction, pieces in talk.items()}
        if strict and all(weight(dump.data) != KNOWN for dump in joined.values()):
            continue
        server = _is_server(joined)
        for direction, dump in joined.items():
            side: Side | None = None
            if server is not None:
                side = CLIENT if (direction == "in") == server else SERVER
            note = Note("dump-direction", {"from": "system-calls"})
            out.append(dump._replace(side=side, notes=(*dump.notes, note) if side else dump.notes))
    return sorted(out, key=lambda dump: (dump.first, dump.start))


def _is_server(joined: dict[str, Dump]) -> bool | None:
    """Whether the traced program is the server, by what it received and sent; None when nothing tells."""
    received = joined["in"].data if "in" in joined else b""
    sent = joined["out"].data if "out" in joined else b""
    if is_request(received) or is_response(sent):
        return True
    if is_request(sent) or is_response(received):
        return False
    return None


def _calls(pieces: list[Dump]) -> Dump:
    """One direction of a descriptor; what a cut call left out becomes a gap when more follows."""
    joined = _concatenate(pieces, None)
    gaps = list(joined.gaps)
    offset = 0
    for piece in pieces[:-1]:
        offset += len(piece.data)
        if piece.cut:
            missing = next((note.values.get("missing") for note in piece.notes if note.name == "dump-cut"), None)
            gaps.append(Gap(offset, missing if isinstance(missing, int) else None))
    return joined._replace(gaps=tuple(gaps), lossy=joined.lossy or bool(gaps))
