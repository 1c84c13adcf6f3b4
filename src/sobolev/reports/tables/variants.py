"""Scores of a method's variants, with their gains over the method with its default settings."""

from sobolev.reports.analysis.aggregates import gain
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table, percent, spread
from sobolev.reports.tables.scores import score_caption


def variants(material: Material) -> list[Table]:
    """Returns a table for every method that has variants and every family of tasks."""
    comparison = material.comparison
    tables = [of_method(comparison, method, family) for method in comparison.variants for family in comparison.families]
    return [table for table in tables if table is not None]


def of_method(comparison: Comparison, method: str, family: str) -> Table | None:
    """Returns a table of the variants of a method on a family of tasks; None if no task has two of them."""
    labels, tasks = comparison.variants[method], comparison.varied(method, family)
    if not tasks:
        return None
    rows = []
    for task in tasks:
        for label in comparison.on(task, labels):
            own = comparison.reached[task, label]
            change = "" if label == method else percent(gain(comparison, label, method, [task]))
            rows.append((task.title, label, spread(own.mean, own.std), change, str(own.scores.size)))
    totals = []
    for label in labels[1:]:
        common = [task for task in tasks if len(comparison.on(task, (method, label))) == 2]
        change = gain(comparison, label, method, common)
        if len(common) > 1 and change is not None:
            totals.append((f"normalised aggregate, {len(common)} tasks", label, "", percent(change), ""))
    return Table(
        f"variants-{method}-{family}",
        f"Scores of the variants of {method}: {FAMILIES[family]}",
        score_caption(comparison, tasks, labels, method if totals else "", with_spread=True),
        ("task", "variant", "score", f"gain over {method}", "seeds"),
        (*rows, *totals),
        frozenset(range(len(rows), len(rows) + len(totals))),
        words=frozenset({0, 1}),
    )
