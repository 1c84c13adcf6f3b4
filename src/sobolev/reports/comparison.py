"""Labels on tasks: whose seeds there are, the env step at which they are compared, and the scores there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sobolev.errors import UserError, nearest
from sobolev.reports import statistics
from sobolev.reports.runs import Final, Run, Task, last_step
from sobolev.reports.scores import Curve, Series, aligned, mean_curve, same_grid, until
from sobolev.reports.variant_names import OPEN, labelled, usual_settings

FULL_SCORE = 1000.0
"""The largest return of a DeepMind Control episode."""
FAMILIES = {
    "proprio": "DeepMind Control, proprioception",
    "other": "other tasks",
    "pixels": "pixels",
    "both": "pixels and proprioception",
}
"""Tasks that are averaged with each other, in words."""
NEAR = 0.02
"""An evaluation after training counts for an env step within this share of its own."""


class Cell(NamedTuple):
    """A label's seeds on a task."""

    runs: tuple[Run, ...]
    scores: Mapping[int, Series]
    episodes: Mapping[int, Series]
    finals: Mapping[int, Final]


class Reached(NamedTuple):
    """A label's scores on a task at the env step of the comparison, a number per seed."""

    scores: np.ndarray
    episodes: int | None
    """of the evaluation after training; None where the scores are of the last evaluation on the way"""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Over seeds (population)."""
        return float(self.scores.std())


@dataclass(frozen=True)
class Comparison:
    """All that the tables and figures are made from."""

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    baseline: str
    """the label by which scores are normalised; `labels` need not have it"""
    cells: Mapping[tuple[Task, str], Cell]
    ends: Mapping[Task, float]
    """the env step at which a task's labels are compared"""
    reached: Mapping[tuple[Task, str], Reached]
    notes: list[str] = field(default_factory=list)

    @property
    def main(self) -> tuple[str, ...]:
        """The labels of the tables: every method as it is by default, or else all its variants."""
        methods = {run.method for run in self.runs}
        return tuple(label for label in self.labels if label in methods or label.split()[0] not in self.labels)

    @property
    def variants(self) -> dict[str, list[str]]:
        """By method, its labels, where the tables have the method as it is alone: that one first."""
        found = {m: [label for label in self.labels if label.split()[0] == m] for m in self.labels if " " not in m}
        return {method: labels for method, labels in found.items() if len(labels) > 1}

    @property
    def families(self) -> dict[str, list[Task]]:
        """The tasks that are averaged with each other, by family, in the order of `FAMILIES`."""
        return {family: self.tasks(family) for family in FAMILIES if self.tasks(family)}

    def tasks(self, family: str | None = None, labels: Sequence[str] = ()) -> list[Task]:
        """The tasks, by name, of a family (all, where none is given), that all of these labels have."""
        found = sorted({task for task, _ in self.cells if family in (None, task.family)})
        return [task for task in found if all((task, label) in self.cells for label in labels)]

    def on(self, task: Task, labels: Sequence[str] | None = None) -> list[str]:
        """Those of the labels (default: the main ones) that have the task."""
        return [label for label in (self.main if labels is None else labels) if (task, label) in self.cells]

    def varied(self, method: str, family: str) -> list[Task]:
        """The tasks of a family that several variants of a method have."""
        return [task for task in self.tasks(family) if len(self.on(task, self.variants[method])) > 1]

    def means(self, label: str, tasks: Sequence[Task]) -> dict[Task, float]:
        """Mean score over seeds on those of the tasks that the label has."""
        return {task: self.reached[task, label].mean for task in tasks if (task, label) in self.reached}


def compare(runs: Sequence[Run], baseline: str = "dreamer", at: int | None = None) -> Comparison:
    """Brings runs together. `at` is an env step for the scores instead of the last that all labels of a task reach.

    What was missing, unequal or cut is in the notes. Raises UserError where there is no evaluation at all, or two runs
    have the same label, task and seed.
    """
    found, notes = labelled(runs)
    cells: dict[tuple[Task, str], Cell] = {}
    for label in sorted(found, key=lambda label: (label.split()[0] != baseline, label)):
        for task in sorted({run.task for run in found[label]}):
            cell = _cell(label, task, [run for run in found[label] if run.task == task], notes)
            if cell.scores:
                cells[task, label] = cell
    if not cells:
        raise UserError("these runs hold no evaluation yet: train further, or with --evaluation.episodes above 0")
    labels = tuple(dict.fromkeys(label for _, label in cells))
    if baseline not in labels:
        if baseline != "dreamer":
            raise nearest("baseline", baseline, labels)
        notes.append(
            f"There are no runs of {baseline}: no gains and no normalised aggregates (--baseline names another)."
        )
    ends = {task: _end(task, cells, at, notes) for task, _ in cells}
    reached = {key: _reached(cell, ends[key[0]]) for key, cell in cells.items()}
    comparison = Comparison(tuple(runs), labels, baseline, cells, ends, reached, notes)
    notes += [
        *_on_seeds(comparison),
        *_on_sources(comparison),
        *_on_tasks(comparison),
        *_on_grids(comparison),
        *off_protocol(runs),
        *(note for run in runs for note in run.notes),
    ]
    return comparison


