"""Aggregates of variants that differ in one setting: Figure 5 of paper 1, and the same for any other setting."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sobolev.config.variant_label import short
from sobolev.plotting.colors import colors
from sobolev.plotting.panels import Line, draw
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.figures.aggregate import aggregate_panels
from sobolev.reports.figures.task_curves import LEGIBLE
from sobolev.reports.page.content import Illustration, Material
from sobolev.reports.page.table import counts
from sobolev.reports.results import published
from sobolev.reports.results.runs import Run
from sobolev.reports.results.variant_names import BY_TASK


def figure_5(material: Material) -> list[Illustration]:
    """Returns the panels of Figure 5 for which there are two or more variants."""
    figures = []
    for ablation in published.FIGURE_5:
        variants = differing(material.comparison, "proprio", ablation.varied, ablation.fixed)
        figures += _figure(material.comparison, "proprio", ablation.name, ablation.title, ablation.varied, variants)
    return figures


def other_settings(material: Material) -> list[Illustration]:
    """Returns a figure for every other setting in which variants of a method differ, on each family of tasks."""
    comparison, figures = material.comparison, []
    in_figure_5 = [set(differing(comparison, "proprio", a.varied, a.fixed)) for a in published.FIGURE_5]
    for method in dict.fromkeys(run.method for run in comparison.runs):
        for family in comparison.families:
            runs = [run for run in comparison.runs if run.method == method and run.task.family == family]
            for path in _varied(runs):
                variants = differing(comparison, family, (path,), {}, method)
                if set(variants) not in in_figure_5 and len(variants) <= LEGIBLE:
                    name, title = f"ablation-{method}-{path}-{family}", f"{path} of {method}: {FAMILIES[family]}"
                    figures += _figure(comparison, family, name, title, (path,), variants)
    return figures


def _varied(runs: Sequence[Run]) -> list[str]:
    """Returns the settings that have several values."""
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    return [p for p in paths if p not in BY_TASK and len({run.settings.get(p) for run in runs if run.settings}) > 1]


def differing(
    comparison: Comparison,
    family: str,
    varied: Collection[str],
    fixed: Mapping[str, object],
    method: str | None = None,
) -> dict[str, Run]:
    """Returns the largest set of labels that have the fixed settings and differ in the varied ones only.

    Each label comes with one of its runs, in the order of the varied values. The baseline is left out, unless it is
    the `method` whose variants are compared.
    """
    groups: dict[str, dict[str, Run]] = {}
    for (task, label), cell in comparison.cells.items():
        for run in cell.runs if task.family == family else ():
            if run.method != method if method is not None else run.method == comparison.baseline:
                continue
            if not all(path in run.settings for path in varied):
                continue
            if any(run.settings.get(path) != value for path, value in fixed.items()):
                continue
            rest = {path: v for path, v in run.settings.items() if path not in varied and path not in BY_TASK}
            groups.setdefault(repr((run.method, sorted(rest.items()))), {}).setdefault(label, run)
    chosen = max(groups.values(), key=len, default={})
    return dict(sorted(chosen.items(), key=lambda pair: _sortable(pair[1], varied)))


def _sortable(run: Run, varied: Collection[str]) -> list[tuple[bool, Any]]:
    """Returns a sort key of the varied values: numbers before words, words before none."""
    values = [run.settings[path] for path in varied]
    return [(not isinstance(v, (int, float)), v if isinstance(v, (int, float)) else str(v)) for v in values]


def _figure(
    comparison: Comparison, family: str, name: str, title: str, varied: Sequence[str], variants: Mapping[str, Run]
) -> list[Illustration]:
    """Returns a figure of the aggregates of these labels and the baseline on the tasks that all of them have; empty for
    fewer than two labels."""
    if len(variants) < 2:
        return []
    names = {label: _values(varied, run) for label, run in variants.items()}
    if comparison.baseline in comparison.labels and comparison.baseline not in names:
        names = {comparison.baseline: comparison.baseline, **names}
    tasks, own = comparison.tasks(family, list(names)), colors(list(names))
    lines = {label: Line(text, own[label]) for label, text in names.items()}
    panels = aggregate_panels(comparison, tasks, lines)
    caption = f"Mean over {counts(len(tasks), 'task')} with a 95% bootstrap interval over seeds."
    return [Illustration(name, title, caption, draw(panels, list(lines.values()), columns=2))] if panels else []


def _values(varied: Sequence[str], run: Run) -> str:
    """Returns the varied settings of a run, as in "rho 0.25"; a value that is a word stands without its name."""
    values = [(path.rpartition(".")[2], run.settings[path]) for path in varied]
    return ", ".join(value if isinstance(value, str) else f"{name} {short(value)}" for name, value in values)
