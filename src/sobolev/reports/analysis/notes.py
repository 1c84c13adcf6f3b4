"""Notes on a comparison for its readers: what is missing, unequal, or not the protocol of the paper."""

from collections.abc import Sequence

from sobolev.reports.analysis.aggregates import common_steps
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.results import published
from sobolev.reports.results.runs import Run
from sobolev.reports.results.scores import same_grid, until
from sobolev.reports.results.variant_names import OPEN, usual_settings


def on(comparison: Comparison) -> list[str]:
    """Returns all notes on a comparison."""
    return [
        *_on_seeds(comparison),
        *_on_sources(comparison),
        *_on_tasks(comparison),
        *_on_grids(comparison),
        *_on_aggregates(comparison),
        *off_protocol(comparison.runs),
        *(note for run in comparison.runs for note in run.notes),
    ]


def _on_seeds(comparison: Comparison) -> list[str]:
    """Returns a note on tasks whose labels have different numbers of seeds."""
    uneven: dict[str, list[str]] = {}
    for task in comparison.tasks():
        numbers = {label: len(comparison.cells[task, label].scores) for label in comparison.on(task, comparison.labels)}
        if len(set(numbers.values())) > 1:
            key = ", ".join(f"{label} {number}" for label, number in numbers.items())
            uneven.setdefault(key, []).append(str(task))
    text = "every task still counts the same"
    return [f"Seeds are unequal in number on {_listed(tasks)} ({key}): {text}." for key, tasks in uneven.items()]


def _on_sources(comparison: Comparison) -> list[str]:
    """Returns a note on scores that are not of an evaluation after training."""
    during: dict[str, list[str]] = {}
    for (task, label), reached in comparison.reached.items():
        if reached.episodes is None:
            during.setdefault(label, []).append(str(task))
    parts = [f"{label} on {_listed(tasks)}" for label, tasks in during.items()]
    text = (
        "Scores of the last evaluation during training, as no evaluation after training (sobolev evaluate) is of that "
        "step"
    )
    return [f"{text}: {'; '.join(parts)}."] if parts else []


def _on_tasks(comparison: Comparison) -> list[str]:
    """Returns a note on every label that lacks tasks."""
    remarks = []
    for tasks in comparison.families.values():
        for label in comparison.main:
            lacking = [str(task) for task in tasks if (task, label) not in comparison.cells]
            if 0 < len(lacking) < len(tasks):
                remarks.append(f"{label} lacks {_listed(lacking)}: aggregates are over the tasks that all have.")
    return remarks


def _on_grids(comparison: Comparison) -> list[str]:
    """Returns a note on evaluations at different env steps."""
    uneven = []
    for task in comparison.tasks():
        series = [one for label in comparison.on(task) for one in comparison.cells[task, label].scores.values()]
        end = comparison.ends[task]
        if not same_grid([until(one, end) for one in series]):
            uneven.append(str(task))
    text = "Evaluations at different env steps are joined by straight lines, so that means are over the same steps"
    return [f"{text}: {_listed(uneven)}."] if uneven else []


def _on_aggregates(comparison: Comparison) -> list[str]:
    """Returns a note on every family whose aggregate over env steps cannot be drawn."""
    remarks = []
    for family, tasks in comparison.families.items():
        labels = [label for label in comparison.main if any(comparison.on(task, [label]) for task in tasks)]
        common = comparison.tasks(family, labels)
        if family in ("proprio", "pixels") and common and not common_steps(comparison, common, labels).size:
            text = "up to the end of the shortest task, evaluations have no env step in common"
            remarks.append(f"There is no aggregate over env steps for {FAMILIES[family]}: {text}.")
    return remarks


def off_protocol(runs: Sequence[Run]) -> list[str]:
    """Returns a note on runs whose settings differ from those of paper 1, except for settings that the paper varies."""
    others: dict[str, list[str]] = {}
    for run in runs:
        preset = run.config.get("preset", "paper")
        usual = usual_settings(run)
        changed = [path for path, value in run.settings.items() if usual and value != usual.get(path)]
        changed = [path for path in changed if path not in OPEN and not path.startswith(published.ABLATED)]
        differences = [f"preset {preset}"] * (preset != "paper") + changed
        if differences and run.config:
            others.setdefault(", ".join(differences), []).append(str(run.task))
    parts = [f"{differences} on {_listed(sorted(set(tasks)))}" for differences, tasks in others.items()]
    text = "Not the protocol of paper 1, whose numbers compare only with its own"
    return [f"{text}: {'; '.join(parts)}."] if parts else []


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
