"""The figures of `sobolev study world-model`: errors over the size of the dataset, and over the steps ahead."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from sobolev.experiments.api import Record
from sobolev.experiments.world_model.comparison import NUMBERS, interval, values
from sobolev.experiments.world_model.config import METHODS
from sobolev.plotting.colors import COLORS

LABELS = {"dreamer": "dreamer (no penalty)", "gpld": "gpld (penalty)"}


def draw_data(records: Sequence[Record], note: str = "") -> Figure:
    """Draws a row per behaviour and a column per number, over the transitions in the dataset; lower is better."""
    behaviors = list(dict.fromkeys(r["behavior"] for r in records))
    figure = Figure(figsize=(2.55 * len(NUMBERS) + 0.4, 2.6 * len(behaviors) + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots(len(behaviors), len(NUMBERS), squeeze=False)
    for row, behavior in enumerate(behaviors):
        axes[row, 0].set_ylabel(f"{behavior} data", fontsize=9)
        for column, (number, title) in enumerate(NUMBERS.items()):
            ax = axes[row, column]
            if row == 0:
                ax.set_title(title.replace(", ", ",\n").replace(" (", "\n("), fontsize=8)
            sizes = sorted({r["episodes"] for r in records})
            steps = [values(records, "transitions", behavior=behavior, episodes=size).mean() for size in sizes]
            for method in METHODS:
                facts = {"behavior": behavior, "method": method}
                numbers = np.stack([values(records, number, episodes=size, **facts) for size in sizes], 1)
                _curve(ax, steps, numbers, method)
            ax.set_xscale("log")
            ax.set_xticks(steps, [f"{round(step):,}" for step in steps])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_minor_formatter(NullFormatter())
    return _finish(figure, axes, f"transitions in the dataset\n{note}")


def draw_horizon(records: Sequence[Record], note: str = "") -> Figure:
    """Draws the error of the observation over the steps ahead, with a row per behaviour and a column per dataset."""
    behaviors = list(dict.fromkeys(r["behavior"] for r in records))
    sizes = sorted({r["episodes"] for r in records})
    figure = Figure(figsize=(3.1 * len(sizes) + 0.4, 2.6 * len(behaviors) + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots(len(behaviors), len(sizes), squeeze=False, sharex=True, sharey="row")
    for row, behavior in enumerate(behaviors):
        axes[row, 0].set_ylabel(f"{behavior} data", fontsize=9)
        for column, size in enumerate(sizes):
            ax = axes[row, column]
            if row == 0:
                ax.set_title(f"{size} episode{'s' if size > 1 else ''}", fontsize=9)
            for method in METHODS:
                errors = values(records, "observation", behavior=behavior, method=method, episodes=size)
                _curve(ax, np.arange(1, errors.shape[1] + 1), errors, method)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, axes, f"steps ahead\n{note}")


def _curve(ax: Axes, x: Sequence[float] | np.ndarray, numbers: np.ndarray, method: str) -> None:
    """Draws the mean over seeds, the first axis, with its interval."""
    mean, half = numbers.mean(0), interval(numbers)
    (line,) = ax.plot(x, mean, "o-", color=COLORS[method], markersize=2.5, linewidth=1.2, label=LABELS[method])
    ax.fill_between(x, np.maximum(mean - half, 0), mean + half, color=line.get_color(), alpha=0.15, linewidth=0)


def _finish(figure: Figure, axes: np.ndarray, note: str) -> Figure:
    for ax in axes.flat:
        ax.set_ylim(bottom=0)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    figure.supxlabel(note, fontsize=8)
    return figure
