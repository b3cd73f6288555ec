"""Big logs: the findings of reading everything, whatever the size of the chunks; odd encodings; bounds."""

import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.intake import encoding, log, search
from wsdiag.model import LogLine
from wsdiag.rules import reported

MATTERS = "recv data before handshake. Buffer:474554202f20485454502f312e310d0a"
TLS = "SSL handshake error: stream_socket_enable_crypto(): SSL operation failed with code 1. OpenSSL Error messages:"
CRASH = "worker[ChatServer:13395] exit with status 64000"


def scan(data: bytes, *, small: int = 64, chunk: int = 1024) -> log.Scanned:
    """Scan with such sizes that a short text is a big log."""
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(log, "SMALL", small)
        patch.setattr(search, "CHUNK", chunk)
        return log.scan(io.BufferedReader(io.BytesIO(data)), "log")
    finally:
        patch.undo()


def notes_of(scanned: log.Scanned) -> set[str]:
    """The names of its notes."""
    return {note.name for note in scanned.notes}


def named(lines: list[LogLine]) -> list[tuple[str, int | None]]:
    """What is reported, with the line."""
    return [(found.name, found.hit.spans[0].origin.line) for found in reported.find(lines)]  # type: ignore[union-attr]


some_lines = st.lists(
    st.sampled_from(
        [
            "",
            "127.0.0.1 GET / 200",
            "x" * 300,
            MATTERS,
            TLS,
            "error:0A00009C:SSL routines::http request ",
            "RuntimeException: boom in /srv/app/start.php:15",
            CRASH,
            "Sec-WebSocket-Key: abc",
        ]
    ),
    max_size=40,
)


