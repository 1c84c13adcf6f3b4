"""Shows the progress of a training: a progress bar on a terminal, and lines on stdout.

The bar is drawn on stderr, and only if that is a terminal. Lines (one per evaluation, and one for any other event) are
printed on stdout in either case, so that the log file of a batch job stays short and readable.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sobolev.system.output import forgiving

MEASURE_SECONDS = 60.0
"""Seconds for which the speed is measured before the length of the run is predicted."""
LONG_SECONDS = 24 * 3600.0
"""Predicted seconds above which a faster preset is suggested."""


def duration(seconds: float) -> str:
    """Formats a time span: "45 s", "12 min", "3 h 05 min", "4.2 days"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 86400:.1f} days"


class Speed:
    """Env steps and updates per second over the last `window` seconds, from the first update on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window: float = 120.0) -> None:
        self.clock, self.window, self.interval = clock, window, 0.2
        self.points: deque[tuple[float, int, int]] = deque()
        self.first: int | None = None
        self.training = False

    def add(self, steps: int, updates: int) -> None:
        """Adds a measurement: the env steps and updates so far, now."""
        if not self.training and self.first is not None and updates > self.first:
            self.training = True
            self.points.clear()
        self.first = updates if self.first is None else self.first
        now = self.clock()
        if self.points and now - self.points[-1][0] < self.interval:
            return
        while len(self.points) > 2 and now - self.points[0][0] > self.window:
            self.points.popleft()
        self.points.append((now, steps, updates))

    def seconds(self) -> float:
        """Returns the seconds between the oldest and the newest measurement."""
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0

    def rates(self) -> tuple[float, float] | None:
        """Returns (env steps, updates) per second; None before there are two measurements."""
        if self.seconds() <= 0:
            return None
        (_, steps, updates), (_, last_steps, last_updates) = self.points[0], self.points[-1]
        return (last_steps - steps) / self.seconds(), (last_updates - updates) / self.seconds()

    def remaining(self, steps: int) -> float | None:
        """Returns the predicted seconds for so many more env steps; None before training has begun."""
        rates = self.rates()
        return steps / rates[0] if self.training and rates and rates[0] > 0 else None


class Progress:
    """Shows the progress of one run. Use it as a context manager around the training."""

    def __init__(
        self,
        label: str,
        total: int,
        *,
        advice: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        output: Console | None = None,
        bar: Console | None = None,
    ) -> None:
        """`total` is the number of env steps of the run; `advice` is printed if they are predicted to take long.

        `output` and `bar` are the consoles for lines and for the bar, by default stdout and stderr.
        """
        self.label, self.total, self.advice, self.clock = label, total, advice, clock
        lines: Any = forgiving(sys.stdout, "standard output")
        drawn: Any = forgiving(sys.stderr)
        self.output = output or Console(file=lines, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.console = bar = bar or Console(file=drawn, highlight=False)
        self.speed, self.steps, self.shown, self.told = Speed(clock), 0, -1.0, False
        moves = bar.is_terminal and not bar.is_dumb_terminal
        self.live = Live(console=bar, auto_refresh=False, transient=True) if moves else None
        self.values: dict[str, float | None] = {"return": None, "evaluation": None}
        self.note = ""

    def __enter__(self) -> "Progress":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, steps: int, updates: int) -> None:
        """Sets the env steps and updates so far. Cheap enough to be called in every iteration."""
        self.steps = steps
        self.speed.add(steps, updates)
        self._advise()
        self._draw()

    def show(self, note: str) -> None:
        """Shows in the bar what the run does just now, such as an evaluation; "" for nothing."""
        self.note = note
        self._draw()

    def episode(self, value: float) -> None:
        """Shows in the bar the return of the training episode that ended last."""
        self.values["return"] = value

    def metrics(self, values: Mapping[str, float]) -> None:
        """Shows in the bar the newest metrics, by the names that they have there."""
        self.values |= values

    def say(self, line: str) -> None:
        """Prints a line on stdout, above the bar if there is one."""
        if self.live is None or not self.output.is_terminal:
            self.output.print(line)
            self.output.file.flush()
        else:
            self.live.console.print(Text(line), soft_wrap=True)

    def evaluated(self, steps: int, seeds: tuple[int, ...], returns: list[list[float]]) -> None:
        """Prints a line with the mean return of each seed in an evaluation; `returns` are those of its episodes."""
        means = [sum(found) / len(found) for found in returns]
        each = ", ".join(f"seed {seed}: {mean:.1f}" for seed, mean in zip(seeds, means, strict=True))
        left = self.speed.remaining(self.total - steps)
        rest = f", {duration(left)} left" if left is not None and steps < self.total else ""
        self.say(f"{self.label}  {steps:,} of {self.total:,} env steps  evaluation {each}{rest}")
        self.values["evaluation"] = sum(means) / len(means)

    def _draw(self) -> None:
        if self.live is not None and self.clock() - self.shown >= 0.25:
            self.shown = self.clock()
            self.live.update(self._bar(), refresh=True)

    def _advise(self) -> None:
        if self.told or not self.speed.training or self.speed.seconds() < MEASURE_SECONDS:
            return
        self.told = True
        seconds, rates = self.speed.remaining(self.total - self.steps), self.speed.rates()
        if seconds is None or rates is None:
            return
        line = f"{self.label}  about {duration(seconds)} to go at {rates[1]:.1f} updates/s ({rates[0]:.0f} env steps/s)"
        self.say(line)
        if seconds > LONG_SECONDS and self.advice:
            self.say(self.advice)

    def _bar(self) -> Table:
        rates, left = self.speed.rates(), self.speed.remaining(self.total - self.steps)
        parts = [f"{self.steps / max(self.total, 1):.0%}", f"{self.steps:,}/{self.total:,} env steps"]
        if rates is not None and self.speed.training:
            parts.append(f"{rates[1]:.1f} updates/s")
        if left is not None:
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {value:.4g}" for name, value in self.values.items() if value is not None]
        parts = [self.note] if self.note else parts
        text = Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")
        line = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [Text(self.label, style="bold", no_wrap=True), text]
        if self.console.width >= text.cell_len + len(self.label) + 23:  # numbers before the bar
            cells.insert(1, ProgressBar(self.total, self.steps, width=20))
        line.add_row(*cells)
        return line
