"""Bytes one number a line, as PHP prints arrays, and PHP's strings with their length in front, raw over several lines;
lists in brackets are left to `lists`.
"""

from wsdiag.intake.dump.found import Dump, Text, cut_note, inline, places, rx
from wsdiag.intake.dump.plausible import KNOWN, NOTHING, weight
from wsdiag.model import Note

# print_r `[1] => 71`, var_dump `[1]=>` + `int(71)`, var_export `1 => 71,`, a browser's console `0: 71`.
_ELEMENT = r"[ \t]*\[?[\"']?(?P<index>\d{1,8})[\"']?\]?[ \t]*(?:=>|:)[ \t]*(?:int\()?(?P<value>-?\d{1,3})?\)?,?[ \t]*$"
_INT = r"[ \t]*int\((?P<value>-?\d{1,3})\)[ \t]*$"
_FEWEST = 4


def read_array(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Elements with index and value, one a line."""
    if column:
        return None
    body = text.body(line)
    match = rx(_ELEMENT).match(body)
    if match is None or match.group("index") not in ("0", "1"):
        return None
    wanted = int(match.group("index"))
    values: list[int] = []
    rows: list[tuple[int, int]] = []
    index, last, cut = line, line, False
    while index < len(text):
        body = text.body(index)
        match = rx(_ELEMENT).match(body)
        if match is None or int(match.group("index")) != wanted:
            cut = body.strip() in ("...", "…")
            break
        value = match.group("value")
        here = index
        if value is None:
            index += 1
            following = rx(_INT).match(text.body(index)) if index < len(text) else None
            if following is None:
                break
            value = following.group("value")
        number = int(value)
        if not -128 <= number <= 255:
            break
        rows.append((len(values), here))
        values.append(number & 255)
        wanted += 1
        last = index
        index += 1
    data = bytes(values)
    known = weight(data)
    if len(data) < (_FEWEST if strict else 1) or (
        strict and known != KNOWN and not (len(data) >= 16 and known > NOTHING)
    ):
        return None
    notes: tuple[Note, ...] = (cut_note(None),) if cut else ()
    return inline(text, line, 0, len(text[last]), data, "print-r", notes, cut=cut, last=last, rows=rows)


_SIZED = r"\bstring\((?P<dump>\d{1,8})\) \"|\bs:(?P<serialized>\d{1,8}):\""


def read_sized(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """PHP's var_dump and serialize: the length is known, so lost line ends and a cut end can be told."""
    if '"' not in text[line]:
        return None
    for match in places(_SIZED, text[line], column):
        size = int(match.group("dump") or match.group("serialized"))
        if strict and line <= text.passed.get("sized", -1):
            return None
        found = _sized(text, line, match.end(), size)
        if found is None:
            continue
        data, last, stop, missing, note = found
        if (strict and weight(data) != KNOWN) or (not strict and len(data) < _FEWEST):
            if last > line:
                text.passed["sized"] = last
            continue
        notes = (note,) if note else ()
        if missing:
            notes = (*notes, cut_note(missing))
        lossy = "\ufffd" in text[line]
        return inline(
            text, line, match.start(), stop, data, "php-string", notes, cut=missing > 0, last=last, lossy=lossy
        )
    return None


def _sized(text: Text, line: int, start: int, size: int) -> tuple[bytes, int, int, int, Note | None] | None:
    """The bytes of a string of `size` that goes on over lines, whose ends may have been CR LF or LF."""
    best: tuple[bytes, int, int, int, Note | None] | None = None
    for ending in (b"\r\n", b"\n"):
        out = bytearray(text[line][start : start + size + 1].encode("utf-8", "replace"))
        last = line
        while len(out) < size and last + 1 < len(text):
            last += 1
            out += ending + text[last][: size + 1].encode("utf-8", "replace")
        if len(out) >= size and out[size : size + 1] == b'"':
            shown = len(bytes(out[:size]).decode("utf-8", "replace").split("\n")[-1])
            stop = shown + 1 + (start if last == line else 0)
            return bytes(out[:size]), last, stop, 0, None
        if best is None:
            end = out.find(b'"')
            data = bytes(out[:end] if 0 <= end < size else out[:size])
            if len(data) < size:
                best = data, line + data.count(ending), len(text[line]), size - len(data), None
    return best
