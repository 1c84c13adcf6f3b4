"""The tables of a comparison: Tables 1, 3 and 4 of paper 1, statistics, and what made the runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.reports import published, statistics
from sobolev.reports.comparison import FAMILIES, Comparison, normalised, normalised_gain, off_protocol, scales
from sobolev.reports.published import LOCOMOTION
from sobolev.reports.runs import Run, Task
from sobolev.reports.tables import Link, Table, Text, counts, listed, percent, spread


def scores(
    comparison: Comparison, tasks: Sequence[Task], name: str, title: str, with_published: bool, with_spread: bool = True
) -> Table:
    """Scores per task and method, the gain over the baseline, and the normalised aggregate; the paper's beside them.

    Tables 1 and 3 of paper 1 are this on their tasks; Table 1 has means alone.
    """
    base, labels = comparison.baseline, [label for label in comparison.main if comparison.means(label, tasks)]
    others = [label for label in labels if label != base and base in labels]
    theirs = published.table_3() if with_published else {}
    theirs = theirs if any(task.name in theirs[base] for task in tasks if base in theirs) else {}
    columns = ["task", *labels, *(_gain_column(label, others) for label in others)]
    columns += [f"paper {method}" for method in theirs] + ["paper gain"] * bool(theirs)
    rows = [_score_row(comparison, task, labels, others, theirs, with_spread) for task in tasks]
    total = ["normalised aggregate", *([""] * len(labels))]
    total += [percent(_gain(comparison, label, base, tasks)) for label in others]
    if theirs:
        total += ["", "", percent(published_gain([task.name for task in tasks]))]
    totals = [tuple(total)] if others or theirs else []
    return Table(
        name,
        title,
        _score_caption(comparison, tasks, labels, base if others else "", with_spread, bool(theirs)),
        tuple(columns),
        (*map(tuple, rows), *totals),
        frozenset({len(rows)} if totals else ()),
    )


def _gain_column(label: str, others: Sequence[str]) -> str:
    return "gain" if len(others) == 1 else f"gain of {label}"


def _score_row(
    comparison: Comparison,
    task: Task,
    labels: Sequence[str],
    others: Sequence[str],
    theirs: Any,
    with_spread: bool,
) -> list[str]:
    found = {label: comparison.reached[task, label] for label in comparison.on(task, labels)}
    row = [task.title]
    for label in labels:
        own = found.get(label)
        row.append("" if own is None else spread(own.mean, own.std) if with_spread else f"{own.mean:.1f}")
    row += [percent(_gain(comparison, label, comparison.baseline, [task])) for label in others]
    if theirs:
        printed = [theirs[method].get(task.name) for method in theirs]
        row += ["" if p is None else spread(*p) if with_spread else f"{p.mean:.1f}" for p in printed]
        row.append(percent(published_gain([task.name])))
    return row


def _gain(comparison: Comparison, label: str, base: str, tasks: Sequence[Task]) -> float | None:
    return normalised_gain(comparison.means(label, tasks), comparison.means(base, tasks))


def published_gain(tasks: Sequence[str]) -> float | None:
    """The normalised aggregate of Table 3's means on those of its tasks: 0.177 on all, 0.346 on those of Table 1."""
    theirs = published.table_3()
    means = {m: {Task(t): row.mean for t, row in rows.items() if t in tasks} for m, rows in theirs.items()}
    return normalised_gain(means["gpld"], means["dreamer"])


