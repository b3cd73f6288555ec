"""Bytes written in every notation are read back, or what was lost is said; never anything else in silence."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.notations import WRITERS
from wsdiag.intake.dump import Dump, decode_dump, find_dumps
from wsdiag.model import LogLine, Origin, WsdiagError

GET = (b"GET /chat HTTP/1.1\r\nHost: 127.0.0.1:2346\r\nUpgrade: websocket\r\nX: y\r\n\r\n")[:64]
FRAME = bytes.fromhex("818537fa213d7f9f4d5158")
TLS = bytes.fromhex("16030102000100") + bytes(range(100))
RESPONSE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
# Notations in which some bytes look like the notation itself; only text is written in them.
TEXT_ONLY = frozenset(("cat-A",))
# Bytes that are a text in the notation of another one: "AAAA" is base64, base32 and hex.
DEGENERATE = frozenset(("base64", "base64-url", "base64-mime", "base32", "data-uri"))
# Notations that show printable bytes as they are: text without any escape is no dump.
MOSTLY_TEXT = frozenset(
    (
        "js-inspect",
        "nginx-log",
        "json-latin",
        "go-q",
        "ruby-inspect",
        "quoted-printable",
        "rust-escape-ascii",
        "url-encoded",
        "php-octal",
    )
)


def lines_of(text: str) -> list[LogLine]:
    return [LogLine(line, Origin("paste", number)) for number, line in enumerate(text.split("\n"), 1)]


def told(dumps: list[Dump], data: bytes) -> bool:
    """The bytes, or the first of them and a word about the rest, or a word about the other reading."""
    if len(dumps) != 1:
        return False
    dump = dumps[0]
    names = {note.name for note in dump.notes}
    # Random bytes can be a packet; then its payload is given, and that is said.
    said = bool(names & {"dump-ambiguous", "dump-escaped-twice", "dump-packets"})
    return dump.data == data or (dump.cut and data.startswith(dump.data)) or said


def decoded(text: str) -> list[Dump]:
    """The dumps of a given text; none when it is refused with the one error that there is."""
    try:
        return decode_dump(text, "argument")
    except WsdiagError as error:
        if error.name != "no-dump-found":
            raise
        return []


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("data", [GET, TLS, RESPONSE], ids=["get", "tls", "response"])
def test_known_bytes_are_found_in_free_text_and_decoded(name: str, data: bytes) -> None:
    if name in TEXT_ONLY and data == TLS:
        pytest.skip("not every byte can be written")
    text = WRITERS[name](data)
    for dumps in (find_dumps(lines_of(text)), decode_dump(text, "argument")):
        assert len(dumps) == 1
        dump = dumps[0]
        assert data == dump.data or (dump.cut and len(dump.data) >= 30 and data.startswith(dump.data))
        assert dump.notes[0].name == "dump-form"
        assert dump.notes[0].values == {"notation": dump.notation, "size": len(dump.data)}


@pytest.mark.parametrize("name", WRITERS)
def test_a_frame_is_decoded(name: str) -> None:
    if name not in TEXT_ONLY:
        dumps = decode_dump(WRITERS[name](FRAME), "argument")
        assert [dump.data for dump in dumps] == [FRAME]


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - TEXT_ONLY))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.binary(min_size=24, max_size=200))
@example(data=bytes(100) + b"abcd" * 5)
def test_any_bytes_come_back(name: str, data: bytes) -> None:
    if name in DEGENERATE and len(set(data)) < 8:
        return
    if name == "php-octal" and data[:1] in (b"'", b'"', b"`"):
        return  # addcslashes leaves quotes as they are: this reads as a literal that is cut
    if name in MOSTLY_TEXT and sum(32 <= byte < 127 for byte in data) > len(data) // 2:
        return
    dumps = decoded(WRITERS[name](data))
    # Base64 of few different bytes may be a word: it is refused then, not guessed.
    assert told(dumps, data) or (not dumps and name in DEGENERATE)


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - TEXT_ONLY - DEGENERATE - MOSTLY_TEXT))
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.binary(min_size=4, max_size=12))
def test_few_bytes_come_back_or_are_refused(name: str, data: bytes) -> None:
    dumps = decoded(WRITERS[name](data))
    assert not dumps or told(dumps, data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(max_size=300))
@example(text="\x00" * 20)
@example(text="\\" * 50)
@example(text="0x" * 50)
@example(text="<Buffer")
def test_no_text_raises_anything_but_no_dump_found(text: str) -> None:
    find_dumps(lines_of(text))
    for dump in decoded(text):
        assert 0 <= dump.first <= dump.last
        assert all(0 <= mark.offset <= len(dump.data) for mark in dump.marks)


_ALPHABET = "0123456789abcdefx\\\"'[]{}<>(),:;-|*%=+/ \t\nGETHP.…b"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(alphabet=_ALPHABET, max_size=400))
def test_no_near_dump_raises(text: str) -> None:
    find_dumps(lines_of(text))
    decoded(text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.binary(min_size=30, max_size=120), name=st.sampled_from(["xxd", "hexdump-C", "od-t-x1", "windbg"]))
def test_each_offset_leads_to_the_line_that_shows_it(data: bytes, name: str) -> None:
    """Locality: a mark's line holds the byte of its offset."""
    text = WRITERS[name](data)
    (dump,) = decode_dump(text, "argument")
    for mark in dump.marks:
        assert mark.origin.line is not None
        shown = text.split("\n")[mark.origin.line - 1].lower()
        assert dump.data[mark.offset : mark.offset + 1].hex() in shown or "*" in text


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.binary(min_size=20, max_size=100), keep=st.integers(min_value=10, max_value=190))
def test_cut_hex_gives_the_bytes_that_are_there(data: bytes, keep: int) -> None:
    digits = data.hex()[:keep]
    (dump,) = decode_dump(f"recv data before handshake. Buffer:{digits}...", "argument")
    assert dump.data == data[: len(digits) // 2]
    assert dump.cut
    assert (len(digits) % 2 == 1) == ("dump-odd-nibble" in {note.name for note in dump.notes})
