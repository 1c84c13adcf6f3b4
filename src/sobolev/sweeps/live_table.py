"""Shows the table of a sweep on a terminal, redrawn as it changes; elsewhere prints lines only."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from sobolev.sweeps import status_table
from sobolev.sweeps.ledger import Sweep
from sobolev.system.output import forgiving

REDRAW_SECONDS = 2.0


class LiveTable:
    """A context manager that shows the table. `update` redraws it at most every two seconds, `say` prints a line above
    it."""

    def __init__(self, *sweeps: Sweep, console: Console | None = None):
        """Prints to `console`, by default to stdout."""
        output: Any = forgiving(sys.stdout, "standard output")  # the runs continue even if the output cannot be written
        self.sweeps, self.console = sweeps, console or Console(file=output, soft_wrap=False, highlight=False)
        self.live = RichLive(console=self.console, auto_refresh=False, transient=True)
        self.drawn = -REDRAW_SECONDS

    def __enter__(self) -> "LiveTable":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(Text(line), soft_wrap=True)

    def update(self) -> None:
        """Redraws the tables on a terminal, unless they were redrawn less than `REDRAW_SECONDS` ago."""
        now = time.monotonic()
        if not self.console.is_terminal or now - self.drawn < REDRAW_SECONDS:
            return
        self.drawn = now
        self.live.update(picture(*self.sweeps), refresh=True)


def picture(*sweeps: Sweep) -> Group:
    """Returns the tables of sweeps, each with its summary below."""
    parts = []
    for sweep in sweeps:
        rows = status_table.rows(sweep)
        parts += [status_table.colored(rows), Text(""), Text(status_table.summary(sweep.name, rows))]
    return Group(*parts)
