"""The terminal that a command talks to: language, width, colour and encoding, and what happens when it goes away.

What is said is for the renderers; reading input is left to the intake.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from wsdiag.model import Report, WsdiagError
from wsdiag.record import TYPE_CHECKING
from wsdiag.render.words import Words, language, words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, TextIO

    from wsdiag.model import Verdict

    Color = Literal["auto", "always", "never"]

EXIT_CODES = {"healthy": 0, "faulty": 1, "undecided": 3}
COULD_NOT_RUN = 2
# The width where none can be asked (a pipe, a file), and the widest that text is still pleasant to read in.
PLAIN_WIDTH = 80
WIDEST = 110


class Console:
    """How to talk to the user: decided once, from options, environment and the terminal itself."""

    def __init__(
        self,
        lang: str | None = None,
        color: str = "auto",
        verbose: int = 0,
        output: TextIO | None = None,
    ) -> None:
        self.words: Words = words(language(lang, os.environ))
        self.verbose = verbose
        self.output: TextIO = output if output is not None else sys.stdout
        self.interactive = self.output.isatty()
        self.color = _wants_color(color, self.interactive)
        self.unicode = _encodes(self.output)
        self.width = PLAIN_WIDTH
        if self.interactive:
            try:
                self.width = min(max(os.get_terminal_size(self.output.fileno()).columns, 20), WIDEST)
            except (OSError, ValueError):
                self.width = PLAIN_WIDTH

    def write(self, text: str) -> None:
        """Print the text; characters that the terminal's encoding lacks become escapes."""
        write(text, self.output)

    def report(self, report: Report, counted: Mapping[tuple[Verdict, str | None], int] | None = None) -> None:
        """Print the report for reading; `counted` as the renderer wants it."""
        from wsdiag.render.terminal import report as rendered

        self.write(
            rendered(
                report,
                self.words,
                width=self.width,
                color=self.color,
                unicode=self.unicode,
                verbose=self.verbose,
                counted=counted,
            )
        )


def write(text: str, stream: TextIO) -> None:
    """Print the text at once; characters that the stream's encoding lacks become escapes."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _wants_color(option: str, interactive: bool) -> bool:
    if option != "auto":
        return option == "always"
    # https://no-color.org and the convention of FORCE_COLOR: any value that is not empty counts.
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return interactive and os.environ.get("TERM") != "dumb"


def _encodes(output: TextIO) -> bool:
    from wsdiag.render.layout import encodes

    return encodes(output.encoding)


def guarded(run: Callable[[], int]) -> int:
    """Run it, and turn what the caller or the environment did wrong into one line on standard error and exit code 2.

    A reader that goes away (`wsdiag … | head`) ends the program silently, with the status a shell expects.
    """
    try:
        return run()
    except WsdiagError as error:
        complain(error)
        return COULD_NOT_RUN
    except BrokenPipeError:
        # Python flushes standard output once more at exit; into nothing, then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except KeyboardInterrupt:
        return 128 + 2


def complain(error: WsdiagError, lang: str | None = None) -> None:
    """One line on standard error."""
    try:
        chosen = words(language(lang, os.environ))
    except WsdiagError:
        chosen = words("en")
    write(f"wsdiag: {chosen.error(error)}\n", sys.stderr)
