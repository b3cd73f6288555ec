"""Time as evidence in logs: how long connections lived, by the clock of the lines that tell of their beginning and end.

A connection that always ends after the same round number of seconds was ended by a timer: a proxy's, most of all.
"""

from collections.abc import Iterator, Sequence

from wsdiag.model import Hit, LineSpan, LogLine
from wsdiag.pattern import pattern
from wsdiag.rules import hit

# Defaults of proxies and servers, in seconds: nginx, ALB and Heroku 60, 55 and 50 (HAProxy examples), Cloudflare 100,
# Node's keep-alive and AWS NLB 350, Azure 230 and 240, GCP 30 and 600, an hour in HAProxy's tunnel examples.
TIMERS = (30, 50, 55, 60, 75, 90, 100, 120, 180, 230, 240, 300, 350, 600, 900, 1800, 3600)
SLACK = 1.5  # seconds: the handshake comes before the timer starts, and logs without fractions are rounded
DAY = 86400
MAX_SPANS = 20
_CLOCK = pattern(r"(?<!\d)([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:[.,](\d{1,6}))?(?!\d)")


# How programs and people note the two moments, beside what the tables of wordings know.
_OPENED = pattern(r"(?i)\b(?:open|opened|connected|connection open)\b")
_CLOSED = pattern(r"(?<!\d)1006(?!\d)|(?i:closed abnormally|abnormal closure|no close frame)")
LOOK_BACK = 40  # lines from the middle of a stack trace up to its first one, which has the time
MAX_MOMENTS = 2000  # openings and closings that are looked at; a log of more tells the same again


def timer_closes(lines: Sequence[LogLine]) -> Iterator[Hit]:
    """A hit when every connection whose life the lines tell ended after the time of one known timer."""
    opened: dict[str, float] = {}
    lives: list[tuple[float, LogLine]] = []
    for index, line in enumerate(lines):
        ends = _CLOSED.search(line.text) is not None
        if not ends and _OPENED.search(line.text) is None:
            continue
        moment = _moment(lines, index)
        if moment is None:
            continue
        source = line.origin.source
        if not ends:
            opened[source] = moment
        elif source in opened:
            lives.append(((moment - opened.pop(source)) % DAY, line))
            if len(lives) >= MAX_MOMENTS:
                break
    for timer in TIMERS:
        if lives and all(abs(life - timer) <= SLACK for life, _ in lives):
            spans = (LineSpan(line.origin, 0, len(line.text), line.text) for _, line in lives[:MAX_SPANS])
            yield hit(*spans, certainty="likely", seconds=timer, count=len(lives))
            return


def _moment(lines: Sequence[LogLine], index: int) -> float | None:
    """The second of the day that the line was written, or the record that it belongs to; None where no line tells."""
    for line in reversed(lines[max(0, index - LOOK_BACK) : index + 1]):
        clock = _CLOCK.search(line.text)
        if clock is not None:
            hours, minutes, seconds, fraction = clock.groups()
            return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")
    return None
