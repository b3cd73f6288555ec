"""Bytes of a log or a paste become clean text: encodings, terminal escapes, line ends; which lines matter is left to
`log`, and what is in them to the readers of dumps, transcripts and wordings.
"""

import codecs
import re
from functools import cache

from wsdiag.model import LogLine, Note, Origin
from wsdiag.record import NamedTuple

# How many of the bytes that are no UTF-8 are looked at to tell GB18030 from damage.
SAMPLE = 64 * 1024
# Of the two-byte characters in the sample this share must be everyday ones for GB18030: damage gives rare characters.
EVERYDAY_SHARE = 0.7
# A control string (OSC, DCS) longer than this is no terminal escape but damage; a window title is short.
LONGEST_CONTROL_STRING = 4096


class Decoded(NamedTuple):
    """Text with what there is to say about how it was read."""

    text: str
    notes: tuple[Note, ...] = ()


def unicode_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark (or the zero bytes of UTF-16) names; None: read it as UTF-8."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" in head:
        # Without a zero byte there is no blank and no line end in it: two stray bytes, not a mark.
        return "utf-16"
    sample = head[:512]
    if len(sample) >= 8 and b"\0" in sample:
        even, odd = sample[0::2], sample[1::2]
        if odd.count(0) > 0.4 * len(odd) and even.count(0) == 0:
            return "utf-16-le"
        if even.count(0) > 0.4 * len(even) and odd.count(0) == 0:
            return "utf-16-be"
    return None


def decode(data: bytes) -> Decoded:
    """Decode a whole text: UTF-8, UTF-16 or UTF-32 by their marks, GB18030; bytes that are none become U+FFFD."""
    named = unicode_encoding(data[:1024])
    if named is not None:
        text = data.decode(named, "replace").removeprefix("\ufeff")
        return Decoded(text, (Note("encoding", {"encoding": named.upper()}),))
    try:
        return Decoded(data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        pass
    texts, notes = decode_lines(data.split(b"\n"))
    return Decoded("\n".join(texts).removeprefix("\ufeff"), notes)


def decode_lines(lines: list[bytes]) -> tuple[list[str], tuple[Note, ...]]:
    """Decode each line by itself: a log may be written by programs that do not agree on an encoding."""
    texts: list[str] = []
    odd: list[int] = []
    for number, line in enumerate(lines):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            odd.append(number)
            texts.append("")
    if not odd:
        return texts, ()
    chinese = looks_like_gb18030(b"\n".join(lines[number] for number in odd)[:SAMPLE])
    damaged = 0
    for number in odd:
        text = lines[number].decode("gb18030" if chinese else "utf-8", "replace")
        damaged += text.count("\ufffd")
        texts[number] = text
    notes = [Note("encoding", {"encoding": "GB18030"})] if chinese else []
    if damaged:
        notes.append(Note("invalid-bytes", {"count": damaged}))
    return texts, tuple(notes)


def looks_like_gb18030(sample: bytes) -> bool:
    """True when the bytes above 0x7F pair up to everyday Chinese characters and punctuation (GB 2312, level 1)."""
    pairs = everyday = broken = 0
    position = 0
    while position < len(sample):
        first = sample[position]
        if first < 0x80:
            position += 1
            continue
        second = sample[position + 1] if position + 1 < len(sample) else None
        if second is None:
            break  # cut in the middle of a character
        if 0x81 <= first <= 0xFE and 0x40 <= second <= 0xFE and second != 0x7F:
            pairs += 1
            everyday += second >= 0xA1 and (0xB0 <= first <= 0xD7 or 0xA1 <= first <= 0xA3)
            position += 2
        elif 0x81 <= first <= 0xFE and 0x30 <= second <= 0x39:
            pairs += 1
            position += 4
        else:
            broken += 1
            position += 1
    return pairs >= 2 and broken <= pairs / 20 and everyday >= pairs * EVERYDAY_SHARE


@cache
def _unwanted() -> re.Pattern[str]:
    """What a terminal acts on instead of showing it, and characters that hide or reorder text."""
    escape = r"(?:\x1b|\^\[|\\u001[bB]|\\x1[bB]|\\033|\\e)"
    string = rf"[^\x07\x1b\x9c\n]{{0,{LONGEST_CONTROL_STRING}}}(?:\x07|\x1b\\|\x9c)?"
    return re.compile(
        "|".join(
            (
                rf"{escape}\[[0-9;:]{{0,32}}m",  # colours, also where the escape itself was copied as text
                r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]?",  # ECMA-48 control sequences
                rf"\x1b[\]PX^_]{string}",  # OSC (window titles, links, the clipboard), DCS, SOS, PM, APC
                r"\x1b[ -/]{0,8}[0-~]?",
                r"\x9b[0-?]{0,64}[ -/]{0,8}[@-~]?",
                rf"[\x90\x98\x9d\x9e\x9f]{string}",
                r"[\x80-\x8f\x91-\x97\x99-\x9c]",  # the other C1 controls
                # Colours whose escape character was lost on the way: "[32;40m [OK] [0m". A duration is "[5m]".
                r"\[(?:[0-8]|2[1-9]|[34][0-7]|9[0-7]|10[0-7])(?:;\d{1,3}){0,5}m(?!\])",
                "[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]",  # bidi and zero-width
            )
        )
    )


def clean(text: str) -> str:
    """The text without terminal escapes, bidirectional overrides and zero-width characters."""
    if text.isascii() and "\x1b" not in text and "m" not in text:
        return text
    return _unwanted().sub("", text)


def lines_of(text: str, source: str, first: int = 1) -> list[LogLine]:
    """Cut a text into clean lines. A carriage return alone (a progress bar) also ends a line, of the same number."""
    lines = []
    for number, line in enumerate(clean(text).split("\n"), first):
        origin = Origin(source, number)
        line = line.rstrip("\r")
        if "\r" in line:
            lines += [LogLine(part, origin) for part in line.split("\r") if part]
        else:
            lines.append(LogLine(line, origin))
    if lines and not lines[-1].text:
        lines.pop()  # behind the last line end there is no line
    return lines
