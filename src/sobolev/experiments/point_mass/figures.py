"""The figures of `sobolev study point-mass`: the environment, returns, and the gradients of critics."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from sobolev.envs.families.toy import START, WALL, WIDTH, Layout, in_plane, locations, worths
from sobolev.experiments.api import Record
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.point_mass.runs import Cell, cell_of, gradients_of
from sobolev.experiments.trained import final_returns, returns_while_training
from sobolev.plotting.colors import colors
from sobolev.plotting.points import Summary, draw_points, finish, mean_and_deviation, median_and_range

SHOWN = 20
"""Number of paths of the controller in the map."""
MAP = Layout(4, 2)
"""What the map shows."""
PANEL = (3.3, 2.7)
"""Width and height of a panel in inches."""


class Axis(NamedTuple):
    """What a study varies along the horizontal axes of its figures: the dimensions, or else the locations."""

    name: str
    """the field of a cell"""
    symbol: str
    label: str
    values: list[int]

    def others(self, cells: Sequence[Cell]) -> list[Cell]:
        """Returns one cell per panel: the different cells but for this field, which is 0 in them."""
        return list(dict.fromkeys(cell._replace(**{self.name: 0}) for cell in cells))

    def title(self, panel: Cell) -> str:
        """Returns the title of a panel of `others`."""
        where = f"N = {panel.locations}" if self.name == "dimensions" else f"D = {panel.dimensions}"
        return f"{where}, noise {panel.noise:g}"


def axis_of(cells: Sequence[Cell]) -> Axis:
    """Returns the horizontal axis for these cells."""
    dimensions, numbers = (sorted({getattr(cell, name) for cell in cells}) for name in ("dimensions", "locations"))
    if len(dimensions) > 1 or len(numbers) == 1:
        return Axis("dimensions", "D", "dimensions D of actions", dimensions)
    return Axis("locations", "N", "reward locations N", numbers)


def draw(records: Sequence[Record], references: Sequence[Record], note: str) -> Mapping[str, Figure]:
    """Draws point-mass (the environment, and returns over D or N), point-mass-curves (returns over env steps), and if
    the records have them point-mass-gradients (the error of the critics' gradients)."""
    figures = {"point-mass": draw_returns(records, references, note)}
    figures["point-mass-curves"] = draw_curves(records, references, note)
    if all("gradients" in record for record in records):
        figures["point-mass-gradients"] = draw_gradients(records, note)
    return figures


def draw_returns(records: Sequence[Record], references: Sequence[Record], note: str) -> Figure:
    """Draws the environment, and below it the returns of the methods, relative to the controller's, during training and
    at the end, with a column for every combination of locations (or dimensions) and noise."""
    axis = axis_of([cell_of(record) for record in references])
    panels = axis.others([cell_of(record) for record in references])
    width = max(10.0, PANEL[0] * len(panels))
    figure = Figure(figsize=(width, 4.0 + 2 * PANEL[1]), dpi=150, layout="constrained")
    top, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(4.0, 2 * PANEL[1]))[:, 0]
    left, right = top.subplots(1, 2)
    _draw_environment(left, right, references)
    grid = below.subplots(2, len(panels), squeeze=False, sharey="row")
    best = {cell_of(record): float(np.mean(record["returns"])) for record in references}
    for row, returns, what in (
        (0, returns_while_training, "mean during training"),
        (1, final_returns, "after training"),
    ):
        grid[row, 0].set_ylabel(f"return over controller's\n{what}", fontsize=9)
        for ax, panel in zip(grid[row], panels, strict=True):
            shown = [record for record in records if belongs(record, panel, axis)]
            _draw_points(ax, shown, axis, lambda r, of=returns: np.array(of(r)) / best[cell_of(r)])
            ax.axhline(1.0, color="#444444", linestyle="--", linewidth=0.9, label="controller")
            ax.set_title(axis.title(panel), fontsize=10)
            ax.set_ylim(bottom=0)
    finish(below, grid, axis.label, note)
    return figure