def _score_caption(
    comparison: Comparison, tasks: Sequence[Task], labels: Sequence[str], base: str, with_spread: bool, theirs: bool
) -> str:
    cells = [(task, label) for task in tasks for label in comparison.on(task, labels)]
    seeds = {len(comparison.cells[cell].scores) for cell in cells}
    episodes = {comparison.reached[cell].episodes for cell in cells}
    steps = {int(comparison.ends[task]) for task in tasks}
    told = f"Returns at {_range(steps)} env steps, {'mean ± standard deviation' if with_spread else 'mean'} "
    told += f"over {_range(seeds)} {'seed' if seeds == {1} else 'seeds'}"
    whole = {number for number in episodes if number is not None}
    told += f", {_range(whole)} episodes per seed after training." if whole and None not in episodes else "."
    if base:
        told += f" Normalised aggregate: each task by the score of {base}, then averaged over tasks."
    if theirs:
        runs = [run for cell in cells for run in comparison.cells[cell].runs]
        told = " ".join([told, f"Paper: {published.TABLE_3}.", *off_protocol(runs)])
    return told


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def table_1(comparison: Comparison, with_published: bool) -> Table | None:
    """Paper 1's Table 1: the six locomotion tasks; None where there is none of them."""
    tasks = [task for task in comparison.tasks("proprio") if task.name in LOCOMOTION]
    if not tasks:
        return None
    title = "Table 1. Scores on higher-complexity locomotion tasks"
    return scores(comparison, tasks, "table-1", title, with_published, with_spread=False)


def table_3(comparison: Comparison, with_published: bool) -> Table | None:
    """Paper 1's Table 3: all DeepMind Control tasks from proprioception; None where there is none."""
    tasks = comparison.tasks("proprio")
    title = "Table 3. Scores on all proprioceptive DeepMind Control tasks"
    return scores(comparison, tasks, "table-3", title, with_published) if tasks else None


def variants(comparison: Comparison, method: str, family: str) -> Table | None:
    """Scores of a method's variants, and their gains over the method as it is; None where no task has two of them."""
    labels, tasks = comparison.variants[method], comparison.varied(method, family)
    if not tasks:
        return None
    rows = []
    for task in tasks:
        for label in comparison.on(task, labels):
            own = comparison.reached[task, label]
            gain = "" if label == method else percent(_gain(comparison, label, method, [task]))
            rows.append((task.title, label, spread(own.mean, own.std), gain, str(own.scores.size)))
    totals = []
    for label in labels[1:]:
        common = [task for task in tasks if len(comparison.on(task, (method, label))) == 2]
        gain = _gain(comparison, label, method, common)
        if len(common) > 1 and gain is not None:
            totals.append((f"normalised aggregate, {len(common)} tasks", label, "", percent(gain), ""))
    return Table(
        f"variants-{method}-{family}",
        f"Scores of the variants of {method}: {FAMILIES[family]}",
        _score_caption(comparison, tasks, labels, method if totals else "", with_spread=True, theirs=False),
        ("task", "variant", "score", f"gain over {method}", "seeds"),
        (*rows, *totals),
        frozenset(range(len(rows), len(rows) + len(totals))),
        words=frozenset({0, 1}),
    )


def statistics_table(comparison: Comparison, family: str) -> Table | None:
    """Interquartile mean, mean, optimality gap and probability of improvement with both intervals; None for no task.

    The first three on the tasks that all methods have, the last on those that method and baseline have.
    """
    labels = [label for label in comparison.main if comparison.means(label, comparison.tasks(family))]
    scale = scales(comparison, comparison.tasks(family, labels))
    rows: list[tuple[Text, ...]] = []
    for name, statistic in statistics.NAMED.items() if scale else ():
        for label in labels:
            own = normalised(comparison, label, scale)
            rows.append((name, label, *_intervals(statistic, own), counts(len(scale), "task")))
    rows += improvement_rows(comparison, family, labels)
    if not rows:
        return None
    caption = (
        "Returns divided by 1000 on DeepMind Control, by the mean score of the baseline elsewhere. Intervals: 95% "
        f"percentile bootstrap, {statistics.RESAMPLES:,} resamples, seeds drawn within their task; in the last one "
        "tasks are drawn too."
    )
    columns = ("statistic", "method", "value", "95% over seeds", "95% over seeds and tasks", "on")
    words = frozenset({0, 1, 5})
    return Table(f"statistics-{family}", f"Statistics: {FAMILIES[family]}", caption, columns, tuple(rows), words=words)


