"""The pictures of `sobolev study contraction` and `sobolev study linear`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sobolev.experiments.linear_critic.experiment import moments

BLUE, ORANGE, GREY = "#1f6fb4", "#d1662a", "#777777"


def draw_contraction(record: dict[str, Any], note: str) -> Figure:
    """Left: factors against γκ with the bound. Right: distances between iterates with theirs."""
    figure = Figure(figsize=(9.6, 4.1), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_factors(left, record["systems"])
    _draw_iterates(right, record["iterates"])
    for ax in (left, right):
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False, loc="best")
    figure.supxlabel(note, fontsize=7, color="#555555")
    return figure


def _draw_factors(ax: Axes, systems: Sequence[dict[str, Any]]) -> None:
    products = np.linspace(min(s["product"] for s in systems), max(s["product"] for s in systems), 200)
    ax.plot(products, np.sqrt(products), color="black", linewidth=1.2, label="bound √(γκ)")
    ax.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    ax.axvline(1, color=GREY, linewidth=0.8, linestyle="--")
    for kind, title, color, size in (("random", "random systems", ORANGE, 5), ("tight", "tight system", BLUE, 7)):
        some = [s for s in systems if s["kind"] == kind]
        xs = [s["product"] for s in some]
        ax.plot(xs, [s["factor"] for s in some], "o", color=color, markersize=size - 1, label=f"MSMMD, {title}")
        plain = [s["plain_mmd_factor"] for s in some]
        ax.plot(xs, plain, "x", color=color, markersize=size, markeredgewidth=0.9, label=f"plain MMD, {title}")
    ax.set_xlabel("γκ")
    ax.set_ylabel("largest factor of one application")
    ax.set_title("One application of the operator", fontsize=10)


def _draw_iterates(ax: Axes, iterates: Sequence[dict[str, Any]]) -> None:
    for record, color in zip(iterates, (BLUE, GREY, ORANGE), strict=False):
        number = np.arange(len(record["distances"]))
        label = f"γκ = {record['product']:.2g}, γ·radius = {record['discounted_radius']:.2g}"
        ax.semilogy(number, record["distances"], "o-", color=color, markersize=4, label=label)
        ax.semilogy(number, record["bounds"], "--", color=color, linewidth=1)
    ax.plot([], [], "--", color="black", linewidth=1, label="bound")
    ax.set_xlabel("applications")
    ax.set_ylabel("MSMMD between two laws")
    ax.set_title("Again and again", fontsize=10)


PANELS = ("mean return", "mean gradient", "std of return", "std of gradient", "correlation")


def draw_linear(records: Sequence[dict[str, Any]], note: str) -> Figure:
    """Learned against exact moments: a row per critic, a column per moment; each point is a state."""
    rows = len(records)
    figure = Figure(figsize=(11.0, 1.95 * rows + 0.6), dpi=150, layout="constrained")
    axes = figure.subplots(rows, len(PANELS), squeeze=False)
    for row, record in enumerate(records):
        exact = moments(np.array(record["exact_mean"]), np.array(record["exact_covariance"]))
        found = moments(np.array(record["mean"]), np.array(record["covariance"]))
        for column, (x, y) in enumerate(zip(exact, found, strict=True)):
            ax = axes[row, column]
            ends = np.array([x.min(), x.max()])
            middle, half = ends.mean(), max(0.75 * (ends[1] - ends[0]), 0.05 * abs(ends.mean()) + 1e-3)
            ax.plot([middle - half, middle + half], [middle - half, middle + half], color=GREY, linewidth=0.8)
            for each, color in zip(y, (BLUE, ORANGE), strict=True):
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
