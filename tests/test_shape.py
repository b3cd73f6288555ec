"""Judging each shape once gives the verdicts that judging each connection gives; and they are the right ones."""

import importlib.util
import io
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.captures import ACK, RST, Packet, Talk, accept, frame, healthy, packets, pcap, request, switching
from wsdiag.diagnosis import diagnose_connection
from wsdiag.intake.capture import open_capture
from wsdiag.intake.survey import Survey
from wsdiag.model import ConnectionReport


def load(name: str) -> ModuleType:
    path = Path(__file__).parent / "bench" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


generate = load("generate")


def survey(data: bytes, each: bool) -> tuple[dict[int, ConnectionReport], int]:
    found: dict[int, ConnectionReport] = {}
    run = Survey(
        frozenset({2346}), "x", diagnose_connection, lambda who, what: found.update({who.first_packet: what}), each=each
    )
    run.read(open_capture(io.BytesIO(data), "x"))
    return found, run.judged


def told(report: ConnectionReport) -> object:
    return (
        report.verdict,
        report.primary,
        [(each.name, each.certainty, each.consequence_of) for each in report.findings],
    )


@pytest.mark.parametrize("mix", ["storm", "wsonly"])
def test_the_right_cause_of_every_connection(mix: str) -> None:
    out = io.BytesIO()
    truth = generate.write(out, 12_000, mix)
    shared, judged = survey(out.getvalue(), False)
    own, _ = survey(out.getvalue(), True)
    assert sorted(shared) == sorted(each["first"] for each in truth)
    assert {number: told(each) for number, each in shared.items()} == {
        number: told(each) for number, each in own.items()
    }
    assert mix != "storm" or judged < len(truth) / 3
    for each in truth:
        report = shared[each["first"]]
        if each["cut"]:
            continue
        if each["kind"] in ("healthy", "nothing-sent"):
            assert report.primary is None, each
        else:
            assert report.primary == each["kind"], each


