"""Bytes as a list of numbers in brackets: Node, Python, Go, Java, Rust, C, C#, PHP, Erlang and JSON print them so, over
one line or many; hex without brackets is left to `runs`, quoted text to `quoted`.
"""

from wsdiag.intake.dump.dissection import is_dissection
from wsdiag.intake.dump.found import Dump, Text, blank, cut_note, inline, places, rx
from wsdiag.intake.dump.plausible import DER, FRAMES, KNOWN, NOTHING, weight
from wsdiag.model import Note
from wsdiag.record import NamedTuple

_OPENER = (
    r"(?P<buffer><Buffer )"
    r"|(?P<contents>\[Uint8Contents\]: <)"
    r"|(?P<binary><<)(?=[ \t]*(?:\d|0x|16#|\"|>>|$))"
    r"|(?P<bracket>[\[{(])(?=[ \t]*(?:[\"']?(?:0[xX][0-9a-fA-F]|-?\d{1,3}\b|[0-9a-fA-F]{2}\b)|\((?:byte|char)|'|$))"
)
_ITEM = (
    r"[ \t]*(?:[\"']?(?P<index>\d{1,9})[\"']?[ \t]*(?::|=>)[ \t]*)?"
    r"(?:\((?:byte|char|uint8_t|sbyte|unsigned char)\)[ \t]*)?"
    r"(?P<quote>[\"'])?(?:(?P<hex>(?:0[xX]|16#)[0-9a-fA-F]{1,2})|(?P<number>-?\d{1,3}|[0-9a-fA-F]{2}))(?P=quote)?"
    r"(?:_?[ui]8|[uU]?[yY])?(?![0-9A-Za-z_.:])[ \t]*(?P<separator>[,;])?"
)
_TAIL = r"[ \t]*(?:\.\.\.|…)[ \t]*(?:(?P<more>\d+) more (?:bytes|items?|elements?)|\+?(?P<plus>\d+))?[ \t]*,?"
_CLOSERS = {"buffer": ">", "contents": ">", "binary": ">>", "[": "]", "{": "}", "(": ")"}
# What stands right in front of the bracket when the list is one of bytes for sure, and the notation that it tells.
_NAMED = (
    (r"Uint8Array\((?P<size>\d+)\) ?$", "uint8array"),
    (r"Uint8Array(?:\.of|\.from)\(?$|new Uint8Array\($", "uint8array"),
    (r"(?:Int8Array|Uint8ClampedArray)\((?P<size>\d+)\) ?$", "uint8array"),
    (r"(?P<typed>\"type\":[ ]?\"Buffer\",[ ]?\"data\":[ ]?)$", "buffer-json"),
    (r"\btype: 'Buffer', ?data: ?$", "buffer-json"),
    (r"(?:bytearray|bytes)\(\[?$", "python-list"),
    (r"\barray\([\"'][bB][\"'], ?$", "python-array"),
    (r"\[\](?:byte|uint8)\(?$", "go-bytes"),
    (r"\[\](?:byte|uint8) len: (?P<size>\d+), cap: \d+, ?$", "go-bytes"),
    (r"\bnew (?:byte|sbyte)\[\d*\] ?$", "java-array"),
    (r"\bbyte\[(?P<size>\d*)\] ?$", "java-array"),
    (r"(?:\bchar|\buint8_t|\bu8|\bBYTE|\bu?int8_t) \w{1,64}\[(?P<size>\d*)\] ?(?:PROGMEM )?= ?$", "c-array"),
    (r"\bbyteArrayOf$", "java-array"),
    (r"(?:\bvec!|\b&) ?$", "rust-list"),
    (r"\bBuffer\.from\($", "buffer-json"),
)
_LOOK_BACK = 96
# Names that stand in sources as well as in output; a few bytes there are somebody's constant.
_IN_SOURCES = frozenset(("go-bytes", "c-array", "java-array", "uint8array", "buffer-json", "rust-list"))
_FEWEST_IN_SOURCE = 8
# A list over more lines than this is no dump that anybody pasted.
MOST_ITEMS = 1 << 24


class _List(NamedTuple):
    """What stands between the brackets."""

    hexes: list[str]
    numbers: list[str]
    literal: bool  # strings stand between the numbers (Erlang): left to `quoted`
    indexed: bool
    rows: list[tuple[int, int]]
    last: int
    stop: int
    closed: bool
    missing: int | None  # 0: nothing; None: unknown
    quoted: bool
    separators: bool


