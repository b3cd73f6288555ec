"""Wordings in lines: several in one, neighbours, the stronger and the weaker, values, and lines that are bait."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdiag.intake.encoding import lines_of
from wsdiag.model import LineSpan, LogLine, Origin
from wsdiag.rules import reported
from wsdiag.rules.decide import connect_fail, package_length
from wsdiag.rules.reported import Reported
from wsdiag.rules.status import cause_of_status

BUFFER = "recv data before handshake. Buffer:474554202f20485454502f312e310d0a"


def found(text: str) -> list[Reported]:
    """What is reported of the text."""
    return list(reported.find(lines_of(text, "log")))


def causes(text: str) -> list[str]:
    """The names of what is no fact."""
    return [each.name for each in found(text) if each.kind != "fact"]


def quoted(each: Reported) -> str:
    """The characters that are shown."""
    (span,) = each.hit.spans
    assert isinstance(span, LineSpan)
    return span.text[span.start : span.stop]


def test_glued_messages_are_found_at_their_columns() -> None:
    """Workerman prints "package_length=false" without a line end."""
    both = found(f"Error package. package_length=false{BUFFER}")
    assert [(each.name, quoted(each)) for each in both] == [
        ("listener-ws-scheme", "rror package. package_length=false"),
        ("listener-ws-scheme", "recv data before handshake. Buffer:"),
    ]


def test_the_same_message_twice_in_a_line() -> None:
    """Each is told, with its place."""
    text = "Error package. package_length=1195725856Error package. package_length=369295617"
    first, second = found(text)
    assert (first.hit.variant, second.hit.variant) == ("length-prefixed", "length-prefixed-tls")
    assert quoted(second) == "Error package. package_length=369295617"


def test_the_trace_tells_the_side() -> None:
    """A neighbour line of the next message does not count for the one before it."""
    server = "Exception: class \\Protocols\\Wss not exist in /x/Worker.php:2429"
    client = "Exception: class \\Protocols\\Wss not exist in /x/Connection/AsyncTcpConnection.php:156"
    assert causes(f"{server}\n{client}") == ["listener-wrong-protocol", "client-websocket-scheme"]
    assert causes(f"{client}\n{server}") == ["client-websocket-scheme", "listener-wrong-protocol"]


def test_neighbours_are_counted_by_line_number() -> None:
    """Of a big log only some lines are kept; far ones are no neighbours, nor are those of another file."""
    texts = ("SSL handshake error: x", "error:0A00009C:SSL routines::http request ")

    def names(origins: list[Origin]) -> set[str]:
        lines = [LogLine(text, origin) for text, origin in zip(texts, origins, strict=True)]
        return {each.name for each in reported.find(lines) if each.signature.program == "workerman"}

    assert names([Origin("a", 1), Origin("a", 2)]) == {"plaintext-to-tls"}
    assert "plaintext-to-tls" not in names([Origin("a", 1), Origin("a", 200)])
    assert "plaintext-to-tls" not in names([Origin("a", 1), Origin("b", 2)])


def test_values_of_neighbours_and_kinds_of_values() -> None:
    """`near` captures too; numbers are numbers, schemes lower case."""
    (accept, *_) = found("Sec-WebSocket-Accept not match. Header:\nHTTP/1.1 101 x\nSec-WebSocket-Accept: abc=")
    assert accept.hit.values["accept"] == "abc="
    (port, *_) = found("stream_socket_server(): Unable to connect to tcp://0.0.0.0:2346 (Address already in use)")
    assert port.hit.values["port"] == 2346
    (scheme,) = found("RuntimeException: class \\Protocols\\Websockets not exist")
    assert scheme.hit.values["scheme"] == "websockets"


def test_what_is_shown_may_be_a_part_of_what_matches() -> None:
    """The group `here`."""
    banner = "tcp     root            Chat      ws://0.0.0.0:2346    1             [OK]"
    (rule,) = [each for each in found(banner) if each.kind == "rule"]
    assert quoted(rule) == "ws://0.0.0.0:2346"
    assert "here" not in rule.hit.values


def test_an_exception_explains_the_exit_status() -> None:
    """Alone it explains nothing; after a Ws TypeError it is no cause of its own."""
    crash = "worker[Chat:1] exit with status 64000"
    (alone,) = found(crash)
    assert alone.kind == "candidates"
    assert [each.name for each in alone.hit.candidates][:2] == ["server-error-close", "listener-ws-scheme"]
    assert alone.hit.next_steps
    (with_reason,) = found(f"RuntimeException: boom in /srv/app/start.php:15\n{crash}")
    assert (with_reason.kind, with_reason.name) == ("rule", "server-error-close")
    assert str(with_reason.hit.values["detail"]).startswith("RuntimeException: boom")


@given(
    st.lists(
        st.sampled_from(["worker[Chat:1] exit with status 64000", "RuntimeException: boom", "x", "y"]), max_size=150
    )
)
@settings(max_examples=60, deadline=None)
def test_lines_before_are_remembered_rightly(lines: list[str]) -> None:
    """Each exit status is judged as it would be if the text ended there."""
    together = [(each.kind, each.name) for each in found("\n".join(lines))]
    one_by_one = []
    for number, line in enumerate(lines, 1):
        if line.startswith("worker"):
            one_by_one.append([(each.kind, each.name) for each in found("\n".join(lines[:number]))][-1])
    assert together == one_by_one


def test_a_wording_that_must_stand_alone() -> None:
    """The user's own "connected" says something only where nothing else is said."""
    assert causes("connected") == ["no-response"]
    assert causes("connected\n\nclosed\n") == ["closed-without-response"]
    assert causes("connected\nrecv: hello\nclosed") == []


