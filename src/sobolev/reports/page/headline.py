"""The first numbers of the page: gains over the baseline and probabilities of improvement."""

from collections.abc import Sequence

from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.aggregates import gain_interval, unscaled
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.page.table import counts, listed, percent


def headline(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns each number with its meaning."""
    numbers, base = [], comparison.baseline
    for family in comparison.families:
        for label in comparison.others:
            tasks = comparison.tasks(family, (base, label))
            gain = gain_interval(comparison, label, tasks)
            if gain is None:
                continue
            on = counts(len(tasks), "task") if family == "proprio" else f"{FAMILIES[family]} ({len(tasks)})"
            ends = f"{percent(gain.low)} to {percent(gain.high)}"
            numbers.append((percent(gain.value), f"{label} over {base}, normalised aggregate, {on} ({ends})"))
            pair = unscaled(comparison, label, tasks), unscaled(comparison, base, tasks)
            value, low, high = statistics.interval(statistics.probability_of_improvement, *pair)
            meaning = f"probability that a seed of {label} beats one of {base} on the same task"
            numbers.append((f"{value:.2f}", f"{meaning} ({low:.2f} to {high:.2f})"))
    return [*numbers, (str(_seeds(comparison)), f"seeds trained: {_names(comparison.labels)} on {_tasks(comparison)}")]


def _seeds(comparison: Comparison) -> int:
    return sum(len(cell.scores) for cell in comparison.cells.values())


def _names(labels: Sequence[str]) -> str:
    return listed(list(labels)) if len(labels) < 4 else counts(len(labels), "variant")


def _tasks(comparison: Comparison) -> str:
    return counts(len(comparison.tasks()), "task")
