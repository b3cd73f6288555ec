"""What stands around a line: whether a signature's `near` and `unless` allow it, in linear time however often they are
asked. Finding the lines is left to `reported`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from wsdiag.model import LogLine
from wsdiag.rules.tables import Signature

# Patterns look at no more of a line than this from the literal on (and LEAD before it); no wording is that long.
REACH = 64 * 1024
LEAD = 4 * 1024
# A text of more lines says something else than the wording that must stand alone.
MOST_LINES_ALONE = 8


@cache
def compiled(pattern: str) -> Any:
    """The pattern as an RE2 automaton, which no hostile line can make slow; `re` where RE2 is not installed."""
    try:
        import re2 as engine
    except ImportError:  # pragma: no cover - a system without the wheel
        import re as engine
    return engine.compile(pattern)


class Text:
    """The lines, and what `near` and `unless` found in them: no line is searched twice for the same pattern."""

    __slots__ = ("behind", "known", "lines")

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self.lines = lines
        self.known: dict[tuple[str, int], dict[str, str] | None] = {}
        self.behind: dict[tuple[str, int], tuple[int, dict[str, str] | None, int]] = {}

    def allows(self, signature: Signature, position: int, start: int) -> dict[str, str] | None:
        """What `near` captures; None when `near` or `unless` forbids the match at the character `start`."""
        if signature.alone and not self.says_nothing_else(signature, position):
            return None
        if not signature.near and not signature.unless:
            return {}
        if signature.unless and self.first(signature, signature.unless, position, start) is not None:
            return None
        return self.first(signature, signature.near, position, start) if signature.near else {}

    def says_nothing_else(self, signature: Signature, position: int) -> bool:
        """True when this line, and those that `near` is found in, are all that the text has."""
        if len(self.lines) > MOST_LINES_ALONE:
            return False
        return not any(
            text.strip() and not (signature.near and captures(signature.near, text) is not None)
            for other, (text, _) in enumerate(self.lines)
            if other != position
        )

    def around(self, signature: Signature, position: int) -> range:
        """The neighbours that `within` reaches, the next one first, up to a line that holds the same literal.

        They are counted by line number, because of a big log only the interesting lines are kept.
        """
        here = self.lines[position].origin
        step = 1 if signature.within > 0 else -1
        reach = abs(signature.within)
        last = min(max(position + step * reach, 0), len(self.lines) - 1)
        while last != position:
            origin = self.lines[last].origin
            distance = abs(origin.line - here.line) if origin.line and here.line else 0
            if origin.source == here.source and distance <= reach:
                break
            last -= step
        found = range(position + step, last + step, step)
        if step > 0:
            for other in found:
                if signature.literal in self.lines[other].text:
                    return range(position + 1, other)
        return found

    def first(self, signature: Signature, pattern: str, position: int, start: int) -> dict[str, str] | None:
        """The captures of the first of the lines that the pattern is found in; None when it is in none."""
        here = captures(pattern, self.lines[position].text[max(0, start - LEAD) : start + REACH])
        if here is not None:
            return here
        around = self.around(signature, position)
        if around.step < 0:
            return self.last_before(pattern, position, around)
        for other in around:
            key = pattern, other
            if key not in self.known:
                self.known[key] = captures(pattern, self.lines[other].text[:REACH])
            captured = self.known[key]
            if captured is not None:
                return captured
        return None

    def last_before(self, pattern: str, position: int, around: range) -> dict[str, str] | None:
        """What the pattern captures in the last line in front of `position` that holds it and belongs to `around`.

        Asked for ascending positions, so that what was searched is remembered as the last find and how far it went.
        """
        lowest = around[-1] if around else position
        key = pattern, len(around)
        place, captured, searched = self.behind.get(key, (-1, None, 0))
        for other in range(max(searched, lowest), position):
            found = captures(pattern, self.lines[other].text[:REACH])
            if found is not None:
                place, captured = other, found
        self.behind[key] = place, captured, position
        return captured if lowest <= place < position else None


def captures(pattern: str, text: str) -> dict[str, str] | None:
    """What the pattern captures where it is found first; None when it is not found."""
    match = compiled(pattern).search(text)
    if match is None:
        return None
    return {name: value for name, value in match.groupdict().items() if value is not None}
