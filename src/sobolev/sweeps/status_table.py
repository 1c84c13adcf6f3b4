"""The table of a sweep: every run with its state, its progress and its remaining time."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from sobolev.logs.progress import duration
from sobolev.sweeps.ledger import Entry, Sweep, alive
from sobolev.sweeps.run_status import RunStatus, run_status
from sobolev.system.columns import aligned

COLORS = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "queued": "blue", "waiting": ""}
SILENT = 1800.0
"""Seconds without a new line of metrics after which a running run is reported as silent."""
WORDS = ("task", "variant", "seeds", "state")
NUMBERS = ("env steps", "done", "score", "steps/s", "left")


class Row(NamedTuple):
    """A run in the table."""

    entry: Entry
    state: str
    status: RunStatus
    left: float | None
    """predicted seconds until it is complete; None if its speed is not known"""
    note: str


def rows(sweep: Sweep, now: float | None = None) -> list[Row]:
    """Returns all runs of a sweep, in the order of its plan. Raises UserError if the file is not a ledger."""
    now = time.time() if now is None else now
    return [_row(sweep, entry, now) for entry in sweep.read().values()]


def _row(sweep: Sweep, entry: Entry, now: float) -> Row:
    state = "stopped" if entry.state == "running" and not alive(entry) else entry.state
    status = run_status(sweep.folder / entry.run, entry.started or 0.0)
    if state == "done":  # the checkpoint has the last steps, after the last line of metrics
        status = status._replace(env_steps=max(status.env_steps, entry.steps))
    steps = min(status.env_steps, entry.steps)
    left = (entry.steps - steps) / status.speed if state == "running" and status.speed else None
    note = entry.error or ""
    silent = 0.0 if status.when is None else now - max(status.when, entry.started or 0.0)
    if state == "running" and silent > SILENT:
        note = f"silent for {duration(silent)}"
    elif state == "running" and steps >= entry.steps:
        note = "final evaluation"
    elif state == "stopped" and entry.state == "running":
        note = "its process is gone; sobolev sweep resumes it"
    return Row(entry, state, status, left, note)


def colored(shown: Sequence[Row]) -> Table:
    """Returns the rows as a rich table for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in WORDS:
        table.add_column(name, no_wrap=True)
    for name in NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for row in shown:
        task, label, seeds, state, *numbers, note = texts(row)
        table.add_row(task, label, seeds, Text(state, style=COLORS[row.state]), *numbers, Text(note))
    return table


def texts(row: Row) -> list[str]:
    """Returns the texts of a row's columns."""
    entry, status = row.entry, row.status
    done = min(1.0, status.env_steps / max(1, entry.steps))
    return [
        entry.task,
        entry.label,
        " ".join(map(str, entry.seeds)),
        row.state,
        f"{status.env_steps:,}",
        f"{done:.0%}",
        "" if status.score is None else f"{status.score:.1f}",
        f"{status.speed:.0f}" if status.speed and row.state == "running" else "",
        "" if row.left is None else duration(row.left),
        row.note,
    ]


def plain(shown: Sequence[Row]) -> list[str]:
    """Returns the rows as lines of aligned columns, for a file or a pipe."""
    return aligned([[*WORDS, *NUMBERS, ""], *map(texts, shown)])


def summary(name: str, shown: Sequence[Row]) -> str:
    """Returns a line with the number of runs in each state."""
    counts = {state: sum(row.state == state for row in shown) for state in COLORS}
    parts = [f"{number} {state}" for state, number in counts.items() if number]
    return f"{name}: {', '.join(parts) or 'no runs'}"


def failures(shown: Sequence[Row], sweep: Sweep) -> list[str]:
    """Returns a line for every failed run, with its error and its log."""
    return [
        f"failed: {row.entry.run}: {row.entry.error} (see {sweep.log(row.entry.run)})"
        for row in shown
        if row.state == "failed"
    ]


def over(shown: Sequence[Row]) -> bool:
    """Returns whether no run is running or in the queue of a cluster."""
    return not any(row.state in ("running", "queued") for row in shown)
