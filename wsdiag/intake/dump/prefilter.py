"""Which lines of a long text are worth a reader's look: one pass of one pattern over megabytes of ordinary log text.

What such a line holds is left to the readers; a line that the pattern passes over may be part of a dump that began
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from wsdiag.model import LogLine
from wsdiag.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_HH = "[0-9a-fA-F][0-9a-fA-F]"
# Hex of what begins a connection: GET, POST, HTTP, TLS, PRI, PROXY (1 and 2), CONN, OPTI, HEAD, <pol, MQTT.
_KNOWN_HEX = (
    "47455420|504[fF]5354|48545450|1[5-7]030[0-4]|50524920|50524[fF]58|0[dD]0[aA]0[dD]0[aA]00|434[fF]4[eE]4[eE]|4[fF]505449"
    "|48454144|3[cC]706[fF]6[cC]|4[dD]5154|4[dD]514973"
)
_ITEM = "(?:-?[0-9]{1,3}|0x[0-9a-fA-F]{1,2}|[0-9a-fA-F]{2})"
_SAID = (
    "[Bb]uffer|BUFFER|[Hh]ex|HEX|[Rr]aw|[Bb]ytes|[Pp]ayload|[Pp]acket|[Dd]ump|[Dd]ata|[Bb]ody|[Ff]rame|[Rr]ecv"
    "|[Rr]eceived|[Ss]ent|[Ss]end|[Rr]ead|[Ww]rote|报文|十六进制|数据|收到|发送|接收"
)
# RE2 syntax: no lookaround, no possessive quantifier.
PATTERN = "|".join(
    (
        # rows with an offset
        rf"[0-9a-fA-F]{{6,16}}[:|h]?(?: -)? {{1,4}}(?:{_HH}){{1,8}}[ -]+{_HH}",
        rf"[0-9a-fA-F]{{2,16}}(?::| -|\|)[ \t]+(?:0x)?(?:{_HH}){{1,8}}[ \t-]+(?:0x)?{_HH}",
        rf"[0-9a-fA-F]{{4}}  {_HH} {_HH} ",
        r"[0-9a-fA-F]{8}`[0-9a-fA-F]{8}",
        r"0x[0-9a-fA-F]{4,16}(?: ?<[^<>]{1,80}>)?:",
        r"\b0[0-9a-f]{6} {1,4}[^ ]{1,6} +[^ ]{1,6}(?: |$)",
        # digits
        rf"(?:{_KNOWN_HEX})",
        rf"(?:{_HH} ){{4}}{_HH}|(?:{_HH}:){{6}}{_HH}|(?:{_HH}-){{6}}{_HH}|(?:{_HH}, ?){{4}}{_HH}|(?:{_HH}\.){{6}}{_HH}",
        r"(?:[0-9a-fA-F]{4} ){3}[0-9a-fA-F]{4}",
        r"0x[0-9a-fA-F]{2}(?:['\"]?[, ]+['\"]?0x|0x)",
        r"0x[0-9a-fA-F]{16}",
        r"[Bb]uffer[:=：]? ?[0-9a-fA-F]{2}",
        rf"(?:{_SAID})[^0-9a-fA-F]{{0,16}}[0-9a-fA-F]{{8}}",
        r"^[> \t]*[0-9a-fA-F]{16,}[ \t]*(?:\.\.\.)?$",
        # numbers in brackets
        rf"[\[{{(<] ?{_ITEM}(?:[, ]+{_ITEM}){{3}}",
        rf"^[> \t]*{_ITEM}(?:, *{_ITEM}){{3}}",
        r"\[ ?$|\] = \{|<Buffer|Uint8|Int8Array|\"Buffer\"|'Buffer'|bytearray\(|array\('B'|\[\]byte|\bbyte\[",
        r"&lt;Buffer",
        r"<<(?:\"|[0-9])|\"[01]\": ?[0-9]",
        r"\[[01]\] ?=>|\b[01] => [0-9]|^[> \t]*0: [0-9]",
        # literals
        r"\\x[0-9a-fA-F]{2}|\\r\\+n|\\[0-3][0-7]{2}|\\u00[0-9a-fA-F]{2}|\bb[\"']|\bstring\([0-9]+\) \"|\bs:[0-9]+:\"",
        r"(?:recv|read|send|write)[a-z0-9]{0,6}\([0-9x]+(?:<[^>]{0,80}>)?, | resumed>",
        # encodings
        r"(?:^|[^A-Za-z0-9+/_=-])(?:R0VUI|SFRUUC|UE9TV|FgM[BDC]|FQM[BDC]|UFJJI|UFJPWF|Q09OTk|T1BUSU|DQoNCgAN|H4sI)",
        r"I5CVIIB|JBKFIUB|(?:^|[^A-Z2-7])CYBQ[A-E]|;base64,",
        r"%0[dD]%0[aA]|%16%03|(?:GET|POST)(?:%20|\+)|=0D=0A|=16=03",
        r"\^V\^C\^|\^M\$?$|M-\^A|▬♥|[\x15\x16]\x03[\x00-\x04]|[\x81\x82\x88\x89\x8a][\x80-\xff]",
        # what has no data
        r"\[B@[0-9a-f]|ByteBuf|<memory at|object at 0x|\[object |ArrayBuffer|\] len: |System\.Byte\[|Blob \{",
        # what cleaning will change
        r"[０-９Ａ-Ｚａ-ｚ]{4}|[\x{200b}-\x{200d}\x{2060}\x{feff}]|[0-9a-fA-F]\x{a0}[0-9a-fA-F]",
    )
)
# Fewer lines than this are all looked at: RE2 takes longer to start than the readers take to read.
_FEW = 48
# Characters that are joined for one search; more costs memory, less costs calls.
_CHUNK = 1 << 22
_OPENERS = ("[", "{", "(", "[ ", "{ ")


def candidates(lines: Sequence[LogLine]) -> Iterator[int]:
    """The indexes of the lines that may hold the start of a dump, in order; a line that opens a list comes before."""
    if len(lines) < _FEW:
        yield from range(len(lines))
        return
    last = -1
    for index in _matching(lines):
        if index > 0 and index - 1 > last and lines[index - 1].text.rstrip(" ").endswith(_OPENERS):
            yield index - 1
        yield index
        last = index


def _matching(lines: Sequence[LogLine]) -> Iterator[int]:
    start = 0
    while start < len(lines):
        size, stop = 0, start
        while stop < len(lines) and size < _CHUNK:
            size += len(lines[stop].text) + 1
            stop += 1
        yield from _in_chunk(lines, start, stop)
        start = stop


def _in_chunk(lines: Sequence[LogLine], start: int, stop: int) -> Iterator[int]:
    """Search the lines joined, and count line ends up to each match."""
    joined = "\n".join([line.text for line in lines[start:stop]]).encode("utf-8", "surrogatepass")
    search = _re2().search
    at, index = 0, start
    while match := search(joined, at):
        index += joined.count(b"\n", at, match.start() + 1)
        yield index
        end = joined.find(b"\n", max(match.start(), at) + (joined[match.start() : match.start() + 1] == b"\n"))
        if end < 0:
            return
        at, index = end + 1, index + 1


@cache
def _re2() -> Any:
    """The pattern as RE2 compiles it, with room for all its states."""
    import re2

    options = re2.Options()
    options.max_mem = 64 << 20
    return re2.compile(("(?m)" + PATTERN).encode(), options)
