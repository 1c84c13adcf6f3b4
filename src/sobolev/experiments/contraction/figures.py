"""The figure of `sobolev study contraction`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sobolev.experiments.api import Record

BLUE, ORANGE, GREY = "#1f6fb4", "#d1662a", "#777777"


def draw(record: Record, note: str) -> Figure:
    """Draws factors over γκ with the bound (left), and distances between iterates with theirs (right)."""
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


def _draw_factors(ax: Axes, systems: Sequence[Record]) -> None:
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


def _draw_iterates(ax: Axes, iterates: Sequence[Record]) -> None:
    for record, color in zip(iterates, (BLUE, GREY, ORANGE), strict=False):
        number = np.arange(len(record["distances"]))
        label = f"γκ = {record['product']:.2g}, γ·radius = {record['discounted_radius']:.2g}"
        ax.semilogy(number, record["distances"], "o-", color=color, markersize=4, label=label)
        ax.semilogy(number, record["bounds"], "--", color=color, linewidth=1)
    ax.plot([], [], "--", color="black", linewidth=1, label="bound")
    ax.set_xlabel("applications")
    ax.set_ylabel("MSMMD between two distributions")
    ax.set_title("Repeated applications", fontsize=10)
