"""Interquartile mean, mean, optimality gap and probability of improvement, with bootstrap intervals."""

from collections.abc import Sequence

from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.aggregates import normalised, scales, unscaled
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.analysis.measures import FINAL, Measure
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table, counts


def statistics_tables(material: Material) -> list[Table]:
    """Returns a table for every measure and every family of tasks."""
    return material.of_families(of_family)


def of_family(comparison: Comparison, family: str, measure: Measure) -> Table | None:
    """Returns a table of the statistics on the tasks that all methods have, and of the probability of improvement on
    those that method and baseline have; None if there are no such tasks."""
    labels = [label for label in comparison.main if comparison.means(label, comparison.tasks(family))]
    scale = scales(comparison, comparison.tasks(family, labels))
    rows: list[tuple[str, ...]] = []
    for name, statistic in statistics.NAMED.items() if scale else ():
        for label in labels:
            own = normalised(comparison, label, scale, measure)
            rows.append((name, label, *intervals(statistic, own), counts(len(scale), "task")))
    rows += _improvement_rows(comparison, family, labels, measure)
    if not rows:
        return None
    returns = "Returns" if measure is FINAL else f"{measure.title}: returns"
    caption = (
        f"{returns} divided by 1000 on DeepMind Control, by the mean score of the baseline elsewhere. Intervals: 95% "
        f"percentile bootstrap, {statistics.RESAMPLES:,} resamples, seeds drawn within their task; in the last one "
        "tasks are drawn too."
    )
    of = "" if measure is FINAL else f"-{measure.name}"
    title = (
        f"Statistics: {FAMILIES[family]}"
        if measure is FINAL
        else f"Statistics, {measure.title.lower()}: {FAMILIES[family]}"
    )
    columns = ("statistic", "method", "value", "95% over seeds", "95% over seeds and tasks", "on")
    return Table(f"statistics{of}-{family}", title, caption, columns, tuple(rows), words=frozenset({0, 1, 5}))


def _improvement_rows(
    comparison: Comparison, family: str, labels: Sequence[str], measure: Measure
) -> list[tuple[str, ...]]:
    """Returns the rows with the probability that a seed of a method beats one of the baseline on the same task."""
    base, rows = comparison.baseline, []
    for label in labels if base in labels else ():
        tasks = comparison.tasks(family, (base, label))
        if label == base or not tasks:
            continue
        pair = unscaled(comparison, label, tasks, measure), unscaled(comparison, base, tasks, measure)
        numbers = intervals(statistics.probability_of_improvement, *pair)
        rows.append(("probability of improvement", f"{label} over {base}", *numbers, counts(len(tasks), "task")))
    return rows


def intervals(statistic: statistics.Statistic, *scores: statistics.Scores) -> tuple[str, str, str]:
    """Formats a statistic, its interval over seeds, and its interval over seeds and tasks."""
    narrow = statistics.interval(statistic, *scores)
    wide = statistics.interval(statistic, *scores, over_tasks=True)
    return f"{narrow.value:.3f}", f"{narrow.low:.3f} to {narrow.high:.3f}", f"{wide.low:.3f} to {wide.high:.3f}"
