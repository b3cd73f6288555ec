"""Regular expressions that are compiled when they are first used; what they mean is left to their modules.

To compile one takes 0.05 to 1 ms, and a run of `wsdiag decode` needs few of the many that its modules define.
"""

import re

TYPE_CHECKING = False  # what typing calls so; see `wsdiag.record`

if TYPE_CHECKING:
    from typing import AnyStr


class _Pattern:
    """Stands in for a compiled expression. Its methods are the compiled one's from the first use on."""

    __slots__ = ("findall", "finditer", "flags", "fullmatch", "match", "pattern", "search", "split", "sub")

    def __init__(self, pattern: "str | bytes", flags: int) -> None:
        self.pattern = pattern
        self.flags = flags

    def __getattr__(self, name: str) -> object:
        # Only reached for what is not set yet.
        compiled = re.compile(self.pattern, self.flags)
        for method in ("findall", "finditer", "fullmatch", "match", "search", "split", "sub"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def pattern(expression: "AnyStr", flags: int = 0) -> "re.Pattern[AnyStr]":
    """The expression, to be used like what re.compile() returns; a mistake in it shows when it is first used."""
    return _Pattern(expression, flags)  # type: ignore[return-value]
