"""The picture of `sobolev study point-mass`: the environment, its law of returns, and what the methods reach."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from sobolev.envs.toy import START, WALL, WIDTH, locations, worths
from sobolev.plotting.colors import colors
from sobolev.study.point_mass import over_training

SHOWN = 20
"""Paths of the controller in the map."""


def draw(records: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]], note: str) -> Figure:
    """Map of the largest N that is drawn well, laws of the controller's returns; below, against N, how high returns
    were while the methods trained, and in the end."""
    figure = Figure(figsize=(10.0, 8.6), dpi=150, layout="constrained")
    ((left, right), (during, end)) = figure.subplots(2, 2)
    _draw_map(left, min(references, key=lambda record: abs(record["locations"] - 4)))
    _draw_laws(right, references)
    _draw_returns(during, records, references, over_training, "mean return while training")
    _draw_returns(end, records, references, lambda record: record["returns"], "final return")
    during.legend(fontsize=8, frameon=False, ncols=2, loc="lower left")
    figure.supxlabel(note, fontsize=8, color="#555555")
    return figure


def draw_environment(references: Sequence[dict[str, Any]]) -> Figure:
    """The first two panels of `draw` alone."""
    figure = Figure(figsize=(8.0, 4.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.05))
    _draw_map(left, min(references, key=lambda record: abs(record["locations"] - 4)))
    _draw_laws(right, references)
    return figure


def _draw_map(ax: Axes, record: dict[str, Any]) -> None:
    number = record["locations"]
    ax.add_patch(Rectangle((-WALL, -WALL), 2 * WALL, 2 * WALL, fill=False, edgecolor="#444444", linewidth=1.5))
    ax.add_patch(Circle((0, 0), START, facecolor="#dddddd", edgecolor="none"))
    colors = _location_colors(number)
    for k, (place, worth) in enumerate(zip(locations(number), worths(number), strict=True)):
        ax.add_patch(Circle((place[0], place[1]), WIDTH, facecolor=colors[k], alpha=0.13, edgecolor="none"))
        ax.plot(*place, "o", color=colors[k], markersize=6, zorder=3)
        outside = 1.42 * place
        ax.text(outside[0], outside[1], f"{worth:.3g}", ha="center", va="center", fontsize=9, color=colors[k])
    for path, goal in list(zip(record["paths"], record["goals"], strict=True))[:SHOWN]:
        points = np.array(path)
        ax.plot(points[:, 0], points[:, 1], color=colors[goal] if goal >= 0 else "#888888", linewidth=0.9, alpha=0.8)
    ax.set_xlim(-1.08 * WALL, 1.08 * WALL)
    ax.set_ylim(-1.08 * WALL, 1.08 * WALL)
    ax.set_aspect("equal")
    ax.set_title(f"toy:point-mass-{number}", fontsize=10)
    ax.set_xlabel("locations, what they are worth, paths of the controller", fontsize=9)


def _draw_laws(ax: Axes, references: Sequence[dict[str, Any]]) -> None:
    top = max(max(record["returns"]) for record in references)
    bins = np.linspace(0, 1.02 * top, 70)
    for row, record in enumerate(references):
        counts, _ = np.histogram(record["returns"], bins)
        heights = 0.85 * counts / counts.max()
        ax.fill_between(bins[:-1], row, row + heights, step="post", color="#1f6fb4", alpha=0.75, linewidth=0)
        ax.axhline(row, color="#bbbbbb", linewidth=0.6)
    ax.set_yticks(range(len(references)), [f"N = {record['locations']}" for record in references])
    ax.set_xlabel("return of an episode", fontsize=9)
    ax.set_title("law of the controller's returns", fontsize=10)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _draw_returns(
    ax: Axes,
    records: Sequence[dict[str, Any]],
    references: Sequence[dict[str, Any]],
    returns: Callable[[dict[str, Any]], Sequence[float]],
    title: str,
) -> None:
    """`returns` of each record, one for each seed, against N."""
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
    ax.set_title(f"{title}, over the controller's", fontsize=10)
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25, axis="y")
    ax.spines[["top", "right"]].set_visible(False)


def _location_colors(number: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * k / max(1, number - 1)) for k in range(number)]
