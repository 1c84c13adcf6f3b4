"""The figure of `sobolev sensitivity`: method against method, over training where there is more than its end."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sobolev.experiments.api import Record
from sobolev.experiments.sensitivity.measure import TABLES
from sobolev.plotting.panels import colors

NUMBERS = {"sensitivity": "KL(r(u) ‖ r(u+δ)) / ‖δ‖", "jacobian_norm": "mean ‖Jᵢ‖ of a row"}
MOVED = {"posterior": "posterior (tokens moved)", "prior": "prior (deter moved)"}


def draw(records: Sequence[Record], note: str = "") -> Figure:
    """A column per task and table, a row per number; single seeds thin, their mean thick.

    Where every label has one checkpoint, the labels stand side by side in place of a time axis.
    """
    tasks, labels = sorted({r["task"] for r in records}), sorted({r["label"] for r in records})
    curves = any(len({r["env_steps"] for r in records if r["label"] == label}) > 1 for label in labels)
    columns = [(task, table) for task in tasks for table in TABLES]
    figure = Figure(figsize=(3.9 * len(columns) + 0.4, 6.6), dpi=150, layout="constrained")
    axes = figure.subplots(len(NUMBERS), len(columns), squeeze=False)
    for column, (task, table) in enumerate(columns):
        axes[0, column].set_title(f"{task}\n{MOVED[table]}", fontsize=10)
        for row, (number, title) in enumerate(NUMBERS.items()):
            ax = axes[row, column]
            inside = [r for r in records if r["task"] == task]
            (_over_training if curves else _side_by_side)(ax, inside, labels, table, number)
            ax.set_ylim(bottom=0)
            ax.grid(alpha=0.25, axis="both" if curves else "y")
            ax.spines[["top", "right"]].set_visible(False)
            if column == 0:
                ax.set_ylabel(title)
    if curves:
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)), frameon=False, fontsize=9)
    if note:
        figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def _over_training(ax: Axes, records: Sequence[Record], labels: Sequence[str], table: str, number: str) -> None:
    for label, color in colors(labels).items():
        mine = [r for r in records if r["label"] == label]
        for seed in sorted({r["seed"] for r in mine}):
            points = sorted((r["env_steps"] / 1000, r[table][number]) for r in mine if r["seed"] == seed)
            ax.plot(*zip(*points, strict=True), color=color, alpha=0.3, linewidth=0.8)
        steps = sorted({r["env_steps"] for r in mine})
        means = [np.mean([r[table][number] for r in mine if r["env_steps"] == step]) for step in steps]
        ax.plot(np.array(steps) / 1000, means, "o-", color=color, markersize=3.5, label=label)
    ax.set_xlabel("env steps (thousands)")


def _side_by_side(ax: Axes, records: Sequence[Record], labels: Sequence[str], table: str, number: str) -> None:
    for index, (label, color) in enumerate(colors(labels).items()):
        values = np.array([r[table][number] for r in records if r["label"] == label])
        if not values.size:
            continue
        spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
        ax.bar(index, values.mean(), width=0.5, color=color, alpha=0.25)
        ax.plot(index + spread, values, "o", color=color, markersize=4)
    steps = [sorted({r["env_steps"] for r in records if r["label"] == label}) for label in labels]
    names = [f"{label}\n{_steps(own)}" for label, own in zip(labels, steps, strict=True)]
    ax.set_xticks(range(len(labels)), names, fontsize=8)
    ax.set_xlim(-0.6, len(labels) - 0.4)


def _steps(steps: Sequence[int]) -> str:
    """Env steps of a label's runs, in words; nothing where it has none of this task."""
    return f"{' / '.join(f'{step:,}' for step in steps)} env steps" if steps else ""
