"""Lifetimes in logs: a connection that always dies after a timer's time names the timer, any other nothing."""

import pytest

from wsdiag.diagnosis import diagnose_evidence
from wsdiag.intake.paste import read_lines
from wsdiag.model import LogLine, Origin, Report


def report(text: str) -> Report:
    return diagnose_evidence(
        read_lines("app.log", [LogLine(line, Origin("app.log", n)) for n, line in enumerate(text.splitlines(), 1)])
    )


def life(seconds: float, start: int = 36000) -> str:
    def clock(moment: float) -> str:
        return f"{int(moment) // 3600 % 24:02}:{int(moment) // 60 % 60:02}:{moment % 60:06.3f}"

    return (
        f"2026-11-22 {clock(start)} websocket open\n"
        f"2026-11-22 {clock(start + 1)} message hello\n"
        f"2026-11-22 {clock(start + seconds)} close 1006\n"
    )


@pytest.mark.parametrize("seconds", [60.02, 59.9, 100.3, 3600.4])
def test_a_timer_is_named(seconds: float) -> None:
    found = report(life(seconds) + life(seconds, 40000))
    assert found.primary == "idle-timeout"
    assert found.findings[0].values["seconds"] == round(seconds, -1)
    assert found.findings[0].certainty == "likely"


def test_over_midnight() -> None:
    assert report(life(60, 86390)).primary == "idle-timeout"


@pytest.mark.parametrize("text", [life(47.2), life(60) + life(13.5, 40000), "close 1006\n", life(60).replace(":", ".")])
def test_other_lives_name_nothing(text: str) -> None:
    assert report(text).primary != "idle-timeout"


def test_the_time_of_a_record_holds_for_its_stack_trace() -> None:
    text = (
        "2026-11-22 11:04:42,447 INFO websockets.server connection open\n"
        "2026-11-22 11:05:42,460 ERROR websockets.server connection handler failed\n"
        "Traceback (most recent call last):\n"
        "websockets.exceptions.ConnectionClosedError: no close frame received or sent\n"
    )
    assert report(text).primary == "idle-timeout"


def test_a_named_cause_is_not_overruled() -> None:
    text = life(60) + "frame not masked so close the connection\n"
    assert report(text).primary == "unmasked-client-frame"
