"""Differences between a method and the baseline on each task, paired by seed."""

from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.analysis.measures import Measure
from sobolev.reports.analysis.statistics import Interval
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table, signed


def differences(material: Material) -> list[Table]:
    """Returns a table for every measure and every family of tasks."""
    return material.of_families(of_family)


def of_family(comparison: Comparison, family: str, measure: Measure) -> Table | None:
    """Returns a table of each main label against the baseline on each task of a family; None if they have no seed in
    common.

    The table has the mean over tasks, except for the family "other", whose returns have different scales.
    """
    rows, means = [], []
    for label in comparison.others:
        per_task: list[list[float]] = []
        for task in comparison.tasks(family, (comparison.baseline, label)):
            pair = statistics.paired(
                comparison.values(measure, task, label), comparison.values(measure, task, comparison.baseline)
            )
            if pair is not None:
                per_task.append(pair.differences.tolist())
                ends = ("", "") if pair.student is None else (_ends(pair.student), _ends(pair.bootstrap))
                rows.append((task.title, label, signed(pair.bootstrap.value), *ends, str(pair.differences.size)))
        if len(per_task) > 1 and family != "other":
            mean = statistics.interval(statistics.mean, statistics.weighted(per_task))
            seeds = sum(map(len, per_task))
            means.append((f"mean over {len(per_task)} tasks", label, signed(mean.value), "", _ends(mean), str(seeds)))
    if not rows:
        return None
    caption = (
        f"{measure.about} Differences are those of runs with the same seed. Intervals: 95%, by Student's t, and by "
        f"percentile bootstrap with {statistics.RESAMPLES:,} resamples of the pairs (within their task, for the mean "
        "over tasks). With few pairs the bootstrap's are too narrow."
    )
    name, title = f"differences-{measure.name}-{family}", f"{measure.title}, paired by seed: {FAMILIES[family]}"
    columns = ("task", "method", f"minus {comparison.baseline}", "95% Student's t", "95% bootstrap", "pairs")
    marked = frozenset(range(len(rows), len(rows) + len(means)))
    return Table(name, title, caption, columns, (*rows, *means), marked, words=frozenset({0, 1}))


def _ends(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"
