"""Both aggregates of paper 1, the raw and the normalised one, of every measure, with bootstrap intervals."""

from collections.abc import Callable

from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.aggregates import gain_interval, unscaled
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.analysis.measures import MEASURES
from sobolev.reports.analysis.statistics import Interval
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table, counts, percent


def aggregates(material: Material) -> list[Table]:
    """Returns a table for every family of tasks."""
    tables = [of_family(material.comparison, family) for family in material.comparison.families]
    return [table for table in tables if table is not None]


def of_family(comparison: Comparison, family: str) -> Table | None:
    """Returns the raw aggregate over the tasks that all methods have, and the normalised one over those that method and
    baseline have.

    There is no raw aggregate for the family "other", whose returns have different scales. None if there is neither.
    """
    labels = [label for label in comparison.main if comparison.means(label, comparison.tasks(family))]
    tasks = comparison.tasks(family, labels) if family != "other" else []
    rows: list[tuple[str, ...]] = []
    for measure in MEASURES:
        for label in labels if tasks else ():
            own = unscaled(comparison, label, tasks, measure)
            narrow = statistics.interval(statistics.mean, own)
            wide = statistics.interval(statistics.mean, own, over_tasks=True)
            cells = _cells(narrow, wide, lambda number: f"{number:.1f}")
            rows.append((measure.title.lower(), "raw", label, *cells, counts(len(tasks), "task")))
        for label in comparison.others:
            common = comparison.tasks(family, (comparison.baseline, label))
            narrow = gain_interval(comparison, label, common, measure)
            wide = gain_interval(comparison, label, common, measure, over_tasks=True)
            if narrow is not None and wide is not None:
                of = f"{label} over {comparison.baseline}"
                cells = _cells(narrow, wide, percent)
                rows.append((measure.title.lower(), "normalised", of, *cells, counts(len(common), "task")))
    if not rows:
        return None
    caption = (
        "Raw: the mean over tasks of the mean over seeds, on the tasks that all methods have. Normalised: each task by "
        f"the mean of {comparison.baseline}, then averaged over tasks, minus 1, on the tasks that both have. "
        f"Intervals: 95% percentile bootstrap, {statistics.RESAMPLES:,} resamples, seeds of both methods drawn "
        "within their task; in the last one tasks are drawn too."
    )
    columns = ("measure", "aggregate", "method", "value", "95% over seeds", "95% over seeds and tasks", "on")
    title = f"Aggregates: {FAMILIES[family]}"
    return Table(f"aggregates-{family}", title, caption, columns, tuple(rows), words=frozenset({0, 1, 2, 6}))


def _cells(narrow: Interval, wide: Interval, written: Callable[[float], str]) -> tuple[str, str, str]:
    ends = [f"{written(each.low)} to {written(each.high)}" for each in (narrow, wide)]
    return written(narrow.value), ends[0], ends[1]
