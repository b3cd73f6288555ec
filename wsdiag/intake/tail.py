"""A log file that is still being written, like `tail -F`: its new lines as they come, through rotation and truncation.
Big logs that are complete are read by `log`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from wsdiag.intake.encoding import clean, decode_lines
from wsdiag.model import LogLine, Origin

# How long to wait before looking again: short enough to read along, long enough to cost nothing.
POLL_SECONDS = 0.25
# One batch; more than is written in between is read in the next ones.
BATCH_BYTES = 1 << 20
# A line without an end is given out when it has not grown for so many looks, or has become this long.
QUIET_LOOKS = 4
LONGEST_LINE = 64 * 1024
# Where nothing was read before, as much of what is already there is given out, for the context of the first new line.
FIRST_BYTES = 16 * 1024


def follow(path: Path, wait: Callable[[float], None], from_start: bool = False) -> Iterator[list[LogLine]]:
    """The lines of the file as they are written; an empty batch says that nothing came.

    A file that is replaced (rotated) is read to its end and the new one from its start; one that became shorter is
    read from its start. A file that does not exist yet (or for a moment) is waited for. `wait` sleeps; whoever calls
    ends it by closing the iterator.
    """
    source = str(path)
    stream, number = _open(path, from_start)
    rest = b""
    quiet = 0
    try:
        while True:
            data = stream.read(BATCH_BYTES) if stream else b""
            if data:
                quiet = 0
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    whole, rest = [*whole, rest], b""
                yield _lines(whole, source, number)
                number += len(whole)
                continue
            quiet += 1
            moved = _moved(path, stream)
            if rest and (quiet == QUIET_LOOKS or moved):
                yield _lines([rest], source, number)
                rest = b""
            else:
                yield []
            if moved:
                if stream:
                    stream.close()
                stream, number = _open(path, True)
                if stream is not None:
                    continue
            wait(POLL_SECONDS)
    finally:
        if stream:
            stream.close()


def _open(path: Path, from_start: bool) -> tuple[BinaryIO | None, int]:
    """The file at the place to read from, and the number of the line there; None while there is no file."""
    try:
        stream = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None, 1
    if from_start:
        return stream, 1
    size = os.fstat(stream.fileno()).st_size
    number = 1
    position = max(0, size - FIRST_BYTES)
    left = position
    while left > 0:
        data = stream.read(min(left, BATCH_BYTES))
        if not data:
            break
        left -= len(data)
        number += data.count(b"\n")
    if position:  # from the start of a line on
        skipped = stream.read(FIRST_BYTES).find(b"\n") + 1
        stream.seek(position + skipped)
        number += 1 if skipped else 0
    return stream, number


def _moved(path: Path, stream: BinaryIO | None) -> bool:
    """True when another file stands at the path now, or the file was cut to less than what was read of it."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # it was moved away; its successor will come
    if stream is None:
        return True
    here = os.fstat(stream.fileno())
    return (now.st_dev, now.st_ino) != (here.st_dev, here.st_ino) or now.st_size < stream.tell()


def _lines(lines: list[bytes], source: str, number: int) -> list[LogLine]:
    """Clean lines of a batch."""
    texts, _ = decode_lines([line[:LONGEST_LINE] for line in lines])
    return [LogLine(clean(text).strip("\r"), Origin(source, place)) for place, text in enumerate(texts, number)]
