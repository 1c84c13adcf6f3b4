"""Panels that compare a few methods at a few values: a point for every seed, with mean and standard deviation."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase


def draw_points(
    ax: Axes,
    values: Sequence[Any],
    numbers: Mapping[str, Mapping[Any, np.ndarray]],
    shades: Mapping[str, str],
) -> None:
    """Draws one number per seed, and their mean and standard deviation, for every label at its values.

    values: along the horizontal axis, with equal distances; numbers: by label and value; shades: a color by label.
    """
    for i, (label, own) in enumerate(numbers.items()):
        shift = 0.08 * (i - (len(numbers) - 1) / 2)
        at = np.array([values.index(value) + shift for value in own])
        mean, spread = np.array([[found.mean(), found.std()] for found in own.values()]).T
        ax.errorbar(at, mean, spread, fmt="o-", color=shades[label], label=label, lw=1, markersize=4, capsize=2)
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
