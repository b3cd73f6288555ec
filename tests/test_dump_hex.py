"""Lines of hex digits and blanks are read by fewer readers, for speed; what is found is the same as with all."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wsdiag.intake.dump as dump
from wsdiag.intake.dump import clean, runs
from wsdiag.model import LogLine, Origin, WsdiagError

REQUEST = b"GET /chat HTTP/1.1\r\nHost: a.example:2346\r\nUpgrade: websocket\r\n\r\n"
HELLO = bytes.fromhex("160301002f0100002b0303") + bytes(range(40))


def grouped(data: bytes, size: int, gap: str, width: int, upper: bool) -> str:
    """The bytes as hex in groups of `size` digits, `width` digits a line."""
    digits = data.hex().upper() if upper else data.hex()
    lines = [digits[at : at + width] for at in range(0, len(digits), width)] if width else [digits]
    return "\n".join(
        gap.join(line[at : at + size] for at in range(0, len(line), size)) if size else line for line in lines
    )


TEXTS = st.one_of(
    st.text("0123456789abcdefABCDEF \t\n", min_size=1, max_size=120),
    st.text("ABCDEF234567 \n", min_size=1, max_size=80),
    st.text("0123456789 \n", min_size=1, max_size=80),
    st.builds(
        grouped,
        st.one_of(
            st.sampled_from((REQUEST, HELLO, b"\x81\x85\x01\x02\x03\x04hello")), st.binary(min_size=1, max_size=80)
        ),
        st.sampled_from((0, 2, 4, 8)),
        st.sampled_from((" ", "  ", "\t")),
        st.sampled_from((0, 16, 32, 64)),
        st.booleans(),
    ),
    st.lists(
        st.sampled_from(("47455420", "0000000 4547", "00000000  47 45 54 20", "ABCDEF23", "47 45", "Buffer:47", "")),
        max_size=6,
    ).map("\n".join),
)


def found(text: str) -> object:
    """What both ways of reading find in the text."""
    lines = [LogLine(line, Origin("", number)) for number, line in enumerate(text.split("\n"), 1)]
    try:
        decoded: object = dump.decode_dump(text, "")
    except WsdiagError as error:
        decoded = error.name
    return decoded, dump.find_dumps(lines)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_the_short_way_finds_the_same(text: str) -> None:
    short = found(text)
    with pytest.MonkeyPatch.context() as patch:
        for module in (dump, clean, runs):
            patch.setattr(module, "is_hex", lambda line: False)
        assert short == found(text)


@given(st.text("0123456789abcdefABCDEF \t", max_size=60))
def test_no_prefix_of_a_logger_is_made_of_hex(line: str) -> None:
    assert not any(needed in line and re.match(pattern, line.lstrip(" ")) for needed, pattern in clean._PREFIXES)


MESSAGES = ["quoted", "boxed", "pm2", "compose", "time", "kubernetes", "syslog", "workerman", "journal", "level"]


@pytest.mark.parametrize(
    "line",
    [
        "> quoted",
        "│ boxed",
        "┃ boxed",
        "0|app  | pm2",
        "app-1  | compose",
        "2024-11-22T12:18:34.123Z time",
        "[2024-11-22 12:18:34]: time",
        "stdout F kubernetes",
        "Nov 22 12:18:34 syslog",
        "[12:18:34] time",
        "pid:123 workerman",
        "host program[77]: journal",
        "program[77]: journal",
        "[DEBUG]: level",
        "INFO level",
    ],
)
def test_every_prefix_has_what_it_needs(line: str) -> None:
    """The text that is looked for before a pattern is tried occurs in what the pattern matches."""
    assert line[clean.body_column(line) :] in MESSAGES
