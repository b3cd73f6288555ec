"""Letters of prose never become bytes, and what is in the way of a dump (prefixes, glue, look-alikes) is taken away."""

import json

import pytest

from tests.notations import WRITERS
from tests.test_dump_roundtrip import FRAME, GET, decoded, lines_of
from wsdiag.intake.dump import find_dumps

NO_DUMPS = (
    "feed me dead beef, added cafe: a bad decade faced by Ada, Abe and Deb",
    "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 (HEAD -> main)",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "request id 550e8400-e29b-41d4-a716-446655440000 trace=0af7651916cd43dd8448eb211c80319c",
    "eth0: 00:16:3e:5e:6c:00 up, router fe80::216:3eff:fe5e:6c00, time 16:03:01, date 2026-11-22",
    "2026-11-22 16:03:01,160 [16:03:01] took 00:16:03.010 s on 10.16.03.01",
    "SHA1 Fingerprint=AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01",
    "CLIENT_RANDOM " + "52" * 32 + " " + "a7" * 48,
    "Session-ID: 4F2A9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B9B",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Key: R0VUIC9jaGF0IEhUVA==",
    "Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fw",
    "Set-Cookie: sid=16030102000100; path=/",
    "worker[gateway:2346] exit with status 64000, pid 1603, 12 34 56 78 connections",
    "[1, 2, 3, 4] ports (80, 443, 8080) sizes [64, 128, 255, 16, 3, 1, 2, 0]",
    "top - 12 11 10 09 08 07 06 05 load 0.16 0.03 0.01",
    "5432 11 22 33 44 rows\n5433 22 33 44 55 rows\n5434 33 44 55 66 rows",
    "color: #474554; background: #fefefe; 0x1603 flags 0x01",
    "GET /47455420/chat?hash=1603010200 HTTP/1.1",
    "data: 3f2a9c0d4e5b6a7788990011aabbccdd",
    "User said: I'd add 'bad' food at C:\\new\\table\\readme",
    "Dear Ed, a cab faced a bed: decaf, facade, deface, efface.",
    "错误：连接被拒绝（端口：2346，主机：127.0.0.1），耗时 16 03 01 毫秒",
    "array(64) entries, string(5) ok, s:3 items, int(71) rows",
    "java.lang.NullPointerException\n\tat com.example.Foo.bar(Foo.java:71)\n\tat com.example.Foo.baz(Foo.java:69)",
    "id,name,count\n0001,ada,12\n0002,bob,34\n0003,eve,56",
    "00:00:01 1234 5678 9abc def0 is the serial number",
    "^C^C pressed twice; x^2 + y^2; M-x butterfly",
    "50% of A%20B and 100%25 done=AB=CD",
    "  pubkey: <Buffer 30 82 01 22 30 0d 06 09 2a 86 48 86 f7 0d 01 01 01 05 00 03 82 01 0f ... 244 more bytes>,",
    "0043 0068 ; [.1FD7.0020.0007] # CH\n004E 0067 ; [.2052.0020.0007] # NG\n0050 0068 ; [.2053.0020] # PH",
    "conn.Write([]byte{1}); const key = new Uint8Array([1, 0, 1])",
    'print <<"PACKLIST_WARNING";',
)


@pytest.mark.parametrize("text", NO_DUMPS)
def test_no_bytes_are_made_of_prose(text: str) -> None:
    around = "the server said:\n" + text + "\nand closed the connection"
    assert [dump.data for dump in find_dumps(lines_of(around))] == []


