"""What moves on the screen: the table of a live capture and the progress of a long file, drawn by rich.

Everything that was captured is cleaned first; rich is given `Text` objects, never markup.
"""

import os
import sys
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wsdiag.model import ConnectionReport
from wsdiag.render.clean import clean

if TYPE_CHECKING:
    from wsdiag.intake.survey import Sighting
    from wsdiag.render.words import Words

ROWS = 15  # connections in the table; the others have been printed above it
STYLES = {"healthy": "green", "faulty": "bold red", "undecided": "yellow"}


class Table:
    """The last connections of a live capture, drawn anew a few times a second."""

    def __init__(self, words: "Words") -> None:
        from rich.console import Console
        from rich.live import Live

        self.words = words
        self.rows: deque[tuple[str, str, str, str, str]] = deque(maxlen=ROWS)
        self.console = Console()
        self.live: Any = Live(console=self.console, refresh_per_second=5, transient=True)
        self.title = ""

    def __enter__(self) -> "Table":
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def add(self, sighting: "Sighting", report: ConnectionReport, cause: str) -> None:
        """A connection was decided."""
        client = f"{sighting.client.host}:{sighting.client.port}"
        server = f"{sighting.server.host}:{sighting.server.port}"
        self.rows.append((str(sighting.id + 1), clean(client), clean(server), clean(cause), report.verdict))

    def refresh(self, packets: int, connections: int) -> None:
        """Draw the table again."""
        from rich.table import Table as Grid
        from rich.text import Text

        text = self.words.text
        grid = Grid(title=Text(text("sniff", "live.title", packets=packets, connections=connections)))
        for name in ("number", "client", "server", "cause"):
            grid.add_column(Text(text("sniff", f"table.{name}")))
        for number, client, server, cause, verdict in self.rows:
            grid.add_row(Text(number), Text(client), Text(server), Text(cause, style=STYLES[verdict]))
        self.live.update(grid)


class Progress:
    """How much of a file has been read, on standard error."""

    def __init__(self, stream: Any) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar

        try:
            self.size = os.fstat(stream.fileno()).st_size
        except (OSError, AttributeError, ValueError):
            self.size = 0
        self.bar: Any = Bar(console=Console(file=sys.stderr), transient=True)
        self.task = self.bar.add_task("", total=self.size or None)
        self.bar.start()

    def advance(self, done: int) -> None:
        """`done` bytes of the file have been read."""
        self.bar.update(self.task, completed=done)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.stop()