def read_list(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The first list of bytes from this column on."""
    content = text[line]
    if not any(sign in content for sign in "[{(<") or is_dissection(text, line):
        return None
    for match in places(_OPENER, content, column):
        kind = match.lastgroup or ""
        closer = _CLOSERS[match.group() if kind == "bracket" else kind]
        found = _scan(text, line, match.end(), closer, kind == "buffer")
        if found is not None:
            dump = _dump(text, line, match.start(), kind, content, found, strict)
            if dump is not None:
                return dump
    return None


def _scan(text: Text, line: int, column: int, closer: str, spaced: bool) -> _List | None:
    """Read items until the closer, over line ends; None when something else stands there."""
    hexes: list[str] = []
    numbers: list[str] = []
    rows: list[tuple[int, int]] = [(0, line)]
    content, at, index = text[line], column, line
    item = rx(_ITEM).match
    tail = rx(_TAIL).match
    count = 0
    indexed = quoted = separators = False
    if content[column - 1 : column] == ">" and spaced:  # <Buffer>
        return _List([], [], False, False, rows, line, column, True, 0, False, False)
    while count < MOST_ITEMS:
        match = item(content, at)
        if match is not None:
            if match.group("index") is not None:
                if int(match.group("index")) not in (count, count + 1):
                    return None
                indexed = True
            token = match.group("hex")
            if token is not None:
                hexes.append(token.replace("16#", "0x"))
            else:
                numbers.append(match.group("number"))
            quoted = quoted or match.group("quote") is not None
            separators = separators or match.group("separator") is not None
            count += 1
            at = match.end()
            continue
        rest = content[at : at + 64].lstrip(" \t")
        if rest.startswith(closer) and (count or closer in (">", ">>")):
            stop = content.index(closer, at) + len(closer)
            return _List(hexes, numbers, False, indexed, rows, index, stop, True, 0, quoted, separators)
        if count and (found := tail(content, at)):
            more = found.group("more") or found.group("plus")
            missing = int(more) if more else None
            after = content[found.end() : found.end() + 64].lstrip()
            stop, last = found.end(), index
            closed = after.startswith(closer)
            if not after and index + 1 < len(text) and text.body(index + 1).strip().startswith(closer):
                last, closed = index + 1, True
                stop = text[last].index(closer) + len(closer)
            elif _property(after) and content.find(closer, found.end()) >= 0:
                closed = True
                stop = content.index(closer, found.end()) + len(closer)
            elif closed:
                stop = content.index(closer, found.end()) + len(closer)
            return _List(hexes, numbers, False, indexed, rows, last, stop, closed, missing, quoted, separators)
        if count and rx(r"(?:buffer|byteLength|length|Symbol\()").match(rest):  # a browser console's own properties
            end = content.find(closer, at)
            stop = end + 1 if end >= 0 else len(content)
            return _List(hexes, numbers, False, indexed, rows, index, stop, True, 0, quoted, separators)
        if rest.strip() or index + 1 >= len(text):
            if count and not rest.strip():
                return _List(hexes, numbers, False, indexed, rows, index, at, False, None, quoted, separators)
            return None
        index += 1
        content = text[index]
        body = text.body(index)
        at = len(content) - len(body)
        if count:
            rows.append((count, index))
        else:
            rows[0] = (0, index)
        if count and not (item(content, at) or body.strip().startswith((closer, "...", "…")) or _property(body)):
            # The paste ends inside the list.
            return _List(
                hexes,
                numbers,
                False,
                indexed,
                rows[:-1],
                index - 1,
                len(text[index - 1]),
                False,
                None,
                quoted,
                separators,
            )
    return None


def _property(body: str) -> bool:
    return rx(r"[ \t]*(?:buffer|byteLength|length|Symbol\()").match(body) is not None


def _dump(text: Text, line: int, start: int, kind: str, content: str, found: _List, strict: bool) -> Dump | None:
    before = content[max(0, start - _LOOK_BACK) : start]
    named, declared, name_start = "", 0, start
    if kind in ("buffer", "contents"):
        named = "node-buffer" if kind == "buffer" else "node-arraybuffer"
    else:
        for pattern, name in _NAMED:
            if match := rx(pattern).search(before):
                named, name_start = name, start - len(before) + match.start()
                size = match.groupdict().get("size")
                declared = int(size) if size else 0
                break
    if found.hexes and found.numbers:
        return None
    values: bytes | None
    notes: list[Note] = []
    chosen = ""
    if not found.hexes and not found.numbers:
        return _empty(text, line, start, kind, found)
    if found.hexes:
        values, chosen = bytes(int(token, 16) for token in found.hexes), "hex"
    else:
        values, chosen = _values(found.numbers, kind in ("buffer", "contents"), notes)
    if values is None:
        return None
    known = weight(values)
    single = len(values) == 1 and not named and kind == "bracket"
    if single and not (blank(content, text.column(line), start) and blank(text[found.last], found.stop)):
        return None  # a size or an index: array(64), [1] => 71
    if not found.closed and not named and strict and known != KNOWN:
        return None
    if strict and not named and not _list_counts(found, values, kind, known):
        return None
    if strict and (named in _IN_SOURCES and known < FRAMES and len(values) < _FEWEST_IN_SOURCE):
        return None
    if strict and values.startswith(DER):
        return None  # Node prints certificates and their keys so, inside TLS errors
    missing = found.missing
    if declared > len(values):
        missing = missing or declared - len(values)
    if not found.closed and missing == 0:
        missing = None
    cut = missing != 0
    if cut:
        notes.append(cut_note(missing))
    notation = named or _name(kind, content[start], chosen, found)
    return inline(
        text,
        line,
        name_start,
        found.stop,
        values,
        notation,
        tuple(notes),
        cut=cut,
        last=found.last,
        rows=found.rows,
    )


def _empty(text: Text, line: int, start: int, kind: str, found: _List) -> Dump | None:
    if kind == "buffer" and found.closed:
        return inline(
            text,
            line,
            start,
            found.stop,
            b"",
            "node-buffer",
            (Note("dump-no-data", {"form": "node-buffer", "text": "<Buffer >"}),),
        )
    return None


def _values(numbers: list[str], always_hex: bool, notes: list[Note]) -> tuple[bytes | None, str]:
    """The bytes of items without prefix: hex when a letter occurs, decimal by size or sign, else what decodes."""
    digits = all(number.lstrip("-").isdecimal() for number in numbers)
    two = all(len(number) == 2 and number[0] != "-" for number in numbers)
    if always_hex or not digits:
        return (bytes.fromhex("".join(numbers)), "hex") if two else (None, "")
    plain = [int(number) for number in numbers]
    if min(plain) < -128 or max(plain) > 255 or (min(plain) < 0 and max(plain) > 127):
        return None, ""
    decimal = bytes(number & 255 for number in plain)
    if weight(decimal) < KNOWN and all(rx(r"[0-3]?[0-7]{1,2}").fullmatch(number) for number in numbers):
        octal = bytes(int(number, 8) for number in numbers)
        if weight(octal) == KNOWN:
            notes.append(Note("dump-ambiguous", {"chosen": "octal", "rejected": "decimal"}))
            return octal, "octal"
    if not two or len(numbers) < 2:
        return decimal, "decimal"
    as_hex = bytes.fromhex("".join(numbers))
    hex_weight, decimal_weight = weight(as_hex), weight(decimal)
    if hex_weight > decimal_weight:
        notes.append(Note("dump-ambiguous", {"chosen": "hex", "rejected": "decimal"}))
        return as_hex, "hex"
    if hex_weight > NOTHING or decimal_weight == NOTHING:
        notes.append(Note("dump-ambiguous", {"chosen": "decimal", "rejected": "hex"}))
    return decimal, "decimal"


def _list_counts(found: _List, values: bytes, kind: str, known: int) -> bool:
    """True when a bare list in free text is one of bytes: it decodes to something, or nobody lists other things so."""
    if known == KNOWN:
        return len(values) >= 4
    if kind == "binary":
        return len(values) >= 4 and known > NOTHING
    if found.hexes:
        return len(values) >= 8 and known > NOTHING
    if any(number.startswith("-") for number in found.numbers):
        return len(values) >= 8 and known > NOTHING
    return len(values) >= 16 and known > NOTHING


def _name(kind: str, bracket: str, chosen: str, found: _List) -> str:
    if kind == "binary":
        return "erlang-binary"
    if found.indexed:
        return "json-indexed"
    if found.hexes:
        return "hex-0x-list"
    if chosen == "hex":
        return "hex-list"
    if any(number.startswith("-") for number in found.numbers):
        return "signed-list"
    if not found.separators:
        return "go-list"
    return "decimal-list"
