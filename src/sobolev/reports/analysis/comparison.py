"""The comparison of runs: the seeds of each label on each task, and the env steps over which they are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sobolev.reports.analysis.measures import FINAL, Cell, Measure, Span
from sobolev.reports.results.runs import Run, Task

FAMILIES = {
    "proprio": "DeepMind Control, proprioception",
    "other": "other tasks",
    "pixels": "pixels",
    "both": "pixels and proprioception",
}
"""The titles of the families of tasks that are averaged together."""


class Reached(NamedTuple):
    """The final returns of a label on a task."""

    scores: np.ndarray
    """one per seed"""
    episodes: int | None
    """number of episodes of the evaluation after training; None if the scores are of the last one during training"""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Standard deviation over seeds (population)."""
        return float(self.scores.std())


@dataclass(frozen=True)
class Comparison:
    """The compared runs, from which all tables and figures are made."""

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    baseline: str
    """the label by whose scores others are normalised; it may be missing in `labels`"""
    cells: Mapping[tuple[Task, str], Cell]
    spans: Mapping[Task, Span]
    """the env steps over which the labels of a task are compared"""
    reached: Mapping[tuple[Task, str], Reached]
    notes: list[str] = field(default_factory=list)

    @property
    def ends(self) -> dict[Task, float]:
        """The env step at which the labels of a task are compared."""
        return {task: span.end for task, span in self.spans.items()}

    @property
    def main(self) -> tuple[str, ...]:
        """The labels of the tables: every method with its default settings, or else all of its variants."""
        methods = {run.method for run in self.runs}
        return tuple(label for label in self.labels if label in methods or label.split()[0] not in self.labels)

    @property
    def others(self) -> tuple[str, ...]:
        """The main labels without the baseline; empty if there are no runs of the baseline."""
        return tuple(label for label in self.main if label != self.baseline) if self.baseline in self.labels else ()

    @property
    def variants(self) -> dict[str, list[str]]:
        """The labels of each method that has variants, with the method's default settings first."""
        by_method = {m: [label for label in self.labels if label.split()[0] == m] for m in self.labels if " " not in m}
        return {method: labels for method, labels in by_method.items() if len(labels) > 1}

    @property
    def families(self) -> dict[str, list[Task]]:
        """The tasks of each family, which are averaged together, in the order of `FAMILIES`."""
        return {family: self.tasks(family) for family in FAMILIES if self.tasks(family)}

    def tasks(self, family: str | None = None, labels: Sequence[str] = ()) -> list[Task]:
        """Returns the tasks of a family (default: of all) that all of these labels have, sorted by name."""
        tasks = sorted({task for task, _ in self.cells if family in (None, task.family)})
        return [task for task in tasks if all((task, label) in self.cells for label in labels)]

    def on(self, task: Task, labels: Sequence[str] | None = None) -> list[str]:
        """Returns those of the labels (default: the main ones) that have the task."""
        return [label for label in (self.main if labels is None else labels) if (task, label) in self.cells]

    def varied(self, method: str, family: str) -> list[Task]:
        """Returns the tasks of a family that several variants of a method have."""
        return [task for task in self.tasks(family) if len(self.on(task, self.variants[method])) > 1]

    def values(self, measure: Measure, task: Task, label: str) -> dict[int, float]:
        """Returns a measure of every seed of a label on a task."""
        return dict(measure.of(self.cells[task, label], self.spans[task]))

    def means(self, label: str, tasks: Sequence[Task], measure: Measure = FINAL) -> dict[Task, float]:
        """Returns the mean over seeds of a measure, on those of the tasks that the label has."""
        there = [task for task in tasks if (task, label) in self.cells]
        return {task: float(np.mean(list(self.values(measure, task, label).values()))) for task in there}
