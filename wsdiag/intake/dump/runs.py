"""Hex digits in a row or in groups, without offsets: plain, spaced, with colons, `0x`, wrapped over lines, and the
`Buffer:` of Workerman; lists in brackets are left to `lists`, rows with offsets to `grid`.
"""

import re

from wsdiag.intake.dump.clean import is_hex
from wsdiag.intake.dump.dissection import is_dissection
from wsdiag.intake.dump.found import Dump, Text, blank, cut_note, inline, places, rx
from wsdiag.intake.dump.plausible import DER, FRAMES, KNOWN, NOTHING, TEXT, weight
from wsdiag.model import Note

_GROUP = r"(?:0[xX])?[0-9a-fA-F]{2,}+(?![0-9A-Za-z])"
# The groups of one run have one kind of separator between them: "2024-11-22 12:18:34" is no run.
_SEPARATORS = (r"[ \t]{1,4}(?:[-|][ \t])?", r" ?: ?", r"[ \t]?[,;][ \t]?", "-", r"\.", "_", r"\|")
_MORE = "|".join(f"(?:{each}{_GROUP})++" for each in _SEPARATORS)
# `hex=4745…` is meant as bytes; `sid=4745…`, `?hash=` and quoted-printable are not.
_EQUALS = "|".join(
    f"(?<={word}=)" for word in ("hex", "buf", "buffer", "bytes", "data", "raw", "payload", "dump", "msg")
)
_RUN = rf"(?:(?<![0-9A-Za-z\\%&#=/+])|{_EQUALS}){_GROUP}(?:{_MORE})?"
_DIGITS = r"[0-9a-fA-F]{2,}"
_GLUED_PREFIXES = r"(?:0[xX][0-9a-fA-F]{2}){2,}"  # Tomcat: [0x160x030x01…]
# A word that says that hex follows. The first group is trusted with any bytes, the others with none of a hash's size.
_INTRODUCED = (
    r"(?:(\b[Bb]uffer|\bBUFFER|\b[Hh]ex(?:[ _-]?dump|[ _-]?string)?|\bHEX|\b[Rr]aw(?: bytes| data)?|\b[Bb]ytes"
    r"|\b[Pp]ayload|\b[Pp]acket|\b[Dd]ump|报文|十六进制|原始数据)"
    r"|(\b[Dd]ata|\b[Bb]ody|\b[Ff]rame|\b[Rr]eceived|\b[Rr]ecv|\b[Ss]ent|\b[Ss]end|\b[Rr]ead|\b[Ww]rote|数据|收到|发送|接收))"
    r"(?:[ \t]*\(?\d{0,7} ?(?:bytes|字节)?\)?)[ \t]*(?:[:=]|=>|is)?[ \t]*[\"'<(\[{]{0,2}[ \t]*$"
)
_ELLIPSIS = r"[ \t]*(?:\.\.\.|…|\[(?:truncated|\.\.\.|…)\]|[(<](?:truncated|cut|\.\.\.)[)>])"
# The word right in front of a run is looked for in this many characters.
_LOOK_BACK = 48
_HASHES = (16, 20, 28, 32, 48, 64)
# Words that a program printed without a line break after the hex; "fa" of "false" is hex as well.
_GLUED = (
    "false error exception closed close connection connect exit end frame data before bad fail fatal deprecated "
    "accept added buffer client debug disconnect"
)
# Unintroduced groups: fewer are dates, times and MAC addresses.
_FEWEST_GROUPS = 7
_FEWEST_DIGITS = 8
# Digits of a line of wrapped hex; a column of shorter numbers is a table.
_FEWEST_WRAPPED = 16


