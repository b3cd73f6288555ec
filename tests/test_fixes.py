"""The fixes: each is a unified diff that `patch` applies, with the evidence's own values or marked as an example."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.model import Finding, Value
from wsdiag.render.fixes import _EXAMPLES, _tables, diff, examples
from wsdiag.rules import catalogue

FILE = Path(__file__).parent.parent / "wsdiag" / "words" / "fixes.toml"
HEADER = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@")
# Every value that a table may ask for, as the rules and the signatures give them.
VALUES: dict[str, Value] = {
    "address": "ws://0.0.0.0:8282",
    "host": "192.0.2.7",
    "port": 8282,
    "path": "/chat",
    "url": "websocket://chat.example.org/room",
    "origin": "https://shop.example.org",
    "subprotocol": "mqtt, mqttv3.1",
    "upstream": "http://10.0.0.5:9000",
    "scheme": "ws",
}


def finding(name: str, variant: str = "", **values: Value) -> Finding:
    cause = catalogue()[name]
    return Finding(name, cause.code, "error", "certain", cause.blame, cause.reference, values, variant)


def read(change: str) -> tuple[list[str], list[str], str]:
    """The lines before and after, and the file's line in the header."""
    head, new, hunk, *lines = change.rstrip("\n").split("\n")
    assert head.startswith("--- a/")
    assert new == "+++ b/" + head.removeprefix("--- a/")
    assert all(line[0] in " -+" for line in lines)
    before = [line[1:] for line in lines if line[0] in " -"]
    after = [line[1:] for line in lines if line[0] in " +"]
    match = HEADER.fullmatch(hunk)
    assert match
    assert (int(match[2]), int(match[4])) == (len(before), len(after))
    return before, after, head


def cases() -> list[tuple[str, Finding]]:
    found = []
    for table in _tables():
        if not table:
            continue
        name, _, rest = table.partition(".")
        first, _, second = rest.partition(".")
        values = dict(VALUES)
        variant = ""
        if first:
            values["framework"] = second or first
            values["scheme"] = first
            variant = "" if first in ("wss", "https", "ssl") else first
        found.append((table, finding(name, variant, **values)))
    return found


def test_the_quick_reader_reads_what_toml_reads() -> None:
    expected: dict[str, dict[str, str]] = {}

    def flatten(prefix: str, table: dict[str, object]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                flatten(f"{prefix}.{key}" if prefix else key, value)
            else:
                expected.setdefault(prefix, {})[key] = str(value)

    flatten("", tomllib.loads(FILE.read_text("utf-8")))
    assert {name: row for name, row in _tables().items() if row} == expected


@pytest.mark.parametrize(("table", "fault"), cases(), ids=lambda each: each if isinstance(each, str) else "")
def test_a_fix_is_a_diff_with_the_evidences_values(table: str, fault: Finding) -> None:
    change = diff(fault)
    assert change, table
    before, after, _ = read(change)
    assert before != after
    assert not re.search(r"\{(?:" + "|".join(_EXAMPLES) + r")\}", change), "a placeholder was not filled"
    assert fault.name in catalogue()


@pytest.mark.parametrize(("table", "fault"), cases(), ids=lambda each: each if isinstance(each, str) else "")
def test_patch_applies_a_fix(table: str, fault: Finding, tmp_path: Path) -> None:
    patch = shutil.which("patch")
    if patch is None:
        pytest.skip("patch is not installed")
    change = diff(fault)
    assert change
    before, after, head = read(change)
    target = tmp_path / head.removeprefix("--- a/").split("\t")[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(before) + "\n" if before else "", encoding="utf-8")
    done = subprocess.run([patch, "-p1", "-s"], input=change.encode(), cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert target.read_text("utf-8") == "\n".join(after) + "\n"


def test_the_address_comes_from_the_evidence() -> None:
    change = diff(finding("listener-ws-scheme", framework="workerman", address="ws://0.0.0.0:8282", port=8282))
    assert change is not None
    before, after, head = read(change)
    assert before == ["$worker = new Worker('ws://0.0.0.0:8282');"]
    assert after == ["$worker = new Worker('websocket://0.0.0.0:8282');"]
    assert head == "--- a/start.php"


def test_what_is_not_known_is_an_example() -> None:
    change = diff(finding("listener-ws-scheme", port=8282))
    assert change is not None
    assert "-$worker = new Worker('ws://0.0.0.0:8282');" in change
    assert change.startswith("--- a/start.php\texample\n")


def test_the_framework_picks_the_lines() -> None:
    for framework, words in (
        ("gatewayworker", "new Gateway("),
        ("webman", "'listen' =>"),
        ("workerman", "new Worker("),
    ):
        change = diff(finding("listener-ws-scheme", framework=framework, address="ws://0.0.0.0:8282"))
        assert change is not None
        assert words in change


def test_the_servers_framework_says_nothing_of_the_client() -> None:
    change = diff(finding("client-websocket-scheme", framework="workerman", url="websocket://example.org/ws"))
    assert change is not None
    assert "+const socket = new WebSocket('ws://example.org/ws');" in change
    change = diff(finding("client-websocket-scheme", "workerman", framework="workerman", host="example.org", port=80))
    assert change is not None
    assert "new AsyncTcpConnection('ws://example.org:80')" in change


def test_a_clients_library_says_nothing_of_what_refused_it() -> None:
    refused = finding("origin-rejected", framework="gorilla", origin="https://example.org")
    assert "CheckOrigin" in (diff(refused) or "")
    assert diff(refused._replace(certainty="possible")) is None


def test_lines_without_any_value_of_the_evidence_are_an_example() -> None:
    change = diff(finding("idle-timeout", "haproxy"))
    assert change is not None
    assert change.startswith("--- a/haproxy.cfg\texample")


def test_no_honest_fix_means_none() -> None:
    assert diff(finding("closed-without-response")) is None
    assert diff(finding("client-websocket-scheme")) is None, "without the URL every line would be an invention"
    assert diff(finding("listener-ws-scheme", address="websocket://0.0.0.0:1")) is None, "nothing to change"


def test_tls_stays_tls() -> None:
    change = diff(finding("client-websocket-scheme", url="https://example.org/ws"))
    assert change is not None
    assert "+const socket = new WebSocket('wss://example.org/ws');" in change
    change = diff(finding("response-redirect", "to-https", url="https://example.org/ws"))
    assert change is not None
    assert "-const socket = new WebSocket('ws://example.org/ws');" in change


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_hostile_value_never_leaves_its_quotes(value: str) -> None:
    for name in ("listener-ws-scheme", "client-websocket-scheme", "origin-rejected", "subprotocol-mismatch"):
        change = diff(
            finding(
                name,
                framework="workerman",
                address=value,
                url=value,
                origin=value,
                subprotocol=value,
                host=value,
                path=value,
            )
        )
        if change:
            before, after, _ = read(change)
            assert all(char.isprintable() for line in (*before, *after) for char in line.replace("\t", ""))
            assert all(line.count("'") % 2 == 0 for line in (*before, *after))


def test_the_page_of_a_cause_shows_all_its_fixes() -> None:
    shown = dict(examples("listener-wrong-protocol"))
    assert "-$worker = new Worker('wss://0.0.0.0:2346');" in shown["wss"]
    assert {name for table in _tables() for name in [table.partition(".")[0]] if name} <= set(catalogue())
    for name in catalogue():
        for shade, change in examples(name):
            before, after, head = read(change)
            assert before != after, (name, shade)
            assert head.endswith("\texample")