def improvement_rows(comparison: Comparison, family: str, labels: Sequence[str]) -> list[tuple[Text, ...]]:
    """The probability that a seed of a method beats one of the baseline on the same task, for every other method."""
    base, rows = comparison.baseline, []
    for label in labels if base in labels else ():
        tasks = comparison.tasks(family, (base, label))
        if label == base or not tasks:
            continue
        found = _intervals(statistics.probability_of_improvement, *_pair(comparison, label, tasks))
        rows.append(("probability of improvement", f"{label} over {base}", *found, counts(len(tasks), "task")))
    return rows


def _intervals(statistic: statistics.Statistic, *found: statistics.Scores) -> tuple[str, str, str]:
    narrow = statistics.interval(statistic, *found)
    wide = statistics.interval(statistic, *found, over_tasks=True)
    return f"{narrow.value:.3f}", f"{narrow.low:.3f} to {narrow.high:.3f}", f"{wide.low:.3f} to {wide.high:.3f}"


def cost_rows(comparison: Comparison) -> list[tuple[tuple[float, float, float], list[float], list[float]]]:
    """Time of the penalty's settings (ρ, λ posterior, λ prior) as ratios to the baseline's, and seconds more.

    One ratio per run: its seconds per env step over the mean of the baseline's runs of the same task and number of
    seeds on the same machine.
    """
    baseline: dict[Any, list[float]] = {}
    for run in comparison.runs:
        if run.method == comparison.baseline and (speed := _seconds_per_step(run)):
            baseline.setdefault(_alike(run), []).append(speed)
    found: dict[tuple[float, float, float], tuple[list[float], list[float]]] = {}
    for run in comparison.runs:
        speed, beside = _seconds_per_step(run), baseline.get(_alike(run))
        names = ("penalty.rho", "penalty.posterior", "penalty.prior")
        if run.method == comparison.baseline or not speed or not beside or not all(n in run.settings for n in names):
            continue
        rho, posterior, prior = (float(run.settings[name]) for name in names)
        ratios, more = found.setdefault((rho, posterior, prior), ([], []))
        ratios.append(speed / float(np.mean(beside)))
        more.append((speed - float(np.mean(beside))) * 500_000)
    return [(key, *found[key]) for key in sorted(found)]


def _seconds_per_step(run: Run) -> float | None:
    seconds, steps = run.facts.get("seconds"), run.facts.get("env_steps")
    return seconds / steps if seconds and steps else None


def _alike(run: Run) -> tuple[Any, ...]:
    return run.task, len(run.seeds), run.facts.get("machine"), run.config.get("size")


def table_4(comparison: Comparison, with_published: bool) -> Table | None:
    """Paper 1's Table 4: what the penalty costs in wall time; None where no run and baseline can be compared."""
    own = {key: (ratios, more) for key, ratios, more in cost_rows(comparison)}
    if not own:
        return None
    printed = {(row.rho, row.posterior, row.prior): row for row in published.table_4()} if with_published else {}
    rows: list[tuple[Text, ...]] = []
    for key in sorted({*own, *printed}):
        ratios, more = own.get(key, ([], []))
        row = [f"{value:g}" for value in key]
        row += (
            [f"{np.mean(ratios):.2f} ± {np.std(ratios):.3f}", f"{np.mean(more):.0f}", str(len(ratios))]
            if ratios
            else ["", "", ""]
        )
        if printed:
            theirs = printed.get(key)
            row += [f"{theirs.ratio:.2f} ± {theirs.std:.3f}", f"{theirs.seconds:.0f}"] if theirs else ["", ""]
        rows.append(tuple(row))
    columns = ["ρ", "λ posterior", "λ prior", "ratio", "seconds more", "runs"]
    columns += ["paper ratio", "paper seconds"] if printed else []
    caption = (
        f"Wall time as a ratio to {comparison.baseline}, mean ± standard deviation over runs, and seconds more per "
        "500k env steps; each run against those of the baseline with the same task, size, number of seeds and machine. "
        "Wall time includes evaluation and whatever else the machine did."
    )
    return Table("table-4", "Table 4. What the penalty costs", caption, tuple(columns), tuple(rows), words=frozenset())