def read_run(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first run of hex from this column on that is taken for bytes."""
    content = text[line]
    if (strict and line <= text.passed.get("run", -1) and column == 0) or is_dissection(text, line):
        return None
    # A line of digits is one run, and the plain pattern compiles much faster.
    plain = column == 0 and content.isalnum() and is_hex(content)
    for match in places(_DIGITS if plain else _RUN, content, column):
        found = _run(text, line, match, strict)
        if found is not None:
            return found
    return None


def read_introduced(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """`Buffer:474554…` even when a word is glued to its end, as Workerman prints it."""
    content = text[line]
    if "uffer" not in content:
        return None
    pattern = (
        r"\b[Bb]uffer[:=]? ?((?:[0-9a-f]{2}){4,}+[0-9a-f]?|(?:[0-9A-F]{2}){4,}+[0-9A-F]?)"
        r"|\bBuffer:((?:[0-9a-f]{2}){1,3}+)(?=$|[Ee]rror|recv|\s*$)"
    )
    for match in places(pattern, content, column):
        group = 1 if match.group(1) else 2
        digits = match.group(group)
        stop = match.end()
        if rx(r"[ \t]+[0-9a-fA-F]{2,}+(?![0-9A-Za-z])").match(content, stop):
            continue  # groups with blanks between them
        if content[stop : stop + 1].isalnum():
            digits = _unglue(digits, content[stop : stop + 16])
            stop = match.start(group) + len(digits)
            notes: tuple[Note, ...] = (Note("dump-glued"),)
            found = _plain(text, line, match.start(group), stop, digits, "workerman-buffer", strict=False, notes=notes)
        else:
            found = _plain(text, line, match.start(group), stop, digits, "workerman-buffer", strict=False)
        if found is not None:
            return found
    return None


def read_prefixed(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """`0x160x030x01`, each byte with its prefix and nothing between."""
    content = text[line]
    match = rx(_GLUED_PREFIXES).search(content, column)
    if match is None:
        return None
    data = bytes.fromhex(match.group().replace("0x", "").replace("0X", ""))
    notes: tuple[Note, ...] = ()
    cut = rx(_ELLIPSIS).match(content, match.end()) is not None
    if cut:
        notes = (cut_note(None),)
    return inline(text, line, match.start(), match.end(), data, "hex-prefixed", notes, cut=cut)


def _unglue(digits: str, after: str) -> str:
    """The digits without those that begin the word that goes on in `after`."""
    for size in range(6, 0, -1):
        tail = digits[-size:]
        if any((tail + after).lower().startswith(word) and len(word) > size for word in _GLUED.split()):
            return digits[:-size]
    end = digits.find("0d0a0d0a")
    if end >= 0 and end % 2 == 0 and len(digits) - end - 8 < 6:
        return digits[: end + 8]
    return digits


def _run(text: Text, line: int, match: re.Match[str], strict: bool) -> Dump | None:
    run = match.group()
    tokens = _digits(run)
    if not strict and not any(char.isdecimal() for char in run) and not _alone(text, line, match.start(), match.end()):
        return None  # "dead beef" in prose
    if len(tokens) == 1:
        notation = "hex-0x" if run[:2] in ("0x", "0X") else "hex"
        return _plain(text, line, match.start(), match.end(), tokens[0], notation, strict)
    if any(len(token) % 2 for token in tokens[:-1]):
        return None
    if (strict or " " not in run) and len({len(token) for token in tokens[:-1]}) > 1:
        return None  # a date, an address
    if strict and len(tokens[-1]) % 2:
        return None
    if len(tokens[-1]) > len(tokens[0]) and " " not in run:
        return None
    if not strict and len(tokens[0]) == 2 and (decimal := _decimal(tokens)) is not None:
        return _decided(text, line, match, tokens, decimal)
    return _groups(text, line, match, tokens, strict)


def _digits(run: str) -> list[str]:
    """The groups of a run, without their prefixes."""
    return rx(_DIGITS).findall(run.replace("0x", " ").replace("0X", " "))


def _decimal(tokens: list[str]) -> bytes | None:
    """The groups read as decimal numbers, if all of them are."""
    if not all(token.isdecimal() and len(token) == 2 for token in tokens):
        return None
    return bytes(int(token) for token in tokens)


def _decided(text: Text, line: int, match: re.Match[str], tokens: list[str], decimal: bytes) -> Dump | None:
    """Two digits each and no letter: hex or decimal, whichever is something; hex when neither or both are."""
    data = bytes.fromhex("".join(tokens))
    as_hex, as_decimal = weight(data), weight(decimal)
    if as_decimal > as_hex and (as_decimal == KNOWN or len(tokens) >= _FEWEST_GROUPS):
        note = Note("dump-ambiguous", {"chosen": "decimal", "rejected": "hex"})
        return inline(text, line, match.start(), match.end(), decimal, "decimal-list", (note,))
    notes = (Note("dump-ambiguous", {"chosen": "hex", "rejected": "decimal"}),) if as_decimal > NOTHING else ()
    return inline(text, line, match.start(), match.end(), data, _grouped_name(match.group()), notes)


def _grouped_name(run: str) -> str:
    if "0x" in run[:2].lower():
        return "hex-0x-list" if "," in run else "hex-0x"
    for sign, name in ((":", "hex-colons"), ("-", "hex-dashes"), (".", "hex-dots"), (",", "hex-commas")):
        if sign in run:
            return name
    return "hex-spaced"


def _groups(text: Text, line: int, match: re.Match[str], tokens: list[str], strict: bool) -> Dump | None:
    """Hex in groups, over as many lines as hold nothing else."""
    content = text[line]
    rows = [(0, line)]
    notes: tuple[Note, ...] = ()
    cut = False
    if len(tokens[-1]) % 2:
        tokens = [*tokens[:-1], tokens[-1][:-1]]
        notes, cut = (Note("dump-odd-nibble"),), True
    data = bytearray(bytes.fromhex("".join(tokens)))
    last, stop = line, match.end()
    while blank(content, stop, besides=",;:\\\\-") and last + 1 < len(text):
        body = text.body(last + 1)
        more = rx(_RUN).match(body.strip())
        if more is None or not blank(body.strip(), more.end(), besides=",;:\\\\.…}-") or _is_header_row(body):
            break
        digits = "".join(_digits(more.group()))
        if len(digits) % 2:
            break
        rows.append((len(data), last + 1))
        data += bytes.fromhex(digits)
        last += 1
        content = text[last]
        stop = len(content) - len(body) + body.index(more.group()) + more.end()
    if _is_header_row(match.group()):
        return None
    if strict and not _groups_count(text, line, match, bytes(data), tokens):
        text.passed["run"] = max(text.passed.get("run", -1), last if last > line else -1)
        return None
    if rx(_ELLIPSIS).match(content, stop):
        notes, cut = (*notes, cut_note(None)), True
    name = _grouped_name(match.group())
    return inline(text, line, match.start(), stop, bytes(data), name, notes, cut=cut, last=last, rows=rows)


def _is_header_row(run: str) -> bool:
    """`00 01 02 … 0F`: the heading that Format-Hex and editors print above their columns."""
    tokens = run.split()
    return len(tokens) == 16 and all(token.lower() == f"{index:02x}" for index, token in enumerate(tokens))


def _groups_count(text: Text, line: int, match: re.Match[str], data: bytes, tokens: list[str]) -> bool:
    """True when groups in free text are bytes: introduced, known, or alone on their lines and no address."""
    trusted, introduced = _introduction(text[line], match.start())
    known = weight(data)
    if data.startswith(DER):
        return False
    if introduced and (known > NOTHING or (trusted and len(data) not in (*_HASHES, 6, 8))):
        return len(data) >= 4 or (trusted and known >= FRAMES)
    if known == KNOWN:
        return len(tokens) >= _FEWEST_GROUPS or (" " in match.group() and len(tokens) >= 4 and len(tokens[0]) == 2)
    alone = blank(text[line], text.column(line), match.start())
    return alone and known >= TEXT and len(data) >= _FEWEST_GROUPS and " " in match.group() and len(tokens[0]) == 2


def _introduction(content: str, start: int) -> tuple[bool, bool]:
    """Whether a word in front announces bytes: (one that is trusted with any, any such word)."""
    match = rx(_INTRODUCED).search(content[max(0, start - _LOOK_BACK) : start])
    return (bool(match and match.group(1)), match is not None)


def _plain(
    text: Text,
    line: int,
    start: int,
    stop: int,
    digits: str,
    notation: str,
    strict: bool,
    notes: tuple[Note, ...] = (),
) -> Dump | None:
    """One run of digits, over as many lines as hold nothing else."""
    content = text[line]
    first_stop = stop
    rows = [(0, line)]
    pieces = [digits]
    size = len(digits)
    last = line
    while blank(content, stop, besides="\\\\\"'") and last + 1 < len(text):
        if _indent(text[last + 1]) != _indent(content) and blank(content, 0, start):
            break  # the other direction of a followed stream
        body = text.body(last + 1).strip()
        more = rx(r"[\"']?([0-9a-fA-F]{1,}+)[\"']?").match(body)
        rest = body[more.end() :] if more else ""
        if more is None or (rest and not rx(rf"{_ELLIPSIS}$|[ \t\\]+$").match(rest)):
            glued = _soft_wrapped(content, digits, body)
            if not glued:
                break
            rows.append((size // 2, last + 1))
            pieces.append(glued)
            last += 1
            content = text[last]
            stop = content.index(glued) + len(glued)
            break
        if _ends(pieces, more.group(1)):
            break
        rows.append((size // 2, last + 1))
        pieces.append(more.group(1))
        size += len(more.group(1))
        last += 1
        content = text[last]
        stop = content.index(more.group(1)) + len(more.group(1))
    digits = "".join(pieces)
    cut = False
    if len(digits) % 2:
        digits = digits[:-1]
        notes = (*notes, Note("dump-odd-nibble"))
        cut = True
    data = bytes.fromhex(digits)
    if not blank(content, stop) and rx(_ELLIPSIS).match(content, stop):
        cut = True
        notes = (*notes, cut_note(None))
    if strict and not _plain_counts(text, line, start, first_stop, data, last - line):
        text.passed["run"] = max(text.passed.get("run", -1), last if last > line else -1)
        return None
    if not data:
        return None
    dump = inline(text, line, start, stop, data, notation, notes, cut=cut, last=last, rows=rows)
    return dump._replace(indent=text[line][:start]) if blank(text[line], 0, start) else dump


def _indent(content: str) -> str:
    return content[: len(content) - len(content.lstrip())]


# Wrapped hex is not wider than this; longer lines are one record each (tshark -T fields -e tcp.payload).
_WIDEST_WRAP = 160


def _ends(pieces: list[str], following: str) -> bool:
    """True when the hex on the next line is another record: the lines so far are no equally wide, wrapped ones."""
    width = len(pieces[0])
    if len(pieces) > 1 and (len(pieces[-1]) < len(pieces[1]) or len(following) > len(pieces[1])):
        return True
    start = following[:64]
    begins = bytes.fromhex(start[: len(start) // 2 * 2])
    fresh = rx(r"HTTP/1\.[01] \d\d\d |[A-Z]{3,7} /").match(begins.decode("latin-1")) or (
        begins[:2] in (b"\x15\x03", b"\x16\x03", b"\x17\x03") and begins[2:3] < b"\x05"
    )
    if fresh and len(following) != width:
        return True
    return pieces[-1].endswith("0d0a0d0a") and (width > _WIDEST_WRAP or len(pieces) > 1)


# A terminal or a chat program breaks lines at this width or later.
_WRAP_WIDTH = 60


def _soft_wrapped(content: str, digits: str, body: str) -> str:
    """The digits at the start of the next line when a terminal broke the line inside the hex."""
    if len(content) < _WRAP_WIDTH:
        return ""
    match = rx(r"[0-9a-f]{2,}+").match(body) if digits == digits.lower() else rx(r"[0-9A-F]{2,}+").match(body)
    if match is None:
        return ""
    after = body[match.end() : match.end() + 16]
    more = match.group()
    if after[:1].isalpha():
        more = _unglue(more, after)
        if more == match.group() and not more.endswith("0d0a0d0a") and not after[:1].isupper():
            return ""
    return more if len(more) >= 8 or more.endswith("0d0a") else ""


def _alone(text: Text, line: int, start: int, stop: int) -> bool:
    """True when nothing but prefixes, quotes and an ellipsis stands around these columns."""
    content = text[line]
    return blank(content, text.column(line), start, "\"'") and blank(content, stop, besides=".…\"'")


def _plain_counts(text: Text, line: int, start: int, stop: int, data: bytes, more_lines: int) -> bool:
    """True when a run of hex in free text is bytes: known, introduced, or alone on its lines and readable."""
    known = weight(data)
    if known == KNOWN:
        return len(data) * 2 >= _FEWEST_DIGITS
    trusted, introduced = _introduction(text[line], start)
    if data.startswith(DER):
        return False
    if introduced and known >= TEXT and len(data) >= 4:
        return True
    if trusted:
        return len(data) >= 4 and len(data) not in _HASHES
    alone = _alone(text, line, start, stop) if more_lines == 0 else stop - start >= _FEWEST_WRAPPED
    if known == FRAMES:
        return alone and len(data) not in _HASHES and len(data) >= 6
    return alone and known == TEXT and len(data) >= _FEWEST_DIGITS
