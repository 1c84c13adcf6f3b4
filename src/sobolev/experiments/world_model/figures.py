"""The figures of `sobolev study world-model`: errors against the size of the dataset and against the steps ahead, and
scales against the penalty's strength."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from sobolev.experiments.api import Record
from sobolev.experiments.world_model.comparison import NUMBERS, SCALES, interval, values
from sobolev.experiments.world_model.config import WorldModelConfig, label
from sobolev.plotting.colors import COLORS


class Curve(NamedTuple):
    """How a strength of the penalty is drawn."""

    label: str
    color: str


Curves = Mapping[float, Curve]
"""By multiple of the penalty, in rising order."""


def curves(config: WorldModelConfig) -> Curves:
    """Without penalty in dreamer's colour, all strengths in blue, the strongest darkest."""
    blues = matplotlib.colormaps["Blues"](np.linspace(0.45, 0.95, len(config.multiples) - 1))
    shades = [COLORS["dreamer"], *map(to_hex, blues)]
    return {m: Curve(label(config, m), shade) for m, shade in zip(config.multiples, shades, strict=True)}


def draw_data(records: Sequence[Record], curves: Curves, note: str = "") -> Figure:
    """Draws a row per behaviour and a column per number, over the transitions in the dataset, on logarithmic axes;
    lower is better."""
    behaviors, figure, axes = _grid(records, len(NUMBERS), 2.55)
    for row, behavior in enumerate(behaviors):
        for column, (number, title) in enumerate(NUMBERS.items()):
            ax = axes[row, column]
            if row == 0:
                ax.set_title(title.replace(", ", ",\n").replace(" (", "\n("), fontsize=8)
            sizes = sorted({r["episodes"] for r in records})
            steps = [values(records, "transitions", behavior=behavior, episodes=size).mean() for size in sizes]
            for multiple, curve in curves.items():
                facts = {"behavior": behavior, "multiple": multiple}
                numbers = np.stack([values(records, number, episodes=size, **facts) for size in sizes], 1)
                _curve(ax, steps, numbers, curve)
            ax.set_xscale("log")
            ax.set_xticks(steps, [f"{round(step):,}" for step in steps])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_minor_formatter(NullFormatter())
    return _finish(figure, axes, f"transitions in the dataset\n{note}", log=True)


def draw_horizon(records: Sequence[Record], curves: Curves, note: str = "") -> Figure:
    """Draws the error of the observation over the steps ahead, on a logarithmic axis, with a row per behaviour and a
    column per dataset."""
    sizes = sorted({r["episodes"] for r in records})
    behaviors, figure, axes = _grid(records, len(sizes), 3.1, sharex=True, sharey="row")
    for row, behavior in enumerate(behaviors):
        for column, size in enumerate(sizes):
            ax = axes[row, column]
            if row == 0:
                ax.set_title(f"{size} episode{'s' if size > 1 else ''}", fontsize=9)
            for multiple, curve in curves.items():
                errors = values(records, "observation", behavior=behavior, multiple=multiple, episodes=size)
                _curve(ax, np.arange(1, errors.shape[1] + 1), errors, curve)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, axes, f"steps ahead\n{note}", log=True)


def draw_scale(records: Sequence[Record], curves: Curves, note: str = "") -> Figure:
    """Draws a row per behaviour and a column per number of `SCALES`, over the penalty's strength; a line per dataset.

    Where the tokens grow as the Jacobian shrinks, and sensitivity times their norm stays, the posterior tells states
    apart as sharply as before, in larger units.
    """
    sizes = sorted({r["episodes"] for r in records})
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.8, len(sizes)))
    behaviors, figure, axes = _grid(records, len(SCALES), 2.8)
    for row, behavior in enumerate(behaviors):
        for column, (number, title) in enumerate(SCALES.items()):
            ax = axes[row, column]
            if row == 0:
                ax.set_title(title.replace(", ", ",\n").replace(" times", "\ntimes"), fontsize=8)
            for size, shade in zip(sizes, shades, strict=True):
                facts = {"behavior": behavior, "episodes": size}
                numbers = np.stack([values(records, number, multiple=m, **facts) for m in curves], 1)
                name = f"{size} episode{'s' if size > 1 else ''}"
                _curve(ax, np.arange(len(curves)), numbers, Curve(name, to_hex(shade)))
            ax.set_xticks(range(len(curves)), [curve.label for curve in curves.values()])
    return _finish(figure, axes, note)


def _grid(records: Sequence[Record], columns: int, width: float, **shared: Any) -> tuple[list[str], Figure, np.ndarray]:
    """Returns the behaviours, a figure, and its axes: a named row per behaviour, columns of that width in inches."""
    behaviors = list(dict.fromkeys(r["behavior"] for r in records))
    figure = Figure(figsize=(width * columns + 0.4, 2.6 * len(behaviors) + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots(len(behaviors), columns, squeeze=False, **shared)
    for row, behavior in enumerate(behaviors):
        axes[row, 0].set_ylabel(f"{behavior} data", fontsize=9)
    return behaviors, figure, axes


def _curve(ax: Axes, x: Sequence[float] | np.ndarray, numbers: np.ndarray, curve: Curve) -> None:
    """Draws the mean over seeds, the first axis, with its interval."""
    mean, half = numbers.mean(0), interval(numbers)
    (line,) = ax.plot(x, mean, "o-", color=curve.color, markersize=2.5, linewidth=1.2, label=curve.label)
    low = np.maximum(mean - half, mean / 100)  # a logarithmic axis has no 0, and is cut off above this
    ax.fill_between(x, low, mean + half, color=line.get_color(), alpha=0.15, linewidth=0)


def _finish(figure: Figure, axes: np.ndarray, note: str, log: bool = False) -> Figure:
    """Ends a figure; on logarithmic axes, which begin at half of the smallest mean, intervals may be cut off below."""
    for ax in axes.flat:
        if log:
            together = ax.get_shared_y_axes().get_siblings(ax)
            ax.set_yscale("log")
            ax.set_ylim(bottom=min(np.min(line.get_ydata()) for one in together for line in one.lines) / 2)
        else:
            ax.set_ylim(bottom=0)
        ax.tick_params(which="both", labelsize=7)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    figure.supxlabel(note, fontsize=8)
    return figure
