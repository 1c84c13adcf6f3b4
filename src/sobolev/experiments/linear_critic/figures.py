"""The figure of `sobolev study linear`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sobolev.experiments.api import Record
from sobolev.experiments.linear_critic.moments import statistics

GREY = "#777777"
CRITICS = ("#1f6fb4", "#d1662a")
"""A colour for each of the two critics."""
PANELS = ("mean return", "mean gradient", "std of return", "std of gradient", "correlation")


def draw(records: Sequence[Record], note: str) -> Figure:
    """Draws learned over exact moments, with a row per critic, a column per moment, and a point per state."""
    rows = len(records)
    figure = Figure(figsize=(11.0, 1.95 * rows + 0.6), dpi=150, layout="constrained")
    axes = figure.subplots(rows, len(PANELS), squeeze=False)
    for row, record in enumerate(records):
        exact = statistics(np.array(record["exact_mean"]), np.array(record["exact_covariance"]))
        learned = statistics(np.array(record["mean"]), np.array(record["covariance"]))
        for column, (x, y) in enumerate(zip(exact, learned, strict=True)):
            ax = axes[row, column]
            ends = np.array([x.min(), x.max()])
            middle, half = ends.mean(), max(0.75 * (ends[1] - ends[0]), 0.05 * abs(ends.mean()) + 1e-3)
            ax.plot([middle - half, middle + half], [middle - half, middle + half], color=GREY, linewidth=0.8)
            for each, color in zip(y, CRITICS, strict=True):
                ax.plot(x, each, ".", color=color, markersize=3)
            ax.set_xlim(middle - half, middle + half)
            low, high = min(y.min(), middle - half), max(y.max(), middle + half)
            ax.set_ylim(low - 0.02 * (high - low), high + 0.02 * (high - low))
            ax.tick_params(labelsize=7)
            ax.spines[["top", "right"]].set_visible(False)
            if row == 0:
                ax.set_title(PANELS[column], fontsize=9)
        axes[row, 0].set_ylabel(record["name"].replace(", ", ",\n").replace(" of the", "\nof the"), fontsize=8)
    figure.supxlabel(f"exact\n{note}", fontsize=8)
    return figure