DIGITS = GET.hex()
SURROUNDED = {
    "dated": f"2026-11-22 12:00:00 pid:123 recv data before handshake. Buffer:{DIGITS}",
    "glued before": f"Error package. package_length=falserecv data before handshake. Buffer:{DIGITS}",
    "glued after": f"recv data before handshake. Buffer:{DIGITS}Error package. package_length=false",
    "glued small": f"recv data before handshake. Buffer:{DIGITS}error package. package_length=false",
    "glued false": f"recv data before handshake. Buffer:{DIGITS}falseConnection closed",
    "smart quotes": f"it prints “{DIGITS}” and stops",
    "full width": f"缓冲区 Buffer：{DIGITS.translate({ord(c): ord(c) + 0xFEE0 for c in '0123456789abcdef'})}",
    "zero width": f"Buffer:{DIGITS[:20]}\u200b{DIGITS[20:]}",
    "no-break": "Buffer: " + GET.hex(" ").replace(" ", "\u00a0"),
    "HTML": f"&lt;Buffer {GET.hex(' ')}&gt;",
    "Markdown": f"> `{DIGITS}`",
    "fence": f"```\n{DIGITS}\n```",
    "soft-wrapped": "\n".join(("recv Buffer:" + DIGITS)[at : at + 80] for at in range(0, 140, 80)),
    "wrapped, then prose": f"Buffer:{DIGITS[:68]}\n{DIGITS[68:]}Error package. package_length=false",
    "Docker's json": '{"log":"Buffer:' + DIGITS + '\\n","stream":"stdout","time":"2026-11-22T12:18:34Z"}',
    "JSON": json.dumps({"level": "warn", "msg": "bad request", "raw": GET.decode()}),
    "in a sentence": f"Invalid request {GET!r} from 127.0.0.1",
    "introduced": f"收到数据：{DIGITS}，长度 64",
}


@pytest.mark.parametrize("name", SURROUNDED)
def test_what_surrounds_a_dump_is_taken_away(name: str) -> None:
    assert [dump.data for dump in find_dumps(lines_of(SURROUNDED[name]))] == [GET]


def test_several_records_in_one_paste() -> None:
    line = "Error package. package_length=falserecv data before handshake. Buffer:"
    text = f"{line}{DIGITS}\n{line}101000044d5154540402003c00046d7174\n{line}16030102000100\nError package."
    dumps = find_dumps(lines_of(text))
    assert [dump.data[:3] for dump in dumps] == [b"GET", b"\x10\x10\x00", b"\x16\x03\x01"]
    assert [dump.first for dump in dumps] == [0, 1, 2]
    assert [text.split("\n")[dump.first][dump.start :][:6] for dump in dumps] == ["474554", "101000", "160301"]


# Text that a hurried decoder reads wrongly, and what it is.
TRAPS = {
    "hex, base64 and decimal": ("474554", b"GET"),
    "decimal without a letter": ("[71, 69, 84, 32, 47, 32, 72, 84, 84, 80]", b"GET / HTTP"),
    "hex without a letter": ("[47, 45, 54, 20, 31, 33, 32, 30]", b"GET 1320"),
    "two digits": ("81 85", b"\x81\x85"),
    "words": ("0000000 4547 2054 482f 5454\n0000008", b"GET /HTT"),
    "groups": ("00000000: 4745 5420 2f48 5454  GET /HTT", b"GET /HTT"),
    "octal offsets": (WRITERS["od-t-x1"](GET), GET),
    "hex-like gutter": ("00000000  de ad be ef 20 ca fe 00  |dead beef|", b"\xde\xad\xbe\xef \xca\xfe\x00"),
    "words in the gutter": (WRITERS["xxd"](b"dead beef cafe 12"), b"dead beef cafe 12"),
    "signed": (WRITERS["java-signed"](FRAME), FRAME),
    "two-digit escapes": (r"\x81\x857\xfa!=\x7f\x9fMQX", FRAME),
    "base64 in quotes": ('"gYU3+iE9f59NUVg="', FRAME),
    "octal list": ("[107 105 124 40 57 40 110 124 124 120]", b"GET / HTTP"),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps(name: str) -> None:
    text, data = TRAPS[name]
    assert [dump.data for dump in decoded(text)] == [data]


CUT = {
    "ellipsis": (f"Buffer:{DIGITS[:40]}...", None),
    "one sign": (f"Buffer:{DIGITS[:40]}…", None),
    "truncated": (f"Buffer:{DIGITS[:40]}[truncated]", None),
    "odd nibble": (f"Buffer:{DIGITS[:41]}", None),
    "Node": (f"<Buffer {GET[:20].hex(' ')} ... 44 more bytes>", 44),
    "Node, not closed": (f"<Buffer {GET[:20].hex(' ')}", None),
    "Erlang": (f"<<{','.join(map(str, GET[:20]))},...>>", None),
    "strace": ('recvfrom(5, "GET /chat HTTP/1.1\\r\\n"..., 8192, 0, NULL, NULL) = 64', 44),
    "browser": (f"Uint8Array(64) [{', '.join(map(str, GET[:20]))}, …]", 44),
    "PHP": ('string(64) "GET /chat HTTP/1.1\n"', 44),
    "Tomcat": ("[" + "".join(f"0x{byte:02x}" for byte in GET[:20]) + "...]", None),
}


@pytest.mark.parametrize("name", CUT)
def test_a_cut_is_said(name: str) -> None:
    text, missing = CUT[name]
    for dumps in (find_dumps(lines_of(text)), decoded(text)):
        assert [dump.data for dump in dumps] == [GET[:20]]
        assert dumps[0].cut
        notes = {note.name: note.values for note in dumps[0].notes}
        assert "dump-cut" in notes or "dump-odd-nibble" in notes
        assert missing is None or notes["dump-cut"] == {"missing": missing}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("read [B@32464a14 from the socket", "java-array"),
        ("java.nio.HeapByteBuffer[pos=0 lim=64 cap=64]", "java-bytebuffer"),
        ("PooledUnsafeDirectByteBuf(ridx: 0, widx: 64, cap: 2048)", "netty-bytebuf"),
        ("<memory at 0x7f81c8a3d1c0>", "python-memoryview"),
        ("message: [object ArrayBuffer]", "javascript-object"),
        ("Uint8Array(16)", "javascript-object"),
        ("[]uint8 len: 64, cap: 512", "go-slice"),
        ("System.Byte[]", "dotnet-array"),
        ("got <Buffer >", "node-buffer"),
    ],
)
def test_a_form_without_data_is_named(text: str, form: str) -> None:
    for dumps in (find_dumps(lines_of(text)), decoded(text)):
        assert [dump.data for dump in dumps] == [b""]
        assert [note.values["form"] for note in dumps[0].notes if note.name == "dump-no-data"] == [form]


