"""The commands as a user runs them: exit codes, bad input, languages, and what reaches the terminal."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"
SEED = SAMPLES / "listener-ws-scheme--wm4115-ws-listener-chromium"
SEED_HEX = "474554202f20485454502f312e310d0a486f73743a20613a323334360d0a0d0a"
SEED_LINES = f"recv data before handshake. Buffer:{SEED_HEX}\nError package. package_length=falseConnection closed\n"
CLASS = "Workerman\\Protocols\\Ws"
GIVEN = "must be of type Workerman\\Connection\\AsyncTcpConnection, Workerman\\Connection\\TcpConnection given"
# What no output may hold, whatever was in the input: terminal controls, and text that reorders or hides.
FORBIDDEN = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} | set("\u202a\u202e\u2066\u200b")


def wsdiag(
    *arguments: str, stdin: bytes | None = b"", lang: str = "en", memory: int | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "WSDIAG_LANG": lang, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def limit() -> None:
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [sys.executable, "-m", "wsdiag", *arguments],
        input=stdin,
        capture_output=True,
        env=environ,
        timeout=timeout,
        preexec_fn=limit,
    )


def clean(done: subprocess.CompletedProcess[bytes]) -> str:
    """The output, after making sure that nothing dangerous is in it and no traceback either."""
    text = done.stdout.decode() + done.stderr.decode()
    assert not FORBIDDEN & set(text)
    assert "Traceback" not in text
    return text


def test_bare_wsdiag_reads_a_paste() -> None:
    done = wsdiag(stdin=SEED_LINES.encode())
    assert done.returncode == 1
    assert "listener-ws-scheme" in clean(done)


def test_options_without_a_command_belong_to_the_paste() -> None:
    done = wsdiag("--format", "json", stdin=SEED_LINES.encode())
    report = json.loads(done.stdout)
    assert (report["schema"], report["primary"], report["verdict"]) == (
        "wsdiag.report/1",
        "listener-ws-scheme",
        "faulty",
    )


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
@pytest.mark.parametrize(
    "paste",
    [
        SEED_LINES,
        f"recv data before handshake. Buffer:{SEED_HEX}",
        "recv data before handshake\nerror package. package_length=false",
        f"TypeError: {CLASS}::input(): Argument #2 ($connection) {GIVEN}, called in /app/Tcp.php on line 7",
        f"2026-11-22 11:15:15 pid:15083 TypeError: {CLASS}::onClose(): Argument #1 ($connection) {GIVEN}",
    ],
    ids=["4.x", "hex line", "3.3.1", "5.x input", "5.x onClose"],
)
def test_every_generation_of_workerman_gives_the_diff(paste: str, lang: str) -> None:
    done = wsdiag(stdin=paste.encode(), lang=lang)
    text = clean(done)
    assert done.returncode == 1
    assert "listener-ws-scheme" in text
    assert "+$worker = new Worker('websocket://" in text
    assert ("监听" in text) == (lang == "zh_CN")


def test_the_same_hex_alone_accuses_nobody() -> None:
    whole = (SEED / "buffer.hex").read_text().strip()
    done = wsdiag("decode", whole)
    text = clean(done)
    assert done.returncode == 3
    assert "correct upgrade request" in text
    assert "Next" in text


def test_decode_prints_the_request() -> None:
    assert "GET / HTTP/1.1" in clean(wsdiag("decode", "474554202f20485454502f312e31"))


def test_a_healthy_capture_exits_with_0() -> None:
    assert wsdiag("diagnose", str(SAMPLES / "healthy--wm522-ok-subprotocol" / "capture.pcap")).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("diagnose", "no-such-file.log"), b""),
        (("diagnose", str(SAMPLES)), b""),
        (("diagnose",), b""),
        (("decode",), b""),
        (("decode", "there are no bytes here"), b""),
        (("diagnose", "-", "-"), b"x"),
        (("--lang", "tlh"), b"x"),
        (("explain", "no-such-cause"), b""),
        (("sniff", "-r", "no-such.pcap"), b""),
        (("sniff", "-r", "-"), b"this is no capture"),
        (("sniff", "--port", "99999"), b""),
        (("frobnicate",), b""),
        (("diagnose", "-o", "/no/such/folder/report.html", "--format", "html"), SEED_LINES.encode()),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_clear_line(arguments: tuple[str, ...], stdin: bytes) -> None:
    done = wsdiag(*arguments, stdin=stdin)
    text = clean(done)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "{" not in text
    if "wsdiag: " in text:
        assert len(done.stderr.decode().strip().splitlines()) <= 6


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.log"
    path.write_text("x")
    path.chmod(0)
    assert wsdiag("diagnose", str(path)).returncode == 2


def test_binary_junk_is_undecided() -> None:
    done = wsdiag(stdin=bytes(range(256)) * 200)
    clean(done)
    assert done.returncode == 3


def test_invalid_utf8_is_read_all_the_same() -> None:
    done = wsdiag(stdin=b"\xff\xfe\xfa broken \xc3\x28\n" * 3 + SEED_LINES.encode())
    assert "listener-ws-scheme" in clean(done)


def test_gbk_text_is_read() -> None:
    paste = "错误:连接失败，请检查服务器日志\n".encode("gb18030") * 3 + SEED_LINES.encode()
    done = wsdiag(stdin=paste)
    assert "listener-ws-scheme" in clean(done)


def test_terminal_escapes_stay_in_the_paste() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x1b]52;c;ZWNobw==\x07\u202eevil\u2066\u200b"
    paste = f"{hostile} recv data before handshake. Buffer:{SEED_HEX} {hostile}\n".encode()
    for form in ("text", "json", "markdown", "sarif", "html", "ndjson"):
        done = wsdiag("diagnose", "--format", form, stdin=paste)
        text = clean(done)
        assert "listener-ws-scheme" in text


@pytest.mark.parametrize(
    "paste",
    [
        b"x" * 20_000_000,
        b"474554" * 3_000_000,
        b"a\n" * 1_000_000,
        (b"[" * 200_000) + b"\n" + b"\\x" * 200_000,
        b"\x1b[31m" * 1_000_000,
        b"2026-11-22 11:15:15 INFO nothing of interest happened here at all\n" * 760_000,
    ],
    ids=["endless line", "endless hex", "tiny lines", "bait", "escapes", "50 MB"],
)
def test_huge_pastes_cost_bounded_time_and_memory(paste: bytes) -> None:
    done = wsdiag(stdin=paste, memory=2 << 30, timeout=60)
    clean(done)
    assert done.returncode in (1, 3)


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m wsdiag rules | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.strip()
    assert not done.stderr


def test_explain_by_name_and_by_code_is_the_same() -> None:
    by_name = wsdiag("explain", "listener-ws-scheme")
    assert by_name.returncode == 0
    assert by_name.stdout == wsdiag("explain", "ws201").stdout
    assert b"websocket://" in by_name.stdout


def test_rules_lists_every_cause() -> None:
    from wsdiag.rules import catalogue

    text = clean(wsdiag("rules"))
    assert all(name in text for name in catalogue())


def test_an_encoding_without_our_signs() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "WSDIAG_LANG": "en", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-m", "wsdiag"], input=SEED_LINES.encode(), capture_output=True, env=environ)
    assert done.returncode == 1
    assert done.stdout.decode("ascii")
    assert not done.stderr


def test_completion_is_offered() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "_WSDIAG_COMPLETE": "bash_source"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'wsdiag'; from wsdiag.__main__ import main; main()"],
        capture_output=True,
        env=environ,
    )
    assert b"complete" in done.stdout


def test_the_schema_is_printed() -> None:
    assert json.loads(wsdiag("schema").stdout)["$schema"]


def test_the_report_goes_to_a_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = wsdiag("diagnose", "--format", "json", "-o", str(path), stdin=SEED_LINES.encode())
    assert done.returncode == 1
    assert json.loads(path.read_text())["primary"] == "listener-ws-scheme"
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_quiet_prints_nothing() -> None:
    done = wsdiag("diagnose", "-q", stdin=SEED_LINES.encode())
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_paste_into_a_terminal_ends_with_one_ctrl_d() -> None:
    """A real pseudo-terminal: a line longer than its line buffer, a correction, and a single Ctrl-D."""
    import pty
    import time

    master, slave = pty.openpty()
    environ = {**os.environ, "WSDIAG_LANG": "en", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "wsdiag"], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        time.sleep(0.5)  # the terminal is switched after the prompt
        long_line = "recv data before handshake. Buffer:" + SEED_HEX[:-4] + "613a6220".join([""] * 1000)
        for start in range(0, len(long_line), 1000):
            os.write(master, long_line[start : start + 1000].encode())
            time.sleep(0.02)
        os.write(master, b"\nErrorx\x7f package. package_length=false\n\x04")
        out, _ = process.communicate(timeout=30)
    os.close(master)
    os.close(slave)
    assert process.returncode == 1
    assert b"listener-ws-scheme" in out
    assert b"Error package" in out
    assert b"4" in out.split(b"Workerman's buffer in hex, ")[1][:5]


def test_no_standard_input_at_all() -> None:
    environ = {**os.environ, "WSDIAG_LANG": "en", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m wsdiag <&-"], capture_output=True, text=True, env=environ
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