KEYS = [
    "AAECAwQFBgcICQoLDA0ODw==",
    "dGhlIHNhbXBsZSBub25jZQ==",
    "short",
    "not base64 at all!!",
    "AAECAwQFBgcICQoLDA0ODx==",
]
HEADERS = [
    "",
    "Cookie: a=b; c=d\r\n",
    "Cookie: \x01bad\r\n",
    "Date: today\r\n",
    "Origin: http://chat.example\r\n",
    "Origin: https://chat.example\r\n",
    "Origin: http://evil.example\r\n",
    "Origin: null\r\n",
    "User-Agent: Mozilla/5.0 Chrome/129\r\n",
    "User-Agent: Mozilla/5.0 Firefox/1\r\n",
    "User-Agent: ELB-HealthChecker/2.0\r\n",
    "User-Agent: kube-probe/1.2\r\n",
    "User-Agent: curl/8\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "X-Forwarded-For: 5.6.7.8, 9.9.9.9\r\n",
    "X-Other: 1\r\n",
    "Sec-WebSocket-Protocol: chat\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
]
PATHS = [
    "/",
    "/chat",
    "/chat?room=1",
    "/chat?room=2",
    "/socket.io/?EIO=4&transport=websocket",
    "/socket.io/?EIO=3&transport=polling",
    "/favicon.ico",
    "/a b",
    "/chat?x=%20&y=<>",
]
ANSWERS = ["right", "wrong", "sample", "none", "404", "400", "200", "426", "502", "garbage", "silence", "reset"]


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    """A conversation made of few choices, so that equal shapes are common, and of small differences within a shape."""
    key = draw(st.sampled_from(KEYS))
    extra = "".join(draw(st.lists(st.sampled_from(HEADERS), max_size=2)))
    asked = request(key, draw(st.sampled_from(PATHS)), extra, draw(st.sampled_from(["chat.example", "b.example:80"])))
    if draw(st.integers(0, 9)) == 0:
        asked = asked.replace(b"Upgrade: websocket\r\n", b"").replace(b"Connection: Upgrade", b"Connection: close")
    if draw(st.integers(0, 9)) == 0:
        asked = asked.replace(b"13", draw(st.sampled_from([b"12", b"8", b"013"])))
    if draw(st.integers(0, 19)) == 0:
        asked = asked[: draw(st.integers(1, len(asked) - 1))]
    talk = Talk(isn=(draw(st.integers(1, 9)), 77)).open().say(0, asked)
    talk.wait(draw(st.sampled_from([0, 0, 0.2, 0.7, 2.3, 4.9, 5.2, 61])))
    answer = draw(st.sampled_from(ANSWERS))
    date = draw(st.sampled_from(["", "Date: Mon\r\n", "Date: Tue\r\n", "Set-Cookie: a=1\r\n"]))
    if answer in ("right", "wrong", "sample", "none"):
        right = accept(key)
        value = {"right": right, "wrong": accept(key + "x"), "sample": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}.get(answer)
        reply = switching(key, date).replace(right.encode(), value.encode() if value else b"")
        talk.say(1, reply)
        for _ in range(draw(st.integers(0, 5))):
            talk.say(0, frame(b"hello", draw(st.sampled_from([1, 1, 2, 9])), b"mask"))
            talk.say(1, frame(b"world", draw(st.sampled_from([1, 1, 2, 10]))))
        odd = draw(st.integers(0, 9))
        if odd == 0:
            talk.say(0, frame(b"\xff\xfe", 1, b"mask"))
        elif odd == 1:
            talk.say(1, frame(b"x", draw(st.sampled_from([3, 11]))))
        elif odd == 2:
            talk.say(0, frame(b"unmasked"))
        talk.wait(draw(st.sampled_from([0, 0.4, 0.6, 1.4, 1.6, 60])))
        if draw(st.booleans()):
            code = draw(st.sampled_from([1000, 1001, 1002, 1009, 1011])).to_bytes(2, "big")
            talk.say(1, frame(code, 8))
    elif answer == "garbage":
        talk.say(1, draw(st.sampled_from([b"SSH-2.0-x\r\n", b"\x81\x05hello", b"\0\0\0"])))
    elif answer.isdigit():
        body = draw(st.sampled_from([b"", b"no", b"<html>no</html>"]))
        talk.say(
            1, b"HTTP/1.1 %s X\r\n%sContent-Length: %d\r\n\r\n" % (answer.encode(), date.encode(), len(body)) + body
        )
    if answer == "reset":
        return talk.add(1, RST | ACK)
    end = draw(st.integers(0, 3))
    return talk.close(end) if end < 2 else talk if end == 2 else talk.add(draw(st.integers(0, 1)), RST | ACK)


@settings(max_examples=100, deadline=None)
@given(st.lists(talks(), min_size=2, max_size=25), st.randoms(use_true_random=False))
def test_a_remembered_verdict_is_the_own_verdict(found: list[Talk], chance: random.Random) -> None:
    wires: list[Packet] = []
    for index, talk in enumerate(found):
        wires += packets(talk, ports=(20000 + index, 2346), v6=chance.random() < 0.3)
    data = pcap(wires)
    shared, _ = survey(data, False)
    own, _ = survey(data, True)
    assert {number: told(each) for number, each in shared.items()} == {
        number: told(each) for number, each in own.items()
    }


def test_ten_thousand_equal_failures_are_judged_once() -> None:
    wires: list[Packet] = []
    for index in range(300):
        key = KEYS[0].replace("AA", chr(65 + index % 26) * 2)
        talk = Talk(isn=(index, index * 7)).open().say(0, request(key, extra=f"Cookie: id={index}\r\n")).close(1)
        wires += packets(talk, ports=(20000 + index, 2346))
    assert survey(pcap(wires), False)[1] == 1


def test_a_healthy_connection_is_healthy() -> None:
    shared, judged = survey(pcap(packets(healthy())), False)
    assert [each.verdict for each in shared.values()] == ["healthy"]
    assert judged == 1