def test_facts_do_not_hide_findings() -> None:
    """A row of the start table is both."""
    kinds = {each.kind for each in found("tcp  root  Chat   ws://0.0.0.0:2346   1    [OK]")}
    assert kinds == {"fact", "rule"}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (101, "connection-established"),
        (200, "response-200"),
        (204, "response-unexpected-status"),
        (302, "response-redirect"),
        (304, "response-unexpected-status"),
        (400, "response-400"),
        (401, "response-auth"),
        (403, "response-auth"),
        (407, "response-auth"),
        (404, "response-404"),
        (405, "response-unexpected-status"),
        (426, "response-426"),
        (429, "response-429"),
        (525, "response-5xx-upstream"),
    ],
)
def test_statuses(status: int, cause: str) -> None:
    """Each has its cause."""
    assert cause_of_status(status) == cause


@pytest.mark.parametrize(
    ("number", "name", "variant", "detail"),
    [
        (1195725856, "listener-wrong-protocol", "length-prefixed", "GET "),
        (1347375956, "listener-wrong-protocol", "length-prefixed", "POST"),
        (1213486160, "listener-wrong-protocol", "length-prefixed", "HTTP"),
        (1347569952, "listener-wrong-protocol", "length-prefixed", "PRI "),
        (218762506, "listener-wrong-protocol", "length-prefixed", "0d 0a 0d 0a"),
        (369295616, "listener-wrong-protocol", "length-prefixed-tls", "16 03 01 00"),
        (369295619, "listener-wrong-protocol", "length-prefixed-tls", "16 03 01 03"),
        (104857614, "message-too-big", "", None),
        (20 << 20, "message-too-big", "", None),
        (10485761, "message-too-big", "", None),
        (1 << 40, "message-too-big", "", None),
    ],
)
def test_a_length_that_was_none(number: int, name: str, variant: str, detail: str | None) -> None:
    """The number is the first four bytes of what arrived, or really a length."""
    decision = package_length({"number": number})
    assert decision is not None
    assert (decision.name, decision.variant, decision.values.get("detail")) == (name, variant, detail)
    inner = package_length({"number": 1195725856, "class": "GatewayProtocol"})
    assert inner is not None
    assert inner.variant == "gateway-internal"


def test_how_long_a_connect_took() -> None:
    """A refusal is quick."""
    quick, slow = connect_fail({"seconds": 0.0002}), connect_fail({"seconds": 30.0})
    assert quick is not None
    assert slow is not None
    assert (quick.name, slow.name) == ("connection-refused", "connect-timeout")
    assert connect_fail({}) is None


@given(
    st.lists(st.sampled_from(["Error package. package_length=false", BUFFER, "connected", "[OK] ", "\u00e9", " ", "x"]))
)
@settings(max_examples=100, deadline=None)
def test_places_lie_in_their_lines_and_both_ways_of_searching_agree(pieces: list[str]) -> None:
    """One literal after the other, or all at once in a big text."""
    lines = lines_of("".join(pieces), "log")
    few = list(reported.find(lines))
    for each in few:
        (span,) = each.hit.spans
        assert isinstance(span, LineSpan)
        assert 0 <= span.start < span.stop <= len(span.text)
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(reported, "FEW_CHARACTERS", -1)
        assert list(reported.find(lines)) == few
    finally:
        patch.undo()


@pytest.mark.parametrize(
    "bait", ["a" * 300_000, "(" * 100_000, "Error package. package_length=" * 10_000, "::" * 100_000]
)
def test_bait_is_bounded(bait: str) -> None:
    """RE2 does not backtrack, and a line that repeats itself is told often enough."""
    assert len(found(bait)) <= 4 * reported.MATCHES_PER_LINE