def draw_curves(records: Sequence[Record], references: Sequence[Record], note: str) -> Figure:
    """Draws evaluation returns over env steps: a column for every D (or N), a row for every N (or D) and noise."""
    axis = axis_of([cell_of(record) for record in references])
    panels = axis.others([cell_of(record) for record in references])
    shape = (len(panels), len(axis.values))
    figure = Figure(figsize=(0.8 * PANEL[0] * shape[1] + 0.6, 0.8 * PANEL[1] * shape[0] + 1.0), dpi=150)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    shades = colors(list(dict.fromkeys(record["method"] for record in records)))
    for row, panel in enumerate(panels):
        grid[row, 0].set_ylabel(f"return\n{axis.title(panel)}", fontsize=9)
        for column, value in enumerate(axis.values):
            ax, cell = grid[row, column], panel._replace(**{axis.name: value})
            for record in (record for record in records if cell_of(record) == cell):
                steps, returns = np.array(record["curve"]["steps"]), np.array(record["curve"]["returns"])
                mean, spread, method = returns.mean(0), returns.std(0), record["method"]
                ax.plot(steps, mean, color=shades[method], linewidth=1.2, label=method)
                ax.fill_between(steps, mean - spread, mean + spread, color=shades[method], alpha=0.15, linewidth=0)
            for best in (np.mean(record["returns"]) for record in references if cell_of(record) == cell):
                ax.axhline(best, color="#444444", linestyle="--", linewidth=0.9, label="controller")
            ax.set_title(f"{axis.symbol} = {value}" if row == 0 else "", fontsize=10)
            ax.set_ylim(bottom=0)
    finish(figure, grid, "env steps", note)
    return figure


def draw_gradients(records: Sequence[Record], note: str) -> Figure:
    """Draws bias, variance and direction of the critics' action gradients (see `gradients.compare`), and how well the
    true direction is known."""
    axis = axis_of([cell_of(record) for record in records])
    panels = axis.others([cell_of(record) for record in records])
    measures = (
        ("bias", "squared bias\nover squared gradient"),
        ("variance", "variance\nover squared gradient"),
        ("cosine", "cosine with\nthe true gradient"),
        ("agreement", "cosine of two estimates\nof the true gradient"),
    )
    size = (max(6.0, PANEL[0] * len(panels)), PANEL[1] * len(measures) + 0.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(len(measures), len(panels), squeeze=False, sharey="row")
    for row, (name, label) in enumerate(measures):
        grid[row, 0].set_ylabel(label, fontsize=9)
        for ax, panel in zip(grid[row], panels, strict=True):
            shown = [record for record in records if belongs(record, panel, axis)]
            cosine = name in ("cosine", "agreement")
            summarize = mean_and_deviation if cosine else median_and_range
            _draw_points(ax, shown, axis, lambda r, n=name: np.array(gradients_of(r, n)), summarize)
            if cosine:
                ax.axhline(0.0, color="#444444", linewidth=0.8)
                ax.set_ylim(top=1.0)
            else:
                ax.set_yscale("symlog", linthresh=0.01)  # an unbiased estimate of a small bias may be negative
            ax.set_title(axis.title(panel) if row == 0 else "", fontsize=10)
    finish(figure, grid, axis.label, f"{note}; median and range of bias and variance")
    return figure


def draw_environment(references: Sequence[Record]) -> Figure:
    """Draws a map of four locations in the plane, and the distributions of the controller's returns."""
    figure = Figure(figsize=(8.0, 4.0), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.05))
    _draw_environment(left, right, references)
    return figure


def _draw_environment(left: Axes, right: Axes, references: Sequence[Record]) -> None:
    _draw_map(left, reference(MAP, episodes=SHOWN))
    _draw_distributions(right, references)


