"""Wall time of methods and their variants as a ratio to the baseline's: Table 4 of paper 1, and of any setting."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table
from sobolev.reports.results import published
from sobolev.reports.results.runs import Run

PER = 500_000
"""Env steps for which a difference in seconds is given, as in Table 4."""
COLUMNS = ("ratio", "seconds more", "runs")


class Cost(NamedTuple):
    """The cost of each run of a kind, relative to comparable runs of the baseline."""

    ratios: list[float]
    """its seconds per env step over the baseline's"""
    seconds: list[float]
    """additional seconds per `PER` env steps"""


def costs(
    comparison: Comparison, kind: Callable[[Run], Hashable | None], shared: Callable[[Run], Hashable] = lambda _: None
) -> dict[Any, Cost]:
    """Returns the cost of runs by `kind`, without those whose kind is None.

    Each run is compared with the mean of the baseline's runs with the same task, size, number of seeds, machine and
    `shared`. Runs for which there are none are left out. Variants of the baseline's method are compared as others are.
    """
    baseline: dict[Any, list[float]] = {}
    labels = _labels(comparison)
    for run in comparison.runs:
        if labels.get(run) == comparison.baseline and (seconds := _seconds_per_step(run)):
            baseline.setdefault((_alike(run), shared(run)), []).append(seconds)
    by_kind: dict[Any, Cost] = {}
    for run in comparison.runs:
        seconds, beside, key = _seconds_per_step(run), baseline.get((_alike(run), shared(run))), kind(run)
        if labels.get(run) == comparison.baseline or key is None or not seconds or not beside:
            continue
        cost = by_kind.setdefault(key, Cost([], []))
        cost.ratios.append(seconds / float(np.mean(beside)))
        cost.seconds.append((seconds - float(np.mean(beside))) * PER)
    return by_kind


def _labels(comparison: Comparison) -> dict[Run, str]:
    """Returns the label of every run that has one."""
    return {run: label for (_, label), cell in comparison.cells.items() for run in cell.runs}


def _seconds_per_step(run: Run) -> float | None:
    seconds, steps = run.facts.get("seconds"), run.facts.get("env_steps")
    return seconds / steps if seconds and steps else None


def _alike(run: Run) -> tuple[Any, ...]:
    return run.task, len(run.seeds), run.facts.get("machine"), run.config.get("size")


def _caption(comparison: Comparison) -> str:
    return (
        f"Wall time as a ratio to {comparison.baseline}, mean ± standard deviation over runs, and seconds more per "
        "500k env steps; each run against those of the baseline with the same task, size, number of seeds and machine. "
        "Wall time includes evaluation and whatever else the machine did."
    )


def _cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [""] * len(COLUMNS)
    ratio = f"{np.mean(cost.ratios):.2f} ± {np.std(cost.ratios):.3f}"
    return [ratio, f"{np.mean(cost.seconds):.0f}", str(len(cost.ratios))]


def table_4(material: Material) -> list[Table]:
    """Returns Table 4 of paper 1, with the settings of the penalty listed there; empty without comparable runs.

    Runs that differ from the baseline in other settings too are left out: their time is not what the penalty costs.
    """
    comparison, settings = material.comparison, published.TABLE_4_SETTINGS

    def kind(run: Run) -> tuple[float, ...] | None:
        known = all(path in run.settings for path in settings.values())
        return tuple(float(run.settings[path]) for path in settings.values()) if known else None

    def others(run: Run) -> Hashable:
        return frozenset(pair for pair in run.settings.items() if not pair[0].startswith(published.ABLATED))

    own = costs(comparison, kind, others)
    if not own:
        return []
    # the paper's ratios are to DreamerV3's time: beside ratios to another's they would mislead
    shown = material.with_published and comparison.baseline == "dreamer"
    printed = {row[: len(settings)]: row for row in published.table_4()} if shown else {}
    rows: list[tuple[str, ...]] = []
    for key in sorted({*own, *printed}):
        row = [*(f"{value:g}" for value in key), *_cells(own.get(key))]
        if printed:
            theirs = printed.get(key)
            row += [f"{theirs.ratio:.2f} ± {theirs.std:.3f}", f"{theirs.seconds:.0f}"] if theirs else ["", ""]
        rows.append(tuple(row))
    columns = (*settings, *COLUMNS, *(("paper ratio", "paper seconds") if printed else ()))
    title = "Table 4. What the penalty costs"
    caption = f"{_caption(comparison)} Only runs that differ from the baseline in nothing but the penalty."
    return [Table("table-4", title, caption, columns, tuple(rows), words=frozenset())]


def by_label(material: Material) -> list[Table]:
    """Returns a table of the cost of every method and variant; empty without comparable runs."""
    comparison = material.comparison
    own = costs(comparison, _labels(comparison).get)
    rows = [(label, *_cells(own[label])) for label in comparison.labels if label in own]
    title = f"Cost of methods and variants against {comparison.baseline}"
    return [Table("cost", title, _caption(comparison), ("method", *COLUMNS), tuple(rows))] if rows else []
