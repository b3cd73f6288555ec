"""What makes `wsdiag decode` start fast and does not show in its output."""

import subprocess
import sys
from pathlib import Path
from unicodedata import category, east_asian_width

import pytest

from wsdiag.render.clean import _is_mark
from wsdiag.render.layout import NARROW, cell_width

ROOT = Path(__file__).parent.parent
# Modules that take as long to import as a good part of the whole run; typing's work is done by wsdiag.record.
SLOW = {
    "typing",
    "contextlib",
    "pathlib",
    "urllib",
    "ipaddress",
    "socket",
    "json",
    "hashlib",
    "unicodedata",
    "tempfile",
}
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: a.example:2346\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def test_a_paste_needs_no_command_line_library() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['wsdiag']\n"
        "from wsdiag.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules, file=sys.stderr)"
    )
    line = "WebSocket connection to 'ws://a.example/' failed: net::ERR_CONNECTION_REFUSED"
    done = subprocess.run([sys.executable, "-c", code], input=line, capture_output=True, text=True, check=True)
    assert "connection-refused" in done.stdout
    status, *loaded = done.stderr.split()
    assert status == "1"
    assert "click" not in loaded


def test_narrow_characters_are_narrow() -> None:
    for char in NARROW - set(map(chr, range(128))):
        assert east_asian_width(char) not in "WF"
        assert category(char) not in ("Mn", "Me", "Cf")
    assert cell_width("→ 中…") == 5


def test_marks_are_known_without_the_tables() -> None:
    for code in range(0x11000):
        assert _is_mark(chr(code)) == (category(chr(code)) in ("Mn", "Me"))


@pytest.mark.parametrize("lines", [False, True])
def test_decode_imports_only_what_it_needs(lines: bool) -> None:
    dump = "Buffer:" + REQUEST.hex() if lines else REQUEST.hex()
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); before = set(sys.modules)\n"
        f"sys.argv = ['wsdiag', 'decode', {dump!r}]\n"
        "from wsdiag.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*set(sys.modules) - before, file=sys.stderr)"
    )
    environment = {"PATH": "", "LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    loaded = set(done.stderr.split())
    assert "wsdiag.wire.http1" in loaded
    assert "wsdiag.rules.reported" not in loaded
    assert not loaded & SLOW
