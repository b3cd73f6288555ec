"""The terminal report: its order, marks and widths (Chinese too), and what it draws where signs cannot be encoded."""

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reports
from wsdiag.model import CLIENT, SERVER, Connection, Exchange, Gap, Report, Span, Stream, Transport, Unknown
from wsdiag.render.clean import clean, clean_block, clean_bytes, hidden
from wsdiag.render.evidence import pieces_of_bytes, pieces_of_text, window
from wsdiag.render.hexdump import hex_rows
from wsdiag.render.ladder import MAX_ARROWS, ladder
from wsdiag.render.layout import Page, cell_width, cut, defused, encodes, wrap
from wsdiag.render.terminal import decoded
from wsdiag.render.terminal import report as rendered
from wsdiag.render.words import words

REPORTS = {
    "seed": reports.seed,
    "healthy": reports.healthy,
    "undecided": reports.undecided,
    "refused-key": reports.refused_key,
    "storm": lambda: reports.storm(60),
}
CHINESE = st.text(alphabet="监听端口声明成了，。、；：（）“”《》！？abc de ws://`…—", max_size=120)


def shown(name: str, lang: str = "en", **options: object) -> str:
    return rendered(REPORTS[name](), words(lang), **options)  # type: ignore[arg-type]


def test_the_verdict_comes_first_then_evidence_why_fix_consequences_and_next() -> None:
    text = shown("seed")
    parts = ["✗ WS201", "listener-ws-scheme", "server.log, line 1", "recv data before", "^^^^", "\nWhy\n", "\nFix\n"]
    places = [text.index(part) for part in [*parts, "\nExplained by this\n", "\nNext\n", "$ php", "Read server.log"]]
    assert places == sorted(places)
    assert places[0] == 0


def test_carets_stand_below_the_telling_part() -> None:
    lines = shown("refused-key", verbose=1).splitlines()
    at = next(number for number, line in enumerate(lines) if "WS400 response-400" in line and "^^^" in line)
    assert lines[at].index("^^^") == lines[at - 1].index("400 Bad Request")
    assert lines[at].count("^") == 3


def test_carets_below_wide_characters() -> None:
    text = "错误：握手之前收到数据 Buffer"
    start = text.index("握手")
    page = Page(80, False, True)
    from wsdiag.render.evidence import draw

    draw(page, pieces_of_text(text, [(start, start + 4)]), "  ", "  ")
    line, carets = page.text().splitlines()
    assert carets.index("^") == cell_width(line[: line.index("握手")])
    assert carets.count("^") == 8


def test_the_missing_header_is_shown_where_it_should_be() -> None:
    lines = shown("refused-key", verbose=1).splitlines()
    at = max(number for number, line in enumerate(lines) if "✗ Sec-WebSocket-Key is missing" in line)
    assert "Sec-WebSocket-Version" in lines[at - 1]
    assert "end of the head" in lines[at + 1]


def test_a_diff_can_be_copied() -> None:
    text = shown("seed", width=40)
    change = [line for line in text.splitlines() if line.startswith(("+", "-"))]
    assert any(line.startswith("-") and "ws://" in line for line in change)
    assert any(line.startswith("+") and "websocket://" in line for line in change)


def test_candidates_are_numbered_in_their_order() -> None:
    text = shown("undecided")
    assert text.startswith("? Undecided")
    places = [text.index(f"{number}. ") for number in (1, 2, 3, 4)]
    names = [text.index(each.name) for each in reports.undecided().findings]
    assert places == sorted(places)
    assert names == sorted(names)
    assert "$ curl -i" in text


def test_many_connections_are_counted() -> None:
    text = shown("storm")
    assert "60 connections" in text
    assert re.search(r"42 ✗ listener-ws-scheme", text)
    assert re.search(r"12 ✗ tls-to-plaintext", text)
    assert re.search(r" 6 ✓ Healthy", text)


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
@pytest.mark.parametrize("width", [24, 40, 60, 80, 110])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int, lang: str) -> None:
    copied = ("+", "-", "@@", " ", "$")
    for verbose in (0, 1):
        for line in shown(name, lang, width=width, verbose=verbose).splitlines():
            verbatim = line.startswith(copied[:3]) or line.lstrip().startswith("$ ") or "^" in line or width < 80
            binary = re.match(r" +[0-9a-f]{4}  ", line)
            if not verbatim and not binary:
                assert cell_width(line) <= width, line


