"""Scores per task and method, gains over the baseline, and the normalised aggregate: Tables 1 and 3 of paper 1.

A table of the same form with the area under the curve shows sample efficiency.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sobolev.reports.analysis.aggregates import gain, published_gain
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.analysis.measures import AREA, FINAL, Measure
from sobolev.reports.analysis.notes import off_protocol
from sobolev.reports.page.content import Material
from sobolev.reports.page.table import Table, percent, spread
from sobolev.reports.results import published
from sobolev.reports.results.published import LOCOMOTION
from sobolev.reports.results.runs import Task


def table_1(material: Material) -> list[Table]:
    """Table 1 of paper 1: means on the six locomotion tasks."""
    tasks = [task for task in material.comparison.tasks("proprio") if task.name in LOCOMOTION]
    title = "Table 1. Scores on higher-complexity locomotion tasks"
    return scores(material.comparison, tasks, "table-1", title, _theirs(material, tasks), with_spread=False)


def table_3(material: Material) -> list[Table]:
    """Table 3 of paper 1: all DeepMind Control tasks from proprioception."""
    tasks = material.comparison.tasks("proprio")
    title = "Table 3. Scores on all proprioceptive DeepMind Control tasks"
    return scores(material.comparison, tasks, "table-3", title, _theirs(material, tasks))


def other_families(material: Material) -> list[Table]:
    """Scores of tasks that are in no table of the paper."""
    tables: list[Table] = []
    for family, tasks in material.comparison.families.items():
        if family != "proprio":
            tables += scores(material.comparison, tasks, f"scores-{family}", f"Scores: {FAMILIES[family]}")
    return tables


def efficiency(material: Material) -> list[Table]:
    """The area under the curve per task and method, in the form of the tables of scores."""
    tables: list[Table] = []
    for family, tasks in material.comparison.families.items():
        title = f"{AREA.title}: {FAMILIES[family]}"
        tables += scores(material.comparison, tasks, f"area-{family}", title, measure=AREA)
    return tables


Published = Mapping[str, Mapping[str, published.Spread]]


def _theirs(material: Material, tasks: Sequence[Task]) -> Published:
    """Returns the paper's scores by method, if they are to be shown and include some of these tasks; else an empty
    dict."""
    theirs = published.table_3() if material.with_published else {}
    own = theirs.get(material.comparison.baseline, {})
    return theirs if any(task.name in own for task in tasks) else {}


def scores(
    comparison: Comparison,
    tasks: Sequence[Task],
    name: str,
    title: str,
    theirs: Published | None = None,
    with_spread: bool = True,
    measure: Measure = FINAL,
) -> list[Table]:
    """Returns a table of a measure on these tasks, with `theirs` beside it; empty for no task."""
    if not tasks:
        return []
    theirs, base = theirs or {}, comparison.baseline
    labels = [label for label in comparison.main if comparison.means(label, tasks)]
    others = [label for label in labels if label in comparison.others and base in labels]
    columns = ["task", *labels, *("gain" if len(others) == 1 else f"gain of {label}" for label in others)]
    columns += [f"paper {method}" for method in theirs] + ["paper gain"] * bool(theirs)
    rows = []
    for task in tasks:
        row = [task.title]
        row += [_own(comparison, task, label, measure, with_spread) for label in labels]
        row += [percent(gain(comparison, label, base, [task], measure)) for label in others]
        if theirs:
            printed = [theirs[method].get(task.name) for method in theirs]
            row += ["" if p is None else spread(*p) if with_spread else f"{p.mean:.1f}" for p in printed]
            row.append(percent(published_gain([task.name], base)))
        rows.append(tuple(row))
    total = ["normalised aggregate", *([""] * len(labels))]
    total += [percent(gain(comparison, label, base, tasks, measure)) for label in others]
    if theirs:
        total += [*([""] * len(theirs)), percent(published_gain([task.name for task in tasks], base))]
    totals = [tuple(total)] if others or theirs else []
    caption = score_caption(comparison, tasks, labels, base if others else "", with_spread, bool(theirs), measure)
    marked = frozenset({len(rows)} if totals else ())
    return [Table(name, title, caption, tuple(columns), (*rows, *totals), marked)]


def _own(comparison: Comparison, task: Task, label: str, measure: Measure, with_spread: bool) -> str:
    if not comparison.on(task, [label]):
        return ""
    values = np.array(list(comparison.values(measure, task, label).values()))
    return spread(float(values.mean()), float(values.std())) if with_spread else f"{values.mean():.1f}"


def score_caption(
    comparison: Comparison,
    tasks: Sequence[Task],
    labels: Sequence[str],
    base: str,
    with_spread: bool,
    with_published: bool = False,
    measure: Measure = FINAL,
) -> str:
    """Returns the caption of a table of scores. `base` is the label whose scores normalise them; "" for none."""
    cells = [(task, label) for task in tasks for label in comparison.on(task, labels)]
    seeds = {len(comparison.cells[cell].scores) for cell in cells}
    episodes = {comparison.reached[cell].episodes for cell in cells}
    steps = {int(comparison.ends[task]) for task in tasks}
    what = "Returns at" if measure is FINAL else f"{measure.about} Compared up to"
    caption = f"{what} {span_of(steps)} env steps, {'mean ± standard deviation' if with_spread else 'mean'} "
    caption += f"over {span_of(seeds)} {'seed' if seeds == {1} else 'seeds'}"
    known = {number for number in episodes if number is not None}
    after = measure is FINAL and known and None not in episodes
    caption += f", {span_of(known)} episodes per seed after training." if after else "."
    if base:
        divisor = "score" if measure is FINAL else measure.title.lower()
        caption += f" Normalised aggregate: each task by the {divisor} of {base}, then averaged over tasks."
    if with_published:
        runs = [run for cell in cells for run in comparison.cells[cell].runs]
        caption = " ".join([caption, f"Paper: {published.TABLE_3}.", *off_protocol(runs)])
    return caption


def span_of(numbers: set[int]) -> str:
    """Formats numbers as a range: 5, or 3 to 5."""
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
