"""Raw and normalised aggregate over env steps: Figures 2 and 4a of paper 1."""

from collections.abc import Mapping, Sequence

from sobolev.plotting.colors import colors
from sobolev.plotting.panels import Line, Panel, curves, draw
from sobolev.reports.analysis.aggregates import aggregate_curves
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.page.content import Illustration, Material
from sobolev.reports.page.table import counts
from sobolev.reports.results.runs import Task


def proprio(material: Material) -> list[Illustration]:
    """Figure 2: from proprioception."""
    return aggregate(material.comparison, "proprio", "figure-2", "Figure 2. Aggregate, proprioception")


def pixels(material: Material) -> list[Illustration]:
    """Figure 4a: from images."""
    return aggregate(material.comparison, "pixels", "figure-4", "Figure 4. Aggregate, pixels")


def aggregate(comparison: Comparison, family: str, name: str, title: str) -> list[Illustration]:
    """Returns a figure of the aggregates over the tasks that all methods have; empty if there are no such tasks."""
    lines = legend(comparison, comparison.tasks(family), comparison.main)
    tasks = comparison.tasks(family, list(lines))
    panels = aggregate_panels(comparison, tasks, lines)
    if not panels:
        return []
    caption = (
        f"Mean over {counts(len(tasks), 'task')} of the mean over seeds, with a 95% bootstrap interval over seeds. "
        f"Normalised: each task by the last mean of {comparison.baseline}, so that {comparison.baseline} ends at 1."
    )
    ends = {comparison.ends[task] for task in tasks}
    if len(ends) > 1:
        caption += f" Shown up to {min(ends):,.0f} env steps, the end of the shortest task."
    return [Illustration(name, title, caption, draw(panels, list(lines.values()), columns=2))]


def legend(comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str]) -> dict[str, Line]:
    """Returns a line of the legend for each of the labels that has one of these tasks."""
    own = colors(comparison.labels)
    return {label: Line(label, own[label]) for label in labels if any(comparison.on(task, [label]) for task in tasks)}


def aggregate_panels(comparison: Comparison, tasks: Sequence[Task], lines: Mapping[str, Line]) -> list[Panel]:
    """Returns the panels of the raw aggregate and, if the baseline is among the lines, of the normalised one."""
    panels = []
    for normalise in (False, True) if comparison.baseline in lines else (False,):
        means = aggregate_curves(comparison, tasks, list(lines), normalise)
        if means:
            title = "normalised aggregate" if normalise else "raw aggregate"
            y = "share of baseline" if normalise else "return"
            panels.append(curves(title, {lines[label]: means[label] for label in lines}, y=y))
    return panels