@pytest.mark.parametrize("name", REPORTS)
def test_ascii_is_enough(name: str) -> None:
    for text in (shown(name, unicode=False, verbose=1), decoded(REPORTS[name](), words("en"), unicode=False)):
        assert text.isascii(), [char for char in text if not char.isascii()]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk", None, "no-such-encoding"])
def test_encodings_that_lack_our_signs(encoding: str | None) -> None:
    assert not encodes(encoding)


def test_chinese_on_a_gbk_terminal() -> None:
    for name in REPORTS:
        shown(name, "zh_CN", unicode=False, verbose=1).encode("gbk")
    assert encodes("utf-8")
    assert encodes("gb18030")


def test_colour_only_when_asked() -> None:
    plain, painted = shown("seed"), shown("seed", color=True)
    assert "\x1b" not in plain
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", painted)
    assert stripped.replace("`", "") == plain.replace("`", "")
    assert painted.count("\x1b[0m") * 2 == painted.count("\x1b[")


def test_what_was_dropped_and_cut_is_told() -> None:
    text = shown("refused-key")
    assert "2 packets were dropped" in text
    assert "ends in the middle of a packet" in text


def test_decode_shows_the_request_line_first() -> None:
    sent = b"GET / HTTP/1.1"
    connected = reports.connection(0, sent, kind="dump")
    report = Report((), "undecided", None, (), (), (connected,))
    assert "GET / HTTP/1.1" in decoded(report, words("en")).splitlines()[1]


def test_decode_shows_all_of_a_long_line() -> None:
    cookie = "x" * 500
    sent = reports.REQUEST.replace(b"\r\n\r\n", f"\r\nCookie: {cookie}\r\n\r\n".encode())
    text = decoded(Report((), "undecided", None, (), (), (reports.connection(0, sent),)), words("en"))
    assert text.count("x") >= 500


def test_gaps_and_cuts_of_a_stream_are_told() -> None:
    data = b"\x00" * 32
    stream = Stream(data, gaps=(Gap(16, 7),), ending="cut", total=99)
    elements = (Unknown(Span(CLIENT, 0, 16)), Unknown(Span(CLIENT, 16, 32)))
    exchange = Exchange(Connection(0, stream, Stream()), elements, ())
    connected = reports.connection(0)._replace(exchange=exchange)
    text = decoded(Report((), "undecided", None, (), (), (connected,)), words("en"))
    assert "7 bytes are missing here" in text
    assert "what follows was not kept" in text


# --- The ladder


def test_the_missing_101_is_drawn_with_what_came_instead() -> None:
    for ending, key in (("fin", "fin"), ("reset", "reset"), ("open", "nothing")):
        arrows = ladder(reports.connection(0, reports.REQUEST, ending=ending))
        assert arrows[-1].state == "missing"
        assert arrows[-1].key == f"ladder.expected-101-{key}"


def test_absence_is_not_claimed_where_it_was_not_seen() -> None:
    connected = reports.connection(0, reports.REQUEST, ending="cut")
    assert [arrow.state for arrow in ladder(connected)] == ["seen", "end"]
    exchange = connected.exchange
    unseen = exchange.connection._replace(server=Stream(seen=False))
    connected = connected._replace(exchange=exchange._replace(connection=unseen))
    assert [arrow.state for arrow in ladder(connected)] == ["seen", "end"]


def test_an_answer_other_than_101_is_wrong_and_a_healthy_conversation_is_not() -> None:
    assert [arrow.state for arrow in ladder(reports.refused_key().connections[0])][-1] == "wrong"
    states = {arrow.state for arrow in ladder(reports.healthy().connections[0])}
    assert states == {"seen"}


def test_openings() -> None:
    refused = reports.connection(0, transport=Transport("refused", 1, 1.0))
    assert [arrow.key for arrow in ladder(refused)] == ["", "ladder.refused"]
    silent = reports.connection(0, transport=Transport("unanswered", 4, 1.0))
    assert ladder(silent)[-1].values == {"count": 4}