@given(some_lines, st.integers(400, 2000), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_big_log_gives_the_findings_of_the_whole(lines: list[str], chunk: int, end: str, last: bool) -> None:
    """However it is cut into chunks; line numbers are those of the file, no line is kept twice."""
    text = end.join(lines) + (end if last else "")
    scanned = scan(text.encode(), chunk=chunk)
    whole = encoding.lines_of(text, "log")
    if not text:
        assert not scanned.lines
        return
    assert named(scanned.lines) == named(whole)
    numbers = [line.origin.line or 0 for line in scanned.lines]
    assert numbers == sorted(set(numbers))
    by_number = {line.origin.line: line.text for line in whole}
    assert all(by_number[line.origin.line] == line.text for line in scanned.lines)


def test_a_small_text_is_kept_whole() -> None:
    """Every line, with its number."""
    scanned = scan(b"one\r\n\r\nthree", small=100)
    assert scanned.whole
    assert [(line.origin.line, line.text) for line in scanned.lines] == [(1, "one"), (2, ""), (3, "three")]


def test_line_numbers_and_counts_of_a_big_log() -> None:
    """Far apart, in different chunks."""
    lines = ["nothing"] * 1000
    lines[10] = lines[700] = MATTERS
    scanned = scan("\n".join(lines).encode(), chunk=512)
    assert named(scanned.lines) == [("listener-ws-scheme", 11), ("listener-ws-scheme", 701)]
    assert scanned.total_lines == 1000
    assert len(scanned.lines) < 200
    assert "log-scanned" in notes_of(scanned)


def test_gzip_and_damaged_gzip() -> None:
    """A damaged one is read as far as it goes."""
    data = gzip.compress(("nothing\n" * 500 + MATTERS + "\n").encode() + bytes(range(256)) * 40)
    scanned = scan(data)
    assert named(scanned.lines) == [("listener-ws-scheme", 501)]
    assert "gzip" in notes_of(scanned)
    assert named(scan(data, small=1 << 20).lines) == [("listener-ws-scheme", 501)]
    scan(data[: len(data) // 2])
    scan(data[:40] + b"\xff\xff\xff" + data[43:])


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("small", [400, 1 << 20])
def test_encodings(name: str, small: int) -> None:
    """Windows and Chinese systems: found, decoded and said."""
    text = f"启动失败,连接被拒绝\n{'nothing ' * 100}\n服务器没有响应 {MATTERS} 请检查监听地址\n"
    scanned = scan(text.encode(name), small=small)
    assert named(scanned.lines) == [("listener-ws-scheme", 3)]
    assert any("请检查监听地址" in line.text for line in scanned.lines)
    assert ("encoding" in notes_of(scanned)) == (name != "utf-8-sig")


def test_invalid_bytes_are_replaced_and_said() -> None:
    """Binary junk in a line is damage, not Chinese."""
    scanned = scan(b"error opcode 3 and close websocket connection. Buffer:\x83\xff\xfe\x80hello\n", small=1 << 20)
    assert "invalid-bytes" in notes_of(scanned)
    assert "encoding" not in notes_of(scanned)
    assert "\ufffd" in scanned.lines[0].text
    scanned.lines[0].text.encode()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[32;40m [OK] \x1b[0m", " [OK] "),
        ("[32;40m [OK] [0m", " [OK] "),
        ("\\u001b[31mred\\u001b[39m", "red"),
        ("^[[1mbold^[[0m", "bold"),
        ("\x1b]0;rm -rf\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x9b31mb\x85c", "abc"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "gnp.exe x"),
        ("4\u200b7\ufeff45", "4745"),
        ("took [5m] and [12m]", "took [5m] and [12m]"),
        ("list [1, 2] and m", "list [1, 2] and m"),
        ("\x1bcreset", "reset"),
    ],
)
def test_terminal_escapes_are_taken_out(raw: str, shown: str) -> None:
    """What a terminal would act on, and what hides or reorders text."""
    assert encoding.clean(raw) == shown


def test_a_carriage_return_alone_ends_a_line_of_the_same_number() -> None:
    """Progress bars overwrite themselves."""
    lines = encoding.lines_of("10%\r20%\rdone\r\nnext\n", "log")
    assert [(line.text, line.origin.line) for line in lines] == [("10%", 1), ("20%", 1), ("done", 1), ("next", 2)]


def test_an_endless_line_is_cut_around_what_was_found() -> None:
    """20 MB without a line end: bounded, said, and still searched to its end."""
    data = b"x" * (3 << 20) + MATTERS.encode() + b"y" * (3 << 20) + CRASH.encode() + b"z" * 1000
    scanned = scan(data, small=1 << 20, chunk=1 << 18)
    assert [name for name, _ in named(scanned.lines)] == ["listener-ws-scheme", "server-error-close"]
    assert all(len(line.text) <= log.LONGEST_LINE for line in scanned.lines)
    assert {line.origin.line for line in scanned.lines} == {1}
    assert "line-cut" in notes_of(scanned)


def test_a_literal_across_the_border_of_two_pieces_is_found_once() -> None:
    """Every place of the border."""
    for offset in range(0, 80, 7):
        data = b"x" * (600 - offset) + MATTERS.encode() + b"y" * 2000
        assert [name for name, _ in named(scan(data, chunk=600).lines)] == ["listener-ws-scheme"]


def test_too_many_lines_of_one_kind_are_counted_and_rare_ones_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log full of one message must not hide the other one behind it."""
    monkeypatch.setattr(log, "MOST_LINES", 50)
    monkeypatch.setattr(log, "MOST_QUOTES", 50)
    scanned = scan((MATTERS + "\n").encode() * 5000 + CRASH.encode() + b"\n", chunk=4096)
    assert ("server-error-close", 5001) in named(scanned.lines)
    assert len(scanned.lines) < 200
    assert "found-often-enough" in notes_of(scanned)


def test_beyond_the_bound_of_bytes_only_rare_lines_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whatever matters in the log."""
    monkeypatch.setattr(log, "MOST_BYTES", 10_000)
    scanned = scan((MATTERS + "\n").encode() * 5000 + CRASH.encode() + b"\n", chunk=4096)
    assert ("server-error-close", 5001) in named(scanned.lines)
    assert sum(len(line.text) for line in scanned.lines) < 20_000


def test_a_million_tiny_lines() -> None:
    """Nothing matters, nothing is kept."""
    scanned = scan(b"\n" * 1_000_000, chunk=1 << 18)
    assert not scanned.lines
    assert scanned.total_lines == 1_000_000
