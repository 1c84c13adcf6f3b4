"""The figure of `sobolev study transition`: κ, slope, return and error of the model over the penalty's strength."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sobolev.experiments.api import Record
from sobolev.experiments.trained import final_returns
from sobolev.experiments.transition.runs import NONE
from sobolev.plotting.colors import colors
from sobolev.plotting.points import draw_points, finish, mean_and_deviation, median_and_range


def of_model(record: Record, name: str) -> Sequence[float]:
    """Returns a number of `measured` for every seed."""
    return [seed[name] for seed in record["model"]]


MEASURES: Mapping[str, Callable[[Record], Sequence[float]]] = {
    "κ, largest over states": lambda record: of_model(record, "kappa"),
    "slope of the model, mean over states": lambda record: of_model(record, "slope"),
    "return after training": final_returns,
    "squared error of the model": lambda record: of_model(record, "error"),
}
"""What the panels show: a number per seed of a record."""
LOGARITHMIC = ("κ, largest over states", "slope of the model, mean over states", "squared error of the model")


def draw(records: Sequence[Record], discount: float, note: str) -> Figure:
    """Draws a panel for each of `MEASURES`, with a line per penalty that begins at the run without one."""
    none = next(record for record in records if record["regularizer"] == NONE.regularizer)
    names = list(dict.fromkeys(record["regularizer"] for record in records if record is not none))
    strengths = sorted({record["strength"] for record in records})
    labels = [f"{strength:g}" for strength in strengths]
    figure = Figure(figsize=(10.0, 3.4), dpi=150, layout="constrained")
    grid = figure.subplots(1, len(MEASURES), squeeze=False)
    for ax, (title, numbers) in zip(grid[0], MEASURES.items(), strict=True):
        own = {name: [none, *(record for record in records if record["regularizer"] == name)] for name in names}
        lines = {
            name: {f"{record['strength']:g}": np.array(numbers(record)) for record in shown}
            for name, shown in own.items()
        }
        logarithmic = title in LOGARITHMIC
        draw_points(ax, labels, lines, colors(names), median_and_range if logarithmic else mean_and_deviation)
        ax.set_title(title, fontsize=9)
        if logarithmic:
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
    grid[0, 0].axhline(1 / discount, color="#444444", linestyle="--", linewidth=0.9, label="1 / γ")
    finish(figure, grid, "strength λ of the penalty", f"{note}; median and range on logarithmic axes")
    return figure
