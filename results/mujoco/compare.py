"""Reads the runs as PLAN.md says: python results/mujoco/compare.py [RUNS].

RUNS is a folder of runs, or of their scores (by default the scores beside this file). Prints the relative differences
of dsdpg's areas and final returns to every other method's, for every task and noise, what they are called, and what
PLAN.md asks: parity, an edge under noise, and growth with the dimensions. A run that ended early is named.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sobolev.reports.analysis.compare import compare
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.analysis.measures import MEASURES, Measure
from sobolev.reports.results.runs import Run, Task, find, load
from sobolev.reports.results.scores import Series
from sobolev.system.columns import aligned

ACTIONS = {
    "gym:InvertedDoublePendulum-v5": 1,
    "gym:Hopper-v5": 3,
    "gym:HalfCheetah-v5": 6,
    "gym:Ant-v5": 8,
}
"""The tasks and the dimensions of their actions."""
OURS = "dsdpg"
SHORT = 0.95
"""A curve that ends before this fraction of the longest one on its task was cut off by a failure."""


def called(a: Sequence[float], b: Sequence[float]) -> str:
    """Better (worse) if all seeds of a are above (below) all of b's."""
    return "better" if min(a) > max(b) else "worse" if max(a) < min(b) else "no difference"


def relative(a: Sequence[float], b: Sequence[float]) -> float:
    """(a − b) / (|a| + |b|) of the means over seeds."""
    one, other = sum(a) / len(a), sum(b) / len(b)
    return (one - other) / (abs(one) + abs(other))


def noise_of(task: Task) -> str:
    """What follows the name of a task, such as "dynamics noise 0.1"; "no noise" if nothing does."""
    return str(task).removeprefix(task.name).removeprefix(", ") or "no noise"


def counts(words: Sequence[str]) -> str:
    """How many are better and worse."""
    return f"{words.count('better')} better, {words.count('worse')} worse of {len(words)}"


def held(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs, with the last evaluation of those that ended early repeated at the end of the others on their task, so
    that a failure does not shorten other methods' curves; and lines that name those runs."""
    ends: dict[Task, float] = {}
    for run in runs:
        ends[run.task] = max(one.steps[-1] for one in [*run.scores.values(), Series([ends.get(run.task, 0)], [0])])
    whole, lines = [], []
    for run in runs:
        end, scores = ends[run.task], dict(run.scores)
        for seed, one in run.scores.items():
            if one.steps[-1] < SHORT * end:
                scores[seed] = Series(np.append(one.steps, end), np.append(one.returns, one.returns[-1]))
                lines.append(f"{run.folder.name}, seed {seed}, ended at {one.steps[-1]:,.0f} of {end:,.0f} env steps")
        whole.append(replace(run, scores=scores))
    return whole, lines


def report(comparison: Comparison, measure: Measure, other: str) -> list[str]:
    """The lines on one measure and one other method."""
    tasks = [task for task in comparison.tasks(labels=(OURS, other)) if task.name in ACTIONS]
    found: dict[tuple[str, str], tuple[float, str]] = {}
    for task in tasks:
        pair = [list(comparison.values(measure, task, label).values()) for label in (OURS, other)]
        found[noise_of(task), task.name] = relative(*pair), called(*pair)
    noises = sorted({noise for noise, _ in found}, key=lambda noise: (noise != "no noise", noise))
    names = [name for name in ACTIONS if any(task.name == name for task in tasks)]
    rows = [[f"{measure.name}, {OURS} against {other}", *(f"{name} ({ACTIONS[name]})" for name in names), ""]]
    for noise in noises:
        row = [found.get((noise, name)) for name in names]
        entries = [f"{one[0]:+.2f} {one[1]}" if one else "" for one in row]
        rows.append([noise, *entries, counts([one[1] for one in row if one])])
    lines = aligned(rows)
    noisy = [noise for noise in noises if noise != "no noise"]
    if noisy:
        means = [[found[noise, name][0] for noise in noisy if (noise, name) in found] for name in names]
        averages = [sum(some) / len(some) if some else float("nan") for some in means]
        rises = all(a < b for a, b in zip(averages, averages[1:], strict=False)) and len(names) == len(ACTIONS)
        lines.append(f"with noise: {counts([word for (noise, _), (_, word) in found.items() if noise in noisy])}")
        lines.append(
            f"mean over noises: {', '.join(f'{value:+.3f}' for value in averages)}; "
            f"{'rises' if rises else 'does not rise'} with the dimensions"
        )
    return [*lines, ""]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=Path(__file__).with_name("scores"))
    asked = parser.parse_args()
    runs, short = held([run for folder in find([asked.runs]) for run in load(folder)])
    comparison = compare(runs, baseline=OURS)
    for measure in MEASURES[::-1]:
        for other in comparison.labels:
            if other != OURS:
                print("\n".join(report(comparison, measure, other)))
    print("\n".join([*short, *comparison.notes]))


if __name__ == "__main__":
    main()
