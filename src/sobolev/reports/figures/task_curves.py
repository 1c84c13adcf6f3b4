"""Learning curves, a panel per task: Figures 3, 6, 7 and 8 of paper 1, and those of other tasks and of variants."""

from collections.abc import Mapping, Sequence

from sobolev.plotting.panels import Curve, Line, curves, draw
from sobolev.reports.analysis.aggregates import task_curve
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.figures.aggregate import legend
from sobolev.reports.page.content import Illustration, Material
from sobolev.reports.page.table import counts
from sobolev.reports.results.runs import Task

QUADRUPED = ("quadruped-run", "quadruped-walk")
LEGIBLE = 8
"""Largest number of curves in a panel."""


def quadruped(material: Material) -> list[Illustration]:
    """Figure 3."""
    tasks = [task for task in material.comparison.tasks("proprio") if task.name in QUADRUPED]
    return by_task(material.comparison, tasks, "figure-3", "Figure 3. Quadruped")


def proprio(material: Material) -> list[Illustration]:
    """Figure 6: proprioception, without the quadruped."""
    tasks = [task for task in material.comparison.tasks("proprio") if task.name not in QUADRUPED]
    return by_task(material.comparison, tasks, "figure-6", "Figure 6. Tasks, proprioception")


def other(material: Material) -> list[Illustration]:
    """Tasks outside DeepMind Control, or with noise."""
    return by_task(material.comparison, material.comparison.tasks("other"), "other-tasks", "Other tasks")


def pixels(material: Material) -> list[Illustration]:
    """Figure 7: from images, without warm-started runs."""
    cold = [label for label in material.comparison.main if "warm_start" not in label]
    tasks = [task for task in material.comparison.tasks("pixels") if material.comparison.on(task, cold)]
    return by_task(material.comparison, tasks, "figure-7", "Figure 7. Tasks, pixels", cold)


def both(material: Material) -> list[Illustration]:
    """From images and proprioception together."""
    tasks = material.comparison.tasks("both")
    return by_task(material.comparison, tasks, "both", "Tasks, pixels and proprioception")


def warm_start(material: Material) -> list[Illustration]:
    """Figure 8: warm-started runs only."""
    warm = [label for label in material.comparison.labels if "warm_start" in label]
    tasks = [task for task in material.comparison.tasks() if material.comparison.on(task, warm)]
    return by_task(material.comparison, tasks, "figure-8", "Figure 8. Encoder and decoder warm-started", warm)


def variants(material: Material) -> list[Illustration]:
    """Returns the curves of each method's variants on each family of tasks, if they are few enough to distinguish."""
    comparison, figures = material.comparison, []
    for method, labels in comparison.variants.items():
        for family in comparison.families if len(labels) <= LEGIBLE else ():
            title = f"Curves of the variants of {method}: {FAMILIES[family]}"
            tasks = comparison.varied(method, family)
            figures += by_task(comparison, tasks, f"variants-{method}-{family}", title, labels)
    return figures


def by_task(
    comparison: Comparison, tasks: Sequence[Task], name: str, title: str, labels: Sequence[str] = ()
) -> list[Illustration]:
    """Returns a figure with a panel of evaluation returns per task, for these labels (default: the main ones); empty
    for no task."""
    lines = legend(comparison, tasks, labels or comparison.main)
    if not tasks or not lines:
        return []
    panels = []
    for task in tasks:
        own = {lines[label]: task_curve(comparison, task, label) for label in comparison.on(task, list(lines))}
        panels.append(curves(task.title.replace(", ", "\n"), own, about=_about(task, own)))
    caption = "Mean evaluation return over seeds; the band is one standard deviation to either side."
    return [Illustration(name, title, caption, draw(panels, list(lines.values())))]


def _about(task: Task, own: Mapping[Line, Curve]) -> str:
    ends = [f"{line.label} ends at {curve.mean[-1]:.0f} ({counts(curve.seeds, 'seed')})" for line, curve in own.items()]
    return f"{task}: evaluation return over env steps; {', '.join(ends)}"
