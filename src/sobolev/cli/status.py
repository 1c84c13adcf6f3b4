"""`sobolev status SWEEP`: shows the state and progress of the runs of a sweep."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from sobolev.cli.parser import parse

DESCRIPTION = """Show the runs of SWEEP with their state, env steps, score, speed and remaining time.

On a terminal the table is redrawn until no run is in progress, or until Ctrl-C, which does not stop the runs.
Elsewhere, and with --once, it is printed once."""


@dataclass(frozen=True)
class StatusConfig:
    """What to show."""

    sweep: Annotated[Positional[Path], arg(metavar="SWEEP", help_behavior_hint="")]
    """folder of a sweep, such as runs/dmc-proprio, or its file sweep-….json"""
    once: bool = False
    """print the table once and exit"""


def main(arguments: Sequence[str]) -> int:
    """Shows the table. Returns exit status 1 if a run has failed."""
    default = StatusConfig(sweep=Path("SWEEP"))
    config = parse(default, arguments, prog="sobolev status", description=DESCRIPTION, positional="sweep")
    from sobolev.sweeps import slurm, status_table
    from sobolev.sweeps.ledger import sweeps_in
    from sobolev.sweeps.live_table import REDRAW_SECONDS, LiveTable

    sweeps = sweeps_in(config.sweep)
    for sweep in sweeps:
        sweep.read()
    if sys.stdout.isatty() and not config.once:
        with LiveTable(*sweeps) as live:
            while True:
                for sweep in sweeps:
                    slurm.mark_lost_jobs(sweep)
                live.update()
                if all(status_table.over(status_table.rows(sweep)) for sweep in sweeps):
                    break
                time.sleep(REDRAW_SECONDS)
    failed = False
    for sweep in sweeps:
        slurm.mark_lost_jobs(sweep)
        rows = status_table.rows(sweep)
        shown = [*status_table.plain(rows), "", status_table.summary(sweep.name, rows)]
        print("\n".join([*shown, *status_table.failures(rows, sweep)]))
        failed |= any(row.state == "failed" for row in rows)
    return int(failed)
