"""The table of a sweep: every run with its state, how far it is, and how long it has to go."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from sobolev.logs.progress import duration
from sobolev.sweeps.ledger import Entry, Sweep, alive
from sobolev.sweeps.run_status import Seen, seen

COLORS = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "queued": "blue", "waiting": ""}
SILENT = 1800.0
"""Seconds without a line of metrics after which a running run is said to be silent."""


class Row(NamedTuple):
    """A run as the table shows it."""

    entry: Entry
    state: str
    seen: Seen
    left: float | None
    """seconds to go, where its speed is known"""
    note: str


def rows(sweep: Sweep, now: float | None = None) -> list[Row]:
    """All runs of a sweep, in the order of its plan. Raises UserError where the file is none of a sweep."""
    now = time.time() if now is None else now
    return [_row(sweep, entry, now) for entry in sweep.read().values()]


def _row(sweep: Sweep, entry: Entry, now: float) -> Row:
    state = "stopped" if entry.state == "running" and not alive(entry) else entry.state
    found = seen(sweep.folder / entry.run, entry.started or 0.0)
    if state == "done":  # the last steps are in the checkpoint, after the last line of metrics
        found = found._replace(env_steps=max(found.env_steps, entry.steps))
    steps = min(found.env_steps, entry.steps)
    left = (entry.steps - steps) / found.speed if state == "running" and found.speed else None
    note = entry.error or ""
    if state == "running" and found.when is not None and now - max(found.when, entry.started or 0.0) > SILENT:
        note = f"silent for {duration(now - found.when)}"
    elif state == "running" and steps >= entry.steps:
        note = "final evaluation"
    elif state == "stopped" and entry.state == "running":
        note = "its process is gone; sobolev sweep goes on with it"
    return Row(entry, state, found, left, note)


def drawn(found: Sequence[Row]) -> Table:
    """The rows as a rich table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("task", "variant", "seeds"):
        table.add_column(name, no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("env steps", "done", "score", "steps/s", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for row in found:
        *words, state, steps, done, score, speed, left, note = cells(row)
        table.add_row(*words, Text(state, style=COLORS[row.state]), steps, done, score, speed, left, Text(note))
    return table


def cells(row: Row) -> list[str]:
    """A row as words."""
    entry, found = row.entry, row.seen
    done = min(1.0, found.env_steps / max(1, entry.steps))
    return [
        entry.task,
        entry.label,
        " ".join(map(str, entry.seeds)),
        row.state,
        f"{found.env_steps:,}",
        f"{done:.0%}",
        "" if found.score is None else f"{found.score:.1f}",
        f"{found.speed:.0f}" if found.speed and row.state == "running" else "",
        "" if row.left is None else duration(row.left),
        row.note,
    ]


def plain(found: Sequence[Row]) -> list[str]:
    """The rows as lines of aligned columns, for a file or a pipe."""
    head = ["task", "variant", "seeds", "state", "env steps", "done", "score", "steps/s", "left", ""]
    lines = [head, *[cells(row) for row in found]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def summary(name: str, found: Sequence[Row]) -> str:
    """One line: how many runs are in which state."""
    counts = {state: sum(row.state == state for row in found) for state in COLORS}
    told = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return f"{name}: {told or 'no runs'}"


def failures(found: Sequence[Row], sweep: Sweep) -> list[str]:
    """A line for every failed run: its error, and where to read on."""
    return [
        f"failed: {row.entry.run}: {row.entry.error} (see {sweep.log(row.entry.run)})"
        for row in found
        if row.state == "failed"
    ]


def over(found: Sequence[Row]) -> bool:
    """Whether nothing runs or waits in a queue."""
    return not any(row.state in ("running", "queued") for row in found)
