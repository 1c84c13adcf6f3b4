"""The figure of `sobolev study point-mass`: the environment, its distribution of returns, and the methods' returns."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from sobolev.envs.families.toy import START, WALL, WIDTH, locations, worths
from sobolev.experiments.api import Record
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.point_mass.runs import final_returns, returns_while_training
from sobolev.plotting.colors import colors

SHOWN = 20
"""Number of paths of the controller in the map."""


def draw(records: Sequence[Record], references: Sequence[Record], note: str) -> Figure:
    """Draws the environment (`draw_environment`), and below it the returns of the methods over N, during training and
    at the end."""
    figure = Figure(figsize=(10.0, 8.6), dpi=150, layout="constrained")
    ((left, right), (during, end)) = figure.subplots(2, 2)
    _draw_environment(left, right, references)
    _draw_returns(during, records, references, returns_while_training, "mean return during training")
    _draw_returns(end, records, references, final_returns, "final return")
    during.legend(fontsize=8, frameon=False, ncols=2, loc="lower left")
    figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def draw_environment(references: Sequence[Record]) -> Figure:
    """Draws a map for the N nearest to 4, and the distributions of the controller's returns for every N."""
    figure = Figure(figsize=(8.0, 4.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.05))
    _draw_environment(left, right, references)
    return figure


def _draw_environment(left: Axes, right: Axes, references: Sequence[Record]) -> None:
    number = min((record["locations"] for record in references), key=lambda number: abs(number - 4))
    _draw_map(left, reference(number, SHOWN))
    _draw_distributions(right, references)


def _draw_map(ax: Axes, record: Record) -> None:
    number = record["locations"]
    ax.add_patch(Rectangle((-WALL, -WALL), 2 * WALL, 2 * WALL, fill=False, edgecolor="#444444", linewidth=1.5))
    ax.add_patch(Circle((0, 0), START, facecolor="#dddddd", edgecolor="none"))
    shades = _location_colors(number)
    for k, (place, worth) in enumerate(zip(locations(number), worths(number), strict=True)):
        ax.add_patch(Circle((place[0], place[1]), WIDTH, facecolor=shades[k], alpha=0.13, edgecolor="none"))
        ax.plot(*place, "o", color=shades[k], markersize=6, zorder=3)
        outside = 1.42 * place
        ax.text(outside[0], outside[1], f"{worth:.3g}", ha="center", va="center", fontsize=9, color=shades[k])
    for path, goal in zip(record["paths"], record["goals"], strict=True):
        points = np.array(path)
        ax.plot(points[:, 0], points[:, 1], color=shades[goal] if goal >= 0 else "#888888", linewidth=0.9, alpha=0.8)
    ax.set_xlim(-1.08 * WALL, 1.08 * WALL)
    ax.set_ylim(-1.08 * WALL, 1.08 * WALL)
    ax.set_aspect("equal")
    ax.set_title(f"toy:point-mass-{number}", fontsize=10)
    ax.set_xlabel("locations, their heights, paths of the controller", fontsize=9)


def _draw_distributions(ax: Axes, references: Sequence[Record]) -> None:
    top = max(max(record["returns"]) for record in references)
    bins = np.linspace(0, 1.02 * top, 70)
    for row, record in enumerate(references):
        counts, _ = np.histogram(record["returns"], bins)
        heights = 0.85 * counts / counts.max()
        ax.fill_between(bins[:-1], row, row + heights, step="post", color="#1f6fb4", alpha=0.75, linewidth=0)
        ax.axhline(row, color="#bbbbbb", linewidth=0.6)
    ax.set_yticks(range(len(references)), [f"N = {record['locations']}" for record in references])
    ax.set_xlabel("return of an episode", fontsize=9)
    ax.set_title("distribution of the controller's returns", fontsize=10)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _draw_returns(
    ax: Axes,
    records: Sequence[Record],
    references: Sequence[Record],
    returns: Callable[[Record], Sequence[float]],
    title: str,
) -> None:
    """Draws `returns` of each record, one per seed, over N."""
    numbers = [record["locations"] for record in references]
    best = {record["locations"]: float(np.mean(record["returns"])) for record in references}
    methods = list(dict.fromkeys(record["method"] for record in records))
    own_colors = colors(methods)
    for i, method in enumerate(methods):
        own = {r["locations"]: np.array(returns(r)) / best[r["locations"]] for r in records if r["method"] == method}
        at = np.arange(len(numbers)) + 0.5 * (i / max(1, len(methods) - 1) - 0.5)
        mean, spread = np.array([[own[n].mean(), own[n].std()] for n in numbers]).T
        ax.errorbar(
            at, mean, spread, fmt="o-", color=own_colors[method], label=method, linewidth=1, markersize=4, capsize=2
        )
        for x, number in zip(at, numbers, strict=True):
            ax.plot(np.full(len(own[number]), x), own[number], ".", color=own_colors[method], markersize=3, alpha=0.6)
    ax.axhline(1.0, color="#444444", linestyle="--", linewidth=0.9, label="controller")
    ax.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    ax.set_xlabel("reward locations N", fontsize=9)
    ax.set_title(f"{title}, relative to the controller's", fontsize=10)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25, axis="y")
    ax.spines[["top", "right"]].set_visible(False)


def _location_colors(number: int) -> list[tuple[float, float, float, float]]:
    return [colormaps["viridis"](0.85 * k / max(1, number - 1)) for k in range(number)]