def _draw_map(ax: Axes, record: Record) -> None:
    number = record["locations"]
    ax.add_patch(Rectangle((-WALL, -WALL), 2 * WALL, 2 * WALL, fill=False, edgecolor="#444444", linewidth=1.5))
    ax.add_patch(Circle((0, 0), START, facecolor="#dddddd", edgecolor="none"))
    shades = _location_colors(number)
    places = in_plane(locations(Layout(number, record["dimensions"])))[:, 0]
    for k, (place, worth) in enumerate(zip(places, worths(number), strict=True)):
        ax.add_patch(Circle((place[0], place[1]), WIDTH, facecolor=shades[k], alpha=0.13, edgecolor="none"))
        ax.plot(*place, "o", color=shades[k], markersize=6, zorder=3)
        outside = 1.42 * place
        ax.text(outside[0], outside[1], f"{worth:.3g}", ha="center", va="center", fontsize=9, color=shades[k])
    for path, goal in zip(record["paths"], record["goals"], strict=True):
        points = in_plane(np.array(path))[:, 0]
        ax.plot(points[:, 0], points[:, 1], color=shades[goal] if goal >= 0 else "#888888", linewidth=0.9, alpha=0.8)
    ax.set_xlim(-1.08 * WALL, 1.08 * WALL)
    ax.set_ylim(-1.08 * WALL, 1.08 * WALL)
    ax.set_aspect("equal")
    ax.set_title(f"toy:{Layout(number, record['dimensions']).name}", fontsize=10)
    ax.set_xlabel("locations, their heights, paths of the controller", fontsize=9)


def _draw_distributions(ax: Axes, references: Sequence[Record]) -> None:
    """Draws a histogram of returns for every value of the axis, and within it one line per further field."""
    axis = axis_of([cell_of(record) for record in references])
    top = max(max(record["returns"]) for record in references)
    bins = np.linspace(0, 1.02 * top, 70)
    panels = axis.others([cell_of(record) for record in references])
    shades = [colormaps["viridis"](0.8 * k / max(1, len(panels) - 1)) for k in range(len(panels))]
    for shade, panel in zip(shades, panels, strict=True):
        for row, value in enumerate(axis.values):
            cell = panel._replace(**{axis.name: value})
            for record in (record for record in references if cell_of(record) == cell):
                counts, _ = np.histogram(record["returns"], bins)
                heights = row + 0.85 * counts / counts.max()
                label = axis.title(panel) if row == 0 else None
                if len(panels) == 1:
                    ax.fill_between(bins[:-1], row, heights, step="post", color="#1f6fb4", alpha=0.75, linewidth=0)
                else:
                    ax.step(bins[:-1], heights, where="post", color=shade, linewidth=0.9, label=label)
    for row in range(len(axis.values)):
        ax.axhline(row, color="#bbbbbb", linewidth=0.6)
    ax.set_yticks(range(len(axis.values)), [f"{axis.symbol} = {value}" for value in axis.values])
    if len(panels) > 1:
        ax.legend(fontsize=7, frameon=False, loc="upper left")
    ax.set_xlabel("return of an episode", fontsize=9)
    ax.set_title("distribution of the controller's returns", fontsize=10)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _draw_points(
    ax: Axes,
    records: Sequence[Record],
    axis: Axis,
    numbers: Callable[[Record], np.ndarray],
    summarize: Callable[[np.ndarray], Summary] = mean_and_deviation,
) -> None:
    """Draws the numbers of each record, one per seed, and a summary of them, over the axis."""
    methods = list(dict.fromkeys(record["method"] for record in records))
    by_method = {m: {r[axis.name]: numbers(r) for r in records if r["method"] == m} for m in methods}
    draw_points(ax, axis.values, by_method, colors(methods), summarize)


def belongs(record: Record, panel: Cell, axis: Axis) -> bool:
    """Whether a record is of a panel of `axis.others`."""
    return cell_of(record)._replace(**{axis.name: 0}) == panel


def _location_colors(number: int) -> list[tuple[float, float, float, float]]:
    return [colormaps["viridis"](0.85 * k / max(1, number - 1)) for k in range(number)]