def test_bytes_lost_to_a_utf8_decoder_are_said() -> None:
    for text in ("Received: \ufffd\ufffd7\ufffd!=\x7f\ufffdMQX", "Buffer:efbfbdefbfbd37efbfbd213d7fefbfbd4d5158"):
        (dump,) = find_dumps(lines_of(text))
        assert dump.lossy
        assert [note.values["count"] for note in dump.notes if note.name == "dump-replaced"] == [4]


def test_repeated_rows_are_put_back_and_a_lost_row_is_a_gap() -> None:
    rows = WRITERS["hexdump-C"](bytes(64) + GET).split("\n")
    assert "*" in rows
    (dump,) = find_dumps(lines_of("\n".join(rows)))
    assert dump.data == bytes(64) + GET
    rows = WRITERS["xxd"](GET).split("\n")
    (dump,) = find_dumps(lines_of("\n".join(rows[:1] + rows[2:])))
    assert dump.data == GET[:16] + GET[32:]
    assert [(gap.offset, gap.size) for gap in dump.gaps] == [(16, 16)]
    (dump,) = find_dumps(lines_of("\n".join(rows[1:])))
    assert not dump.from_start
    assert dump.offset == 16


HOSTILE = (
    *(
        "a",
        "4a",
        "4a 4b ",
        "\\x16\\x03",
        '\\"',
        "b'\\'",
        "GET ",
        "GET \\r\\n",
        "[1,",
        "71, ",
        "[",
        "<Buffer 47 ",
        "Buffer:4a",
    ),
    *(
        "0x16",
        "16:03:",
        "R0VUI",
        "%0d%0a",
        "=0D=0A",
        "^V^C",
        "x^M$",
        "H4sIAAAAAAAAAAAA",
        "I5CVIIBR",
        "▬♥",
        "\ufffd",
        'recv(5, "a',
        "recv(5, ) ",
        's:5:"',
    ),
    *(
        'string(9) "',
        '<<"',
        "00000000: 47 ",
        "4\u200b",
        "４７",
        '{"log":"',
        '<field name="tcp.payload" ',
        "`",
        "\x16\x03\x01",
    ),
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_forged_line_and_many_tiny_ones_are_survived(unit: str) -> None:
    """Each is a bait for a reader; quadratic ones would not end within the suite's patience."""
    line = unit * (200_000 // len(unit))
    assert all(dump.last == 0 for dump in find_dumps(lines_of(line.replace("\n", ""))))
    find_dumps(lines_of("\n".join([unit] * 2000)))