def _cell(label: str, task: Task, runs: Sequence[Run], notes: list[str]) -> Cell:
    scores: dict[int, Series] = {}
    owners: dict[int, Run] = {}
    for run in runs:
        for seed, one in run.scores.items():
            if seed in owners:
                raise UserError(
                    f"{owners[seed].folder} and {run.folder} are the same experiment with seed {seed}: leave one out"
                )
            owners[seed] = run
            if one.steps.size:
                scores[seed] = one
            else:
                notes.append(f"{label} on {task}, seed {seed} ({run.folder}) has no evaluation: left out.")
    episodes = {seed: one for run in runs for seed, one in run.episodes.items() if one.steps.size}
    finals = {seed: final for run in runs for seed, final in run.finals.items() if seed in scores}
    return Cell(tuple(runs), dict(sorted(scores.items())), dict(sorted(episodes.items())), finals)


def _end(task: Task, cells: Mapping[tuple[Task, str], Cell], at: int | None, notes: list[str]) -> float:
    """The last env step that every seed on the task reaches, or `at` where that is earlier."""
    lasts = {label: last_step(cell.scores) for (other, label), cell in cells.items() if other == task}
    end, longest = min(lasts.values()), max(lasts.values())
    if at is not None:
        if end < at:
            notes.append(f"{task} has no scores at {at:,.0f} env steps: compared at {end:,.0f}.")
        return min(end, float(at))
    if longest > 1.05 * end:
        short = ", ".join(label for label, last in lasts.items() if last <= 1.05 * end)
        notes.append(f"{task} is compared at {end:,.0f} env steps, where {short} ends; others go to {longest:,.0f}.")
    return end


def _reached(cell: Cell, end: float) -> Reached:
    """Scores at an env step: of the episodes after training where every seed's run ended there, else on the way."""
    finals = [cell.finals.get(seed) for seed in cell.scores]
    there = [final for final in finals if final is not None and abs(final.env_steps - end) <= NEAR * end]
    if len(there) == len(finals):
        return Reached(np.array([final.score for final in there]), min(final.episodes for final in there))
    return Reached(np.array([until(one, end).returns[-1] for one in cell.scores.values()]), None)


def _on_seeds(comparison: Comparison) -> list[str]:
    """A note on tasks whose labels have different numbers of seeds."""
    uneven: dict[str, list[str]] = {}
    for task in comparison.tasks():
        numbers = {label: len(comparison.cells[task, label].scores) for label in comparison.on(task, comparison.labels)}
        if len(set(numbers.values())) > 1:
            told = ", ".join(f"{label} {number}" for label, number in numbers.items())
            uneven.setdefault(told, []).append(str(task))
    text = "every task still counts the same"
    return [f"Seeds are unequal in number on {_listed(tasks)} ({told}): {text}." for told, tasks in uneven.items()]


def _on_sources(comparison: Comparison) -> list[str]:
    """A note on scores that are not of episodes played after training."""
    on_the_way: dict[str, list[str]] = {}
    for (task, label), reached in comparison.reached.items():
        if reached.episodes is None:
            on_the_way.setdefault(label, []).append(str(task))
    told = "; ".join(f"{label} on {_listed(tasks)}" for label, tasks in on_the_way.items())
    text = (
        "Scores of the last evaluation on the way, as no evaluation after training (sobolev evaluate) is of that step"
    )
    return [f"{text}: {told}."] if told else []


def _on_tasks(comparison: Comparison) -> list[str]:
    """A note on every label that lacks tasks."""
    notes = []
    for tasks in comparison.families.values():
        for label in comparison.main:
            lacking = [str(task) for task in tasks if (task, label) not in comparison.cells]
            if 0 < len(lacking) < len(tasks):
                notes.append(f"{label} lacks {_listed(lacking)}: aggregates are over the tasks that all have.")
    return notes


