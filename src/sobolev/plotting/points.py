"""Panels that compare a few methods at a few values: a point for every seed, with a middle and a bar."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase


class Summary(NamedTuple):
    """What is drawn of several numbers beside the numbers themselves."""

    middle: float
    low: float
    """the lower end of the bar"""
    high: float
    """the upper end of the bar"""


def mean_and_deviation(numbers: np.ndarray) -> Summary:
    """The mean, and a standard deviation in both directions."""
    mean, deviation = float(numbers.mean()), float(numbers.std())
    return Summary(mean, mean - deviation, mean + deviation)


def median_and_range(numbers: np.ndarray) -> Summary:
    """The median, the smallest and the largest number: for logarithmic axes, where the largest few rule a mean."""
    return Summary(float(np.median(numbers)), float(numbers.min()), float(numbers.max()))


def draw_points(
    ax: Axes,
    values: Sequence[Any],
    numbers: Mapping[str, Mapping[Any, np.ndarray]],
    shades: Mapping[str, str],
    summarize: Callable[[np.ndarray], Summary] = mean_and_deviation,
) -> None:
    """Draws one number per seed, and a middle with a bar, for every label at its values.

    values: along the horizontal axis, with equal distances; numbers: by label and value; shades: a color by label.
    """
    for i, (label, own) in enumerate(numbers.items()):
        shift = 0.08 * (i - (len(numbers) - 1) / 2)
        at = np.array([values.index(value) + shift for value in own])
        middle, low, high = np.array([summarize(found) for found in own.values()]).T
        bars = (middle - low, high - middle)
        ax.errorbar(at, middle, bars, fmt="o-", color=shades[label], label=label, lw=1, markersize=4, capsize=2)
        for x, found in zip(at, own.values(), strict=True):
            ax.plot(np.full(len(found), x), found, ".", color=shades[label], markersize=3, alpha=0.6)
    ax.set_xticks(range(len(values)), [str(value) for value in values])
    ax.set_xlim(-0.5, len(values) - 0.5)


def finish(figure: FigureBase, grid: np.ndarray, label: str, note: str) -> None:
    """Adds lines to every panel, a label of the horizontal axes, one legend above all, and the note below."""
    for ax in grid.ravel():
        ax.grid(alpha=0.25, axis="y")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9, frameon=False)
    for ax in grid[-1]:
        ax.set_xlabel(label, fontsize=9)
    letters = int(figure.get_figure(root=True).get_size_inches()[0] * 15)
    figure.supxlabel("\n".join(textwrap.wrap(note, letters)), fontsize=8, color="#555555")