def runs_table(comparison: Comparison, output: Path) -> Table:
    """Every run: seeds, env steps, command, commit, machine, time, and its videos, linked from the folder `output`.

    What is the same for all stands in the caption.
    """
    columns = ["task", "method", "seeds", "env steps", "command", "commit", "machine", "hours", "video"]
    rows: list[list[Text]] = []
    for run in sorted(comparison.runs, key=lambda run: (run.task, run.method, str(run.folder))):
        links: list[Text] = [Link(path.name, _relative(path, output)) for path in run.videos]
        seconds = run.facts.get("seconds")
        row: list[Text] = [str(run.task), run.method, " ".join(map(str, run.seeds)), _steps(run)]
        row += [str(run.facts.get(name, "")) for name in ("command", "commit", "machine")]
        rows.append([*row, "" if not seconds else f"{seconds / 3600:.2f}", *(links[:1] or [""])])
        rows += [[""] * 8 + [link] for link in links[1:]]
    caption = "Hours are wall time of the whole run, all its seeds together; nothing where the folder does not say."
    for name in ("video", "machine", "commit"):
        index = columns.index(name)
        values = {row[index] for row in rows} - {""}
        if len(values) < (1 if name == "video" else 2):
            caption += f" The {name} of all that say is {values.pop()}." if values else ""
            del columns[index]
            rows = [[cell for place, cell in enumerate(row) if place != index] for row in rows]
    words = frozenset(place for place, name in enumerate(columns) if name not in ("env steps", "hours"))
    return Table("runs", "Runs", caption, tuple(columns), tuple(map(tuple, rows)), words=words)


def _steps(run: Run) -> str:
    ends = {int(one.steps[-1]) for one in run.scores.values() if one.steps.size}
    return _range(ends) if ends else "0"


def _relative(path: Path, output: Path) -> str:
    return Path(os.path.relpath(path.resolve(), output.resolve())).as_posix()


def headline(comparison: Comparison) -> list[tuple[str, str]]:
    """The numbers that come first, with what they are of: gains over the baseline, probabilities of improvement."""
    found, base = [], comparison.baseline
    others = [label for label in comparison.main if label != base] if base in comparison.labels else []
    for family in comparison.families:
        for label in others:
            tasks = comparison.tasks(family, (base, label))
            gain = _gain(comparison, label, base, tasks)
            if gain is None:
                continue
            what = f"{label} over {base}, normalised aggregate, {_of(family, len(tasks))}"
            found.append((percent(gain), what))
            value, low, high = statistics.interval(
                statistics.probability_of_improvement, *_pair(comparison, label, tasks)
            )
            told = f"probability that a seed of {label} beats one of {base} on the same task ({low:.2f} to {high:.2f})"
            found.append((f"{value:.2f}", told))
    names = listed(list(comparison.labels)) if len(comparison.labels) < 4 else counts(len(comparison.labels), "variant")
    seeds = sum(len(cell.scores) for cell in comparison.cells.values())
    return [*found, (str(seeds), f"seeds trained: {names} on {counts(len(comparison.tasks()), 'task')}")]


def _of(family: str, tasks: int) -> str:
    return counts(tasks, "task") if family == "proprio" else f"{FAMILIES[family]} ({tasks})"


def _pair(comparison: Comparison, label: str, tasks: Sequence[Task]) -> tuple[statistics.Scores, statistics.Scores]:
    """A label's scores and the baseline's, as they are."""
    ones = dict.fromkeys(tasks, 1.0)
    return normalised(comparison, label, ones), normalised(comparison, comparison.baseline, ones)
