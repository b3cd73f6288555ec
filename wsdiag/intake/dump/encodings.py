"""Bytes in an encoding made for transport: base64, base32, URL encoding, quoted-printable, with gzip or zlib inside.
What terminals and editors make of raw bytes is left to `terminal`.
"""

from wsdiag.intake.dump.found import Dump, Text, blank, cut_note, inline, places, rx
from wsdiag.intake.dump.plausible import FRAMES, KNOWN, NOTHING, TEXT, weight
from wsdiag.model import Note

# A megabyte of handshake is plenty; a bomb stops here.
MOST_UNPACKED = 1 << 20
# The first characters of base64 of what we look for: GET, HTTP/, POST, TLS records, PRI, PROXY, CONNECT, OPTIONS, gzip.
_BASE64_STARTS = r"(?:R0VUI|SFRUUC|UE9TV|FgM[BDC]|FQM[BDC]|UFJJI|UFJPWF|Q09OTk|T1BUSU|DQoNCgAN|H4sI|eJ)"
_BASE64 = r"[A-Za-z0-9+/_-]"


def read_base64(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Base64, also URL-safe and as a data URI. In free text only what decodes to something known, never a bare key."""
    content = text[line]
    pattern = rf"(?<![A-Za-z0-9+/_=-])((?:data:[\w./+-]{{0,64}};base64,)?)({_BASE64_STARTS}{_BASE64}{{12,}}+={{0,2}})"
    if not strict:
        pattern = rf"(?<![A-Za-z0-9+/_=-])((?:data:[\w./+-]{{0,64}};base64,)?)({_BASE64}{{4,}}+={{0,2}})"
    for match in places(pattern, content, column):
        if line <= text.passed.get("base64", -1) and strict:
            return None
        pieces, rows, last, stop = [match.group(2)], [(0, line)], line, match.end()
        while blank(content, stop) and not pieces[-1].endswith("=") and last + 1 < len(text):
            more = rx(rf"{_BASE64}{{2,}}+={{0,2}}").fullmatch(text.body(last + 1).strip())
            if (
                more is None
                or len(more.group()) > len(pieces[0])
                or (len(pieces) > 1 and len(pieces[-1]) != len(pieces[0]))
            ):
                break
            rows.append((sum(map(len, pieces)) * 3 // 4, last + 1))
            pieces.append(more.group())
            last += 1
            content = text[last]
            stop = content.index(more.group()) + len(more.group())
        if strict and rx(r"(?i)Sec-WebSocket-(?:Key|Accept)\W{1,4}$").search(text[line][: match.start()]):
            continue
        decoded = _base64("".join(pieces))
        content = text[line]
        if decoded is None:
            continue
        data, form, cut, notes = *_unpack(decoded[0]), decoded[1], []
        if form:
            notes.append(Note("dump-unpacked", {"form": form}))
            rows = []
        known = weight(data)
        if strict:
            if known != KNOWN:
                if last > line:
                    text.passed["base64"] = last
                continue
        elif known < FRAMES and not (known == TEXT and len(data) > 8) and not _surely_base64(match.group(), pieces):
            continue
        if cut:
            notes.append(cut_note(None))
        name = "data-uri" if match.group(1) else "base64"
        return inline(text, line, match.start(), stop, data, name, tuple(notes), cut=cut, last=last, rows=rows)
    return None


def _surely_base64(whole: str, pieces: list[str]) -> bool:
    """True when a text of unknown bytes has the look of base64: padding, both cases, digits or signs."""
    joined = "".join(pieces)
    return whole.startswith("data:") or (
        len(joined) >= 8
        and len(joined) % 4 == 0
        and any(char.islower() for char in joined)
        and any(char.isupper() for char in joined)
        and (joined.endswith("=") or any(char in "0123456789+/" for char in joined))
    )


def _base64(digits: str) -> tuple[bytes, bool] | None:
    """The bytes, and whether the text ended inside a group of four."""
    from binascii import Error, a2b_base64

    digits = digits.rstrip("=").replace("-", "+").replace("_", "/")
    rest = len(digits) % 4
    cut = rest == 1
    if cut:
        digits = digits[:-1]
        rest = 0
    try:
        return a2b_base64(digits + "=" * (-rest % 4)), cut
    except Error:
        return None


def _unpack(data: bytes) -> tuple[bytes, str]:
    """What gzip or zlib had packed, and the form; the data itself when it is neither."""
    if data[:3] == b"\x1f\x8b\x08":
        form, bits = "gzip", 31
    elif data[:2] in (b"\x78\x9c", b"\x78\xda", b"\x78\x01", b"\x78\x5e"):
        form, bits = "zlib", 15
    else:
        return data, ""
    import zlib

    try:
        return zlib.decompressobj(bits).decompress(data, MOST_UNPACKED), form
    except zlib.error:
        return data, ""


def unpacked(dump: Dump) -> Dump:
    """The dump with its bytes unpacked when they are gzip or zlib."""
    data, form = _unpack(dump.data)
    if not form or weight(data) == NOTHING:
        return dump
    notes = (dump.notes[0]._replace(values={**dump.notes[0].values, "size": len(data)}), *dump.notes[1:])
    return dump._replace(data=data, notes=(*notes, Note("dump-unpacked", {"form": form})), marks=dump.marks[:1])


def read_base32(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Base32 (RFC 4648 section 6), over lines; in free text only what decodes to something known."""
    content = text[line]
    for match in places(r"(?<![A-Za-z0-9+/_=])([A-Z2-7]{8,}+)(={0,6})(?![A-Za-z0-9+/_])", content, column):
        if strict and line <= text.passed.get("base32", -1):
            return None
        digits, padding, last, stop = match.group(1), match.group(2), line, match.end()
        rows, wide = [(0, line)], len(match.group(1))
        while not padding and blank(text[last], stop) and last + 1 < len(text):
            more = rx(r"([A-Z2-7]{2,}+)(={0,6})").fullmatch(text.body(last + 1).strip())
            if more is None or len(more.group(1)) > wide:
                break
            last += 1
            rows.append((len(digits) * 5 // 8, last))
            digits, padding, stop = digits + more.group(1), more.group(2), len(text[last].rstrip())
        data = _base32(digits)
        if data is None:
            continue
        known = weight(data)
        alone = blank(content, 0, match.start()) and blank(text[last], stop) and rx(r"[2-7]").search(digits)
        if known == KNOWN or (not strict and (known >= FRAMES or padding or alone)):
            return inline(text, line, match.start(), stop, data, "base32", last=last, rows=rows)
        if last > line:
            text.passed["base32"] = last
    return None


def _base32(digits: str) -> bytes | None:
    from base64 import b32decode

    usable = len(digits) - (0 if len(digits) % 8 in (0, 2, 4, 5, 7) else 1)
    try:
        return b32decode(digits[:usable] + "=" * (-usable % 8))
    except ValueError:
        return None


def read_url(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """URL encoding: `GET%20%2Fchat%20HTTP%2F1.1%0D%0A`."""
    content = text[line]
    if "%" not in content:
        return None
    for match in places(r"(?:[A-Za-z0-9_.~+!*'(),:;/?&=@$-]|%[0-9a-fA-F]{2})*+(%[0-9a-fA-F]?$)?", content, column):
        run = match.group()
        if run.count("%") < 2:
            continue
        start = match.start()
        while run[:1] in ("'", "(", "=", ":", ","):
            run, start = run[1:], start + 1
        if match.group(1):
            run = run[: -len(match.group(1))]
        run = run.rstrip("'),;")
        plus = " " not in run and "%20" not in run and "+" in run
        data = _percent(run.replace("+", " ") if plus else run)
        known = weight(data)
        if plus and known < KNOWN:
            data = _percent(run)
            known = weight(data)
        if strict and known != KNOWN and "=" in run and rx(r"[^=]*=").match(run):
            before = rx(r"[^=]*=").match(run)
            if before and weight(data := _percent(run[before.end() :])) == KNOWN:
                known, start = KNOWN, start + before.end()
        if known == KNOWN or (not strict and run.count("%") >= 2):
            cut = bool(match.group(1)) or rx(r"[ \t]*(?:\.\.\.|…)").match(content, match.end()) is not None
            notes = (cut_note(None),) if cut else ()
            return inline(text, line, start, match.end(), data, "url-encoded", notes, cut=cut)
    return None


def _percent(run: str) -> bytes:
    pieces = run.encode("utf-8").split(b"%")
    return pieces[0] + b"".join(bytes.fromhex(piece[:2].decode()) + piece[2:] for piece in pieces[1:])


def read_quoted_printable(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """Quoted-printable (RFC 2045 section 6.7): `=0D=0A`, lines that end in `=` go on."""
    content = text[line]
    if strict and line <= text.passed.get("quoted-printable", -1):
        return None
    if column or rx(r"=[0-9A-F]{2}.*=(?:[0-9A-F]{2}|$)").search(content) is None:
        return None
    last, pieces, rows, size = line, list[bytes](), list[tuple[int, int]](), 0
    # A ">" at the start of a line is a quote only if the first line is quoted as well.
    shown = text.body if text.column(line) else text.__getitem__
    start = len(content) - len(text.body(line))
    while True:
        body = shown(last)
        soft = body.rstrip().endswith("=")
        body = body.rstrip()[:-1] if soft else body
        piece = _equals(body)
        if piece is None:
            return None
        rows.append((size, last))
        pieces.append(piece)
        size += len(piece)
        following = shown(last + 1) if last + 1 < len(text) else ""
        if not soft and not (size and rx(r"=[0-9A-F]{2}").search(following)):
            break
        if not soft:
            pieces.append(b"\r\n")
            size += 2
        if last + 1 >= len(text):
            break
        last += 1
    data = b"".join(pieces)
    if weight(data) == KNOWN or (not strict and len(pieces) and rx(r"=[0-9A-F]{2}").search(content)):
        return inline(text, line, start, len(text[last]), data, "quoted-printable", last=last, rows=rows)
    if last > line:
        text.passed["quoted-printable"] = last
    return None


def _equals(body: str) -> bytes | None:
    if rx(r"=(?![0-9A-F]{2})").search(body) or not body.isascii():
        return None
    pieces = body.encode().split(b"=")
    return pieces[0] + b"".join(bytes.fromhex(piece[:2].decode()) + piece[2:] for piece in pieces[1:])


def count_replaced(dump: Dump) -> Dump:
    """Say so when hex shows runs of EF BF BD: the bytes went through a UTF-8 decoder before they were dumped."""
    count = dump.data.count(b"\xef\xbf\xbd")
    if not count or dump.lossy or any(note.name == "dump-replaced" for note in dump.notes):
        return dump
    return dump._replace(lossy=True, notes=(*dump.notes, Note("dump-replaced", {"count": count})))
