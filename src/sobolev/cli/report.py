"""`sobolev report RUNS…`: draws the tables and figures of a paper from run folders, and a page that shows them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from sobolev.cli.parser import parse
from sobolev.errors import UserError

DESCRIPTION = """Compare methods over tasks and seeds: tables, figures and one page, DIR/index.html.

RUNS are folders of runs, of sweeps (all runs in them), or of copied scores (scores/…). Tables and figures of
arXiv 2605.23089 (paper 1) have their numbers there. DIR also gets report.md, tables/*.csv, figures/*.png and *.pdf."""


@dataclass(frozen=True)
class ReportConfig:
    """What to compare, and where the report goes."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUNS", help_behavior_hint="")]
    """folders of runs, sweeps or scores"""
    output: Annotated[Path, arg(metavar="DIR")] = Path("report")
    """folder of the report"""
    published: bool = False
    """show published numbers and curves beside those of the runs"""
    baseline: Annotated[str, arg(metavar="METHOD")] = "dreamer"
    """the method to compare with: gains are over it, and scores are normalised by its own"""
    at: Annotated[int | None, arg(metavar="N")] = None
    """env step at which scores are compared; none: the last one that all seeds of a task reach"""
    since: Annotated[int | None, arg(metavar="N")] = None
    """env step at which areas under curves begin; none: the first one at which all seeds of a task have returns"""
    collect: Annotated[Path | None, arg(metavar="DIR")] = None
    """also copy the scores of all runs, with their command, commit and machine, into this folder"""


def main(arguments: Sequence[str]) -> int:
    """Writes the report that the flags describe. Returns the exit status."""
    default = ReportConfig(runs=(Path("RUNS"),))
    config = parse(default, arguments, prog="sobolev report", description=DESCRIPTION, positional="runs")
    if config.at is not None and config.at < 1:
        raise UserError(f"--at is {config.at}, but must be at least 1")
    if config.since is not None and config.since < 0:
        raise UserError(f"--since is {config.since}, but must be at least 0")
    if config.at is not None and config.since is not None and config.since >= config.at:
        raise UserError(f"--since is {config.since:,}, but must be below --at, {config.at:,}")
    from sobolev.reports.report import report
    from sobolev.reports.results.collect import collect
    from sobolev.reports.results.runs import find

    collected = collect(find(config.runs), config.collect) if config.collect is not None else []
    files = report(
        config.runs,
        config.output,
        with_published=config.published,
        baseline=config.baseline,
        at=config.at,
        since=config.since,
        command=shlex.join(["sobolev", "report", *arguments]),
        without=collected,
    )
    print("\n".join([*(f"collected: {folder}" for folder in collected), f"page: {files[0]}"]))
    return 0
