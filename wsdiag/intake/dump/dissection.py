"""tshark's dissections (`-T json -x`, `-T jsonraw`, `-T ek -x`, `-T pdml`): each field's bytes stand there, so that one
payload is read once and the rest is passed over.
"""

from wsdiag.intake.dump.found import Dump, Text, inline, places, rx

# A packet's dissection goes on for about so many lines before and after its bytes.
_LINES_AROUND = 400
# A field's name stands among the first characters of its line.
_WIDE = 1024
# The fields that hold a stream's bytes; the whole frame comes first and is enough when it is there.
_FRAME = r"\"frame_raw\": ?\[?\s*\"?(?P<hex>[0-9a-f]{40,})?"
_FIELD = r"<field name=\"tcp\.payload\"[^>]{0,2048} value=\"(?P<hex>[0-9a-f]{2,}+)\""


def is_dissection(text: Text, line: int) -> bool:
    """True when the line shows a field of a dissected packet."""
    content = text[line][:_WIDE]
    if "<field " in content or "<proto " in content or '_raw":' in content or "<packet>" in content:
        return True
    body = content.strip()
    if '": ' in body and rx(r"\"_?[a-z]+(?:\.\w+)+\": ").match(body) and not body.startswith('"tcp.payload"'):
        return True
    return (
        bool(line)
        and body[:1] in '"0123456789'
        and '_raw": [' in "".join(text[index] for index in range(max(0, line - 5), line))
        and rx(r"\"[0-9a-f]*\",?|\d+,?").fullmatch(body) is not None
    )


def read_dissection(text: Text, line: int, column: int, strict: bool) -> Dump | None:
    """The frame's or the payload's bytes of a dissection, on this line or the next."""
    content = text[line]
    if "frame_raw" not in content and "tcp.payload" not in content:
        return None
    match = next(places(_FIELD, content, column), None) if "<field " in content[: column + _WIDE] else None
    if match is None:
        match = rx(_FRAME).search(content, column)
        if match is None:
            return None
        if match.group("hex") is None and line + 1 < len(text):
            following = rx(r"\s*\"(?P<hex>[0-9a-f]{40,}+)\"").match(text[line + 1])
            if following is None:
                return None
            data = _bytes(following.group("hex"))
            found = inline(text, line, match.start(), following.end(), data, "tshark-raw", last=line + 1)
            return found._replace(marks=inline(text, line + 1, 0, 0, data, "").marks)
    if match.group("hex") is None:
        return None
    return inline(text, line, match.start(), match.end(), _bytes(match.group("hex")), "tshark-raw")


def _bytes(digits: str) -> bytes:
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def only_payloads(dumps: list[Dump]) -> list[Dump]:
    """Without what else was found between the first and the last packet of a dissection."""
    raw = [dump for dump in dumps if dump.notation == "tshark-raw"]
    if not raw:
        return dumps
    first, last = raw[0].first, max(dump.last for dump in raw)
    return [
        dump
        for dump in dumps
        if dump.notation == "tshark-raw" or not first - _LINES_AROUND <= dump.first <= last + _LINES_AROUND
    ]
