"""Numbers over several tasks: paper 1's aggregates, normalised scores, and aggregate curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sobolev.plotting.panels import Curve
from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.analysis.measures import FINAL, Measure
from sobolev.reports.results import published
from sobolev.reports.results.runs import Task
from sobolev.reports.results.scores import Series, aligned, mean_curve, until

FULL_SCORE = 1000.0
"""The largest return of a DeepMind Control episode."""


def normalised_gain(ours: Mapping[Task, float], baseline: Mapping[Task, float]) -> float | None:
    """Returns the aggregate of paper 1 (arXiv 2605.23089): scores divided by the baseline's on each task, averaged over
    tasks, minus 1; 0.177 means +17.7%.

    It is over the tasks that both have and on which the baseline scores above 0; None if there are none.
    """
    ratios = [ours[task] / baseline[task] for task in ours if baseline.get(task, 0.0) > 0]
    return float(np.mean(ratios)) - 1 if ratios else None


def gain(
    comparison: Comparison, label: str, base: str, tasks: Sequence[Task], measure: Measure = FINAL
) -> float | None:
    """Returns the normalised gain of a label over another, on those of the tasks that both have."""
    return normalised_gain(comparison.means(label, tasks, measure), comparison.means(base, tasks, measure))


def gain_interval(
    comparison: Comparison, label: str, tasks: Sequence[Task], measure: Measure = FINAL, over_tasks: bool = False
) -> statistics.Interval | None:
    """Returns the normalised gain of a label over the baseline with its 95% bootstrap interval, which resamples the
    seeds of both. None if `gain` is None.
    """
    base = comparison.means(comparison.baseline, tasks, measure)
    used = [task for task in tasks if base.get(task, 0.0) > 0 and (task, label) in comparison.cells]
    if not used:
        return None
    ours, theirs = (unscaled(comparison, each, used, measure) for each in (label, comparison.baseline))
    return statistics.interval(statistics.normalised_gain, ours, theirs, over_tasks=over_tasks)


def published_gain(tasks: Sequence[str], baseline: str = "dreamer") -> float | None:
    """Returns the normalised gain of the means in Table 3 over those of the baseline, one of its two methods, on those
    of its tasks: 0.177 on all, 0.346 on Table 1's."""
    theirs = published.table_3()
    means = {m: {Task(t): row.mean for t, row in rows.items() if t in tasks} for m, rows in theirs.items()}
    (other,) = means.keys() - {baseline}
    return normalised_gain(means[other], means[baseline])


def scales(comparison: Comparison, tasks: Sequence[Task]) -> dict[Task, float]:
    """Returns the return that counts as 1 on each task: 1000 on DeepMind Control, elsewhere the baseline's mean.

    Tasks outside DeepMind Control on which the baseline has no score above 0 are left out.
    """
    by_task = {}
    for task in tasks:
        own = comparison.reached.get((task, comparison.baseline))
        scale = FULL_SCORE if ":" not in task.name else own.mean if own is not None else 0.0
        if scale > 0:
            by_task[task] = scale
    return by_task


def normalised(
    comparison: Comparison, label: str, scale: Mapping[Task, float], measure: Measure = FINAL
) -> statistics.Scores:
    """Returns a measure of a label's seeds on the tasks of `scale`, divided by the scale."""
    values = {task: list(comparison.values(measure, task, label).values()) for task in scale}
    return statistics.weighted([[value / scale[task] for value in seeds] for task, seeds in values.items()])


def unscaled(comparison: Comparison, label: str, tasks: Sequence[Task], measure: Measure = FINAL) -> statistics.Scores:
    """Returns a measure of a label's seeds on these tasks."""
    return normalised(comparison, label, dict.fromkeys(tasks, 1.0), measure)


def task_curve(comparison: Comparison, task: Task, label: str) -> Curve:
    """Returns the curve of a label on a task: mean and standard deviation over its seeds."""
    return mean_curve(list(comparison.cells[task, label].scores.values()))


def aggregate_curves(
    comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str], normalise: bool
) -> dict[str, Curve]:
    """Returns for each label the mean over tasks of the mean over seeds, with a 95% bootstrap band over seeds.

    All tasks have equal weight. With `normalise`, the returns on each task are divided by the baseline's mean at the
    last common env step, so that the baseline ends at 1; tasks on which that mean is not above 0 are left out. The
    curves end with the shortest one. Empty if no task is left, or if there are no `common_steps`.
    """
    matrices: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    steps = common_steps(comparison, tasks, labels)
    if not steps.size:
        return {}
    for task in tasks:
        own = {label: _on_steps(comparison, task, label, steps) for label in labels}
        scale = own[comparison.baseline][:, -1].mean() if normalise else 1.0
        for label in labels if scale > 0 else ():
            matrices[label].append(own[label] / scale)
    curves = {}
    for label in labels if matrices[labels[0]] else ():
        mean, low, high = statistics.mean_over_tasks(matrices[label])
        curves[label] = Curve(steps, mean, low, high, max(len(matrix) for matrix in matrices[label]))
    return curves


def common_steps(comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str]) -> Float[np.ndarray, " points"]:
    """Returns the env steps of the aggregate over these tasks: of evaluations before the end of the shortest, where all
    seeds of all labels have begun and none has ended. There may be none."""
    end = min((comparison.ends[task] for task in tasks), default=0.0)
    every = [until(one, end) for task in tasks for label in labels for one in _all(comparison, task, label)]
    try:
        return aligned(every)[0]
    except ValueError:
        return np.zeros(0)


def _all(comparison: Comparison, task: Task, label: str) -> list[Series]:
    return list(comparison.cells[task, label].scores.values())


def _on_steps(comparison: Comparison, task: Task, label: str, steps: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(steps, one.steps, one.returns) for one in _all(comparison, task, label)])