def test_many_frames_are_counted_and_the_ladder_stays_short() -> None:
    frames, data = [], b""
    for number in range(200):
        sent, frame = reports.frame(b"x", SERVER, len(reports.RESPONSE) + len(data), 8 if number == 199 else 1)
        frames.append(frame)
        data += sent
    connected = reports.connection(
        0, reports.REQUEST, reports.RESPONSE + data, server=(reports.response(reports.RESPONSE), *frames)
    )
    arrows = ladder(connected)
    assert len(arrows) <= MAX_ARROWS + 1
    counted = [arrow.values["count"] for arrow in arrows if arrow.key == "ladder.frames"]
    assert counted == [200 - 6 - 1]
    assert arrows[-1].detail.startswith("close")


# --- Layout


@given(st.one_of(CHINESE, st.text(max_size=120)), st.integers(16, 90))
@settings(max_examples=200, deadline=None)
def test_wrapping_keeps_the_text_and_the_width(text: str, cells: int) -> None:
    text = clean(text)
    lines = wrap(text, cells)
    assert all(cell_width(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(CHINESE)
@settings(max_examples=200, deadline=None)
def test_no_line_begins_with_closing_punctuation_where_there_is_a_choice(text: str) -> None:
    text = re.sub(r"[，。、；：！？）》”…—]+", "，", clean(text))
    for line in wrap(text, 30)[1:]:
        assert not line.startswith("，")


@given(st.text(max_size=60), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_cut_is_never_too_wide(text: str, cells: int) -> None:
    assert cell_width(cut(clean(text), cells)) <= max(cells, 1)


@given(st.text(max_size=300), st.integers(0, 300), st.integers(1, 300), st.integers(20, 80))
@settings(max_examples=200, deadline=None)
def test_a_window_shows_the_mark_and_fits(text: str, start: int, size: int, cells: int) -> None:
    pieces = pieces_of_text(text, [(start, start + size)])
    seen = window(pieces, cells, "…")
    assert sum(cell_width(each) for each, _ in seen) <= cells
    if any(marked for _, marked in pieces):
        assert any(marked for _, marked in seen)


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_bytes_in_pieces_are_the_bytes_cleaned(data: bytes) -> None:
    assert "".join(each for each, _ in pieces_of_bytes(data, 5, [(7, 9)])) == "".join(
        clean(char) for char in data.decode("utf-8", "surrogateescape")
    )


def test_hex_rows() -> None:
    rows = list(hex_rows(bytes(range(20)), 0, [(6, 9), (17, 18)]))
    assert rows[0].hexes == "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f"
    assert rows[0].carets == " " * 18 + "^" * 9
    assert rows[1].text == "...."
    assert rows[1].marked == {1}


# --- Cleaning


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_nothing_hidden_survives_cleaning(text: str) -> None:
    cleaned = clean(text)
    assert not any(hidden(char) for char in cleaned)
    assert "\n" not in cleaned
    assert clean(cleaned) == cleaned
    assert not any(hidden(char) for char in clean_block(text) if char != "\n")


def test_cleaning_shows_what_was_there() -> None:
    assert clean("a\x1b[31mb\tc\r\n\x9b\x7f") == "a\\x1b[31mb\\tc\\r\\n\\x9b\\x7f"
    assert clean("\u202eabc\u2066\u200b\ufeff\U000e0041") == "\\u202eabc\\u2066\\u200b\\ufeff\\U000e0041"
    assert clean("中文，　排版 é ñ 👍") == "中文，　排版 é ñ 👍"
    assert clean_bytes(b"\xff\xe4\xb8\xad\x00") == "\\xff中\\x00"


def test_commands_to_a_runner_are_defused() -> None:
    assert (
        defused("::error::x\n  ::set-output name=a::b\n x ::ok")
        == ":\\x3aerror::x\n  :\\x3aset-output name=a::b\n x ::ok"
    )
    assert defused("a ##[error]b ##vso[task.x]") == "a ##\\x5berror]b ##vso\\x5btask.x]"


def test_the_terminal_imports_nothing_heavy() -> None:
    code = (
        "import sys, wsdiag.render.terminal, wsdiag.render.data, wsdiag.render.words;"
        "print([name for name in ('json', 'jinja2', 'html', 'rich', 'tomllib', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