def _on_grids(comparison: Comparison) -> list[str]:
    """A note on evaluations at different env steps."""
    uneven = []
    for task in comparison.tasks():
        series = [one for label in comparison.on(task) for one in comparison.cells[task, label].scores.values()]
        end = comparison.ends[task]
        if not same_grid([until(one, end) for one in series]):
            uneven.append(str(task))
    text = "Evaluations at different env steps are joined by straight lines, so that means are over the same steps"
    return [f"{text}: {_listed(uneven)}."] if uneven else []


def off_protocol(runs: Sequence[Run]) -> list[str]:
    """A note on runs whose settings are not those of paper 1, its ablations of the penalty apart."""
    others: dict[str, list[str]] = {}
    for run in runs:
        preset = run.config.get("preset", "paper")
        usual = usual_settings(run)
        changed = [path for path, value in run.settings.items() if usual and value != usual.get(path)]
        changed = [path for path in changed if path not in OPEN and not path.startswith("penalty.")]
        told = [f"preset {preset}"] * (preset != "paper") + changed
        if told and run.config:
            others.setdefault(", ".join(told), []).append(str(run.task))
    listed = [f"{told} on {_listed(sorted(set(tasks)))}" for told, tasks in others.items()]
    return (
        [f"Not the protocol of paper 1, whose numbers compare only with its own: {'; '.join(listed)}."]
        if listed
        else []
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def normalised_gain(ours: Mapping[Task, float], baseline: Mapping[Task, float]) -> float | None:
    """Paper 1's aggregate: each task by the baseline's final score, then averaged over tasks; 0.177 for +17.7%.

    Over the tasks that both have and the baseline scores above 0 on; None where there are none.
    """
    ratios = [ours[task] / baseline[task] for task in ours if baseline.get(task, 0.0) > 0]
    return float(np.mean(ratios)) - 1 if ratios else None


def scales(comparison: Comparison, tasks: Sequence[Task]) -> dict[Task, float]:
    """What a score of 1 means for the statistics: 1000 on DeepMind Control, elsewhere the baseline's mean score.

    Tasks that have neither are left out.
    """
    found = {}
    for task in tasks:
        own = comparison.reached.get((task, comparison.baseline))
        scale = FULL_SCORE if ":" not in task.name else own.mean if own is not None else 0.0
        if scale > 0:
            found[task] = scale
    return found


def normalised(comparison: Comparison, label: str, scale: Mapping[Task, float]) -> statistics.Scores:
    """A label's scores on the tasks of `scale`, divided by it."""
    return statistics.weighted([(comparison.reached[task, label].scores / s).tolist() for task, s in scale.items()])


def task_curve(comparison: Comparison, task: Task, label: str) -> Curve:
    """Mean and standard deviation over a label's seeds."""
    return mean_curve(list(comparison.cells[task, label].scores.values()))


def aggregate_curves(
    comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str], normalise: bool
) -> dict[str, Curve]:
    """The mean over tasks of the mean over seeds, per label, with a 95% bootstrap band over seeds.

    All tasks count the same. With `normalise`, each task is divided by the baseline's mean at the last common env step,
    so that the baseline ends at 1; tasks on which that is not above 0 are left out. The curves end where the shortest
    of all does; empty where no task is left.
    """
    matrices: dict[str, list[np.ndarray]] = {label: [] for label in labels}
    end = min((comparison.ends[task] for task in tasks), default=0.0)
    every = [until(one, end) for task in tasks for label in labels for one in _all(comparison, task, label)]
    if not every or not all(one.steps.size for one in every):
        return {}
    steps, _ = aligned(every)
    for task in tasks:
        own = {label: _on_steps(comparison, task, label, steps) for label in labels}
        scale = own[comparison.baseline][:, -1].mean() if normalise else 1.0
        for label in labels if scale > 0 else ():
            matrices[label].append(own[label] / scale)
    found = {}
    for label in labels if matrices[labels[0]] else ():
        mean, low, high = statistics.mean_over_tasks(matrices[label])
        found[label] = Curve(steps, mean, low, high, max(len(matrix) for matrix in matrices[label]))
    return found


def _all(comparison: Comparison, task: Task, label: str) -> list[Series]:
    return list(comparison.cells[task, label].scores.values())


def _on_steps(comparison: Comparison, task: Task, label: str, steps: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(steps, one.steps, one.returns) for one in _all(comparison, task, label)])
