"""Takes out of a line what editors, chat programs, web pages and loggers put into it; what the line means is left to
others.
"""

import re
from functools import cache

# Characters that stand for an ASCII one, one for one, so that columns stay what they were: full-width forms of a
# Chinese input method, smart quotes, the spaces that web pages use.
_SAME_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SAME_WIDTH |= dict.fromkeys((*range(0x2000, 0x200B), 0x00A0, 0x202F, 0x205F, 0x3000), 0x20)
_SAME_WIDTH |= dict.fromkeys((0x2018, 0x2019, 0x201A, 0x2032), 0x27)
_SAME_WIDTH |= dict.fromkeys((0x201C, 0x201D, 0x201E, 0x2033), 0x22)
_SAME_WIDTH |= dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212), 0x2D)
_SAME_WIDTH |= {0x3001: 0x2C, 0x3010: 0x5B, 0x3011: 0x5D}
# Invisible characters that chat programs and editors insert; they have no width and are dropped.
_INVISIBLE = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))
_TABLE: dict[int, int | None] = {**_SAME_WIDTH, **_INVISIBLE}

_ENTITY = r"&(?:lt|gt|quot|apos|amp|nbsp|#\d{1,3}|#x[0-9a-fA-F]{1,2});"


def clean(line: str) -> str:
    """The line with ASCII where a look-alike stood, without invisible characters, HTML entities resolved."""
    if not line.isascii():
        line = line.translate(_TABLE)
    if line.startswith('{"log":"'):
        line = _docker(line)
    if "&" in line and re.search(_ENTITY, line):
        from html import unescape

        line = re.sub(_ENTITY, lambda match: unescape(match.group()).replace("\xa0", " "), line)
    return line


_DOCKER = r"\{\"log\":\"((?:[^\"\\]|\\.)*+)\",\"stream\":\"std"


def _docker(line: str) -> str:
    """The message in a line of Docker's json-file log."""
    match = re.match(_DOCKER, line)
    if match is None:
        return line
    from json import loads

    try:
        return str(loads(f'"{match.group(1)}"')).rstrip("\r\n")
    except ValueError:
        return line


# What stands in front of a message, one pattern per program; each is tried at the place the last one ended, if the line
# holds the text in front of the pattern, without which it cannot match.
_PREFIXES = (
    (">", r"(?:> ?)+(?!=)"),  # a quote in Markdown or mail
    ("│", "│ "),
    ("┃", "┃ "),
    ("| ", r"\d+\|[\w.@/-]{1,64} {0,16}\| "),  # pm2 "0|app  | "
    ("| ", r"[\w.@/-]{1,64} {0,32}\| "),  # docker-compose "app-1  | "
    # k8s and docker: RFC 3339, stream, F/P; journald -o short-iso; most loggers
    ("-", r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)?\]?:? "),
    ("std", r"(?:stdout|stderr) [FP] "),
    # syslog
    (":", r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? "),
    ("] ", r"\[\d\d:\d\d:\d\d(?:\.\d+)?\] "),
    ("pid:", r"pid:\d{1,9} "),  # Workerman's log file
    ("]: ", r"[\w.-]{1,64} [\w./@-]{1,64}\[\d{1,9}\]: "),  # syslog "host program[pid]: "
    ("]: ", r"[\w./@-]{1,64}\[\d{1,9}\]: "),
    (" ", r"\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|trace|debug|info|warn|error)\]?:? "),
)


@cache
def _prefix(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


# The prefixes of a line end within so many characters.
_WIDEST_PREFIX = 1024
# A line carries no more prefixes than this: docker in front of a timestamp in front of a level in front of a quote.
_MOST_PREFIXES = 6
_HEX_AND_BLANKS = "0123456789abcdefABCDEF \t"


def is_hex(line: str) -> bool:
    """True for a line of hex digits and blanks and nothing else."""
    return not line.strip(_HEX_AND_BLANKS)


def body_column(line: str) -> int:
    """The column at which the message begins, after the prefixes of loggers, containers and quoting."""
    if is_hex(line):
        return 0
    head = line[:_WIDEST_PREFIX]
    possible = [_prefix(pattern) for needed, pattern in _PREFIXES if needed in head]
    column = 0
    for _ in range(_MOST_PREFIXES):
        start = column
        while start < len(line) and line[start] == " " and start - column < 8:
            start += 1
        for prefix in possible:
            match = prefix.match(line, start)
            if match:
                column = match.end()
                break
        else:
            return column
    return column
