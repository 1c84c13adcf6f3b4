"""Figures that are grids of panels of equal size, such as learning curves. Each panel can be cut out of the figure."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sobolev.plotting import output_files

CELL = (3.1, 2.35)
"""Width and height of a panel, with its labels and a title of one line, in inches."""
TITLE = 0.15
"""Height of each further line of the title, in inches."""
MARGINS = (0.56, 0.14, 0.44, 0.3)
"""Distances of the axes from the left, right, bottom and top of their panel, in inches."""
LEGEND = 0.26
"""Height of a row of the legend, in inches."""
DPI = 200


class Line(NamedTuple):
    """An entry of a legend."""

    label: str
    color: str
    dashed: bool = False


class Panel(NamedTuple):
    """A title, the function that draws the panel, and a description in words."""

    title: str
    draw: Callable[[Axes], None]
    about: str = ""


class Curve(NamedTuple):
    """A mean over env steps with a band around it."""

    steps: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]
    seeds: int
    """number of seeds over which the mean is taken"""


@dataclass(frozen=True)
class Picture:
    """Panels drawn as one figure, from which each can be cut out."""

    figure: Figure
    panels: tuple[Panel, ...]
    legend: tuple[Line, ...]
    pixels: np.ndarray
    boxes: tuple[tuple[int, int, int, int], ...]
    """left, top, right and bottom of every panel, in pixels"""

    def png(self, panel: int | None = None) -> bytes:
        """Returns the figure, or one panel of it, as the bytes of a PNG file."""
        from PIL import Image

        image = Image.fromarray(self.pixels).convert("RGB")
        if panel is not None:
            image = image.crop(self.boxes[panel])
        # 256 colours are enough for such figures, and the file is a third of the size
        image = image.quantize(256, dither=Image.Dither.NONE)
        target = io.BytesIO()
        image.save(target, format="png")
        return target.getvalue()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every panel, in pixels."""
        left, top, right, bottom = self.boxes[0]
        return right - left, bottom - top

    def pdf(self) -> bytes:
        """Returns the figure as the bytes of a PDF file."""
        return output_files.pdf(self.figure)


def draw(panels: Sequence[Panel], legend: Sequence[Line] = (), columns: int = 4, note: str = "") -> Picture:
    """Draws panels in a grid, row by row, with a legend above and a note in small print below. Raises ValueError if
    there are no panels."""
    if not panels:
        raise ValueError("no panels to draw")
    columns = min(columns, len(panels))
    rows, width = -(-len(panels) // columns), CELL[0] * columns
    legend_rows = _legend_rows(legend, width)
    note_lines = textwrap.wrap(note, int(19 * width))
    top, foot = 0.1 * bool(legend_rows) + LEGEND * len(legend_rows), 0.12 * len(note_lines)
    extra = TITLE * max(panel.title.count("\n") for panel in panels)
    tall = CELL[1] + extra
    height = tall * rows + top + foot
    figure = Figure(figsize=(width, height), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    boxes = []
    for index, panel in enumerate(panels):
        x, y = index % columns * CELL[0], height - top - (index // columns + 1) * tall
        left, right, bottom, above = MARGINS
        inside = (x + left, y + bottom, CELL[0] - left - right, tall - bottom - above - extra)
        ax = figure.add_axes(tuple(np.array(inside) / (width, height, width, height)))
        ax.tick_params(labelsize=7, length=2.5)
        ax.set_title(panel.title, fontsize=8.5)
        ax.spines[["top", "right"]].set_visible(False)
        panel.draw(ax)
        corners = (x, height - y - tall, x + CELL[0], height - y)
        boxes.append(tuple(round(corner * DPI) for corner in corners))
    _write_legend(figure, legend_rows, height)
    figure.text(0.15 / width, 0.04 / height, "\n".join(note_lines), fontsize=6, color="#555555", va="bottom")
    canvas.draw()
    return Picture(figure, tuple(panels), tuple(legend), np.asarray(canvas.buffer_rgba()).copy(), tuple(boxes))


def _legend_rows(legend: Sequence[Line], width: float) -> list[list[tuple[float, Line]]]:
    """Returns the legend in rows no wider than the figure, each entry with its distance from the left in inches."""
    rows: list[list[tuple[float, Line]]] = []
    x = width
    for line in legend:
        length = 0.55 + 0.068 * len(line.label)
        if not rows or x + length > width:
            rows.append([])
            x = 0.15
        rows[-1].append((x, line))
        x += length
    return rows


def _write_legend(figure: Figure, rows: Sequence[Sequence[tuple[float, Line]]], height: float) -> None:
    width = figure.get_figwidth()
    for number, row in enumerate(rows):
        y = 1 - (LEGEND * (number + 0.5) + 0.05) / height
        for x, line in row:
            stroke = Line2D([x / width, (x + 0.25) / width], [y, y], color=line.color, linestyle=_dashes(line))
            figure.add_artist(stroke)
            figure.text((x + 0.32) / width, y, line.label, fontsize=8, va="center")


def _dashes(line: Line) -> Literal["--", "-"]:
    return "--" if line.dashed else "-"


def curves(
    title: str, lines: Mapping[Line, Curve], end: float | None = None, y: str = "return", about: str = ""
) -> Panel:
    """Returns a panel of curves with their bands, over env steps up to `end`, by default the end of the longest one."""
    ends = [curve.steps[-1] for curve in lines.values() if curve.steps.size]
    limit = (max(ends, default=0.0) or 1.0) if end is None else end  # a single point at 0 has no range

    def paint(ax: Axes) -> None:
        for line, curve in lines.items():
            inside = curve.steps <= limit
            steps = curve.steps[inside]
            width, front = (1.1, 2) if line.dashed else (1.5, 3)
            ax.fill_between(steps, curve.low[inside], curve.high[inside], color=line.color, alpha=0.15, linewidth=0)
            ax.plot(steps, curve.mean[inside], color=line.color, linestyle=_dashes(line), linewidth=width, zorder=front)
            if len(steps) == 1:
                ax.plot(steps, curve.mean[inside], "o", color=line.color, markersize=3)
        ax.set_xlim(0, limit)
        low = min((curve.mean[curve.steps <= limit].min(initial=0.0) for curve in lines.values()), default=0.0)
        high = max((curve.mean[curve.steps <= limit].max(initial=0.0) for curve in lines.values()), default=1.0)
        if low > -0.03 * high:  # returns are never, or hardly ever, negative
            ax.set_ylim(bottom=0)
        over_steps(ax)
        ax.set_ylabel(y, fontsize=7.5)
        ax.grid(alpha=0.25, linewidth=0.6)

    names = ", ".join(line.label for line in lines)
    return Panel(title, paint, about or f"{title}: {y} over env steps of {names}")


def over_steps(ax: Axes) -> None:
    """Labels an axis of env steps: 0, 200k, 1M."""
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_steps(value)))
    ax.set_xlabel("env steps", fontsize=7.5)


def short_steps(steps: float) -> str:
    """Formats env steps in a few characters: 500k, 1.5M."""
    if steps >= 1e6:
        return f"{steps / 1e6:g}M"
    return f"{steps / 1e3:g}k" if steps >= 1e3 else f"{steps:g}"


def counted(label: str, seeds: int) -> str:
    """Returns a label with its number of seeds."""
    return f"{label} ({seeds} seed{'s' if seeds > 1 else ''})"
