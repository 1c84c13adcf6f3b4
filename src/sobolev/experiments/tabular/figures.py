"""The figures of `sobolev study tabular`."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from sobolev.experiments.api import Record
from sobolev.experiments.tabular.estimates import losses

Color = str | tuple[float, float, float, float]
"""A colour for matplotlib."""


def draw_errors(records: Sequence[Record], note: str) -> Figure:
    """Draws the total-variation error over the number of transitions, with a column per record, a row per radius and a
    line per strength."""
    rows, columns = len(records[0]["spacings"]), len(records)
    figure = Figure(figsize=(2.9 * columns + 0.6, 2.35 * rows + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for column, record in enumerate(records):
        for row, spacing in enumerate(record["spacings"]):
            _draw_panel(axes[row, column], record, row)
            if row == 0:
                axes[row, column].set_title(record["title"], fontsize=10)
            if column == 0:
                axes[row, column].set_ylabel(f"ε = {spacing:g} spacing{'s' if spacing != 1 else ''}", fontsize=9)
    figure.supylabel("total variation from the true probabilities", fontsize=10)
    figure.supxlabel(f"transitions\n{note}", fontsize=9)
    handles = [
        Line2D([], [], color=_color(i, records[0]), label=_label(strength))
        for i, strength in enumerate(records[0]["lambdas"])
    ]
    handles.append(Line2D([], [], color="#444444", marker="x", linestyle="", label="worse than λ = 0 (95%, paired)"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _draw_panel(ax: Axes, record: Record, epsilon: int) -> None:
    numbers, worse = np.array(record["numbers"]), losses(record)
    mean, half = np.array(record["mean"])[..., epsilon], np.array(record["interval"])[..., epsilon]
    for i in range(mean.shape[1]):
        color = _color(i, record)
        ax.plot(numbers, mean[:, i], color=color, linewidth=1.8 if i == 0 else 1.2, zorder=2 if i else 3)
        low = np.maximum(mean[:, i] - half[:, i], 1e-6)
        ax.fill_between(numbers, low, mean[:, i] + half[:, i], color=color, alpha=0.2, linewidth=0)
        bad = worse[:, i, epsilon]
        ax.plot(numbers[bad], mean[bad, i], "x", color=color, markersize=5, zorder=4)
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain_ticks(ax)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def _plain_ticks(ax: Axes) -> None:
    """Labels an axis with 0.01, 0.02, 0.05, 0.1, … instead of powers of ten."""
    ax.yaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _color(index: int, record: Record) -> Color:
    """Returns black for maximum likelihood, and light to dark colours for increasing strength."""
    number = len(record["lambdas"]) - 1
    return "black" if index == 0 else colormaps["plasma_r"](0.15 + 0.7 * (index - 1) / max(1, number - 1))


def _label(strength: float) -> str:
    return "λ = 0 (maximum likelihood)" if strength == 0 else f"λ = {strength:g}"


def draw_identities(record: Record) -> Figure:
    """Draws the errors of equations (3) and (4) on logarithmic axes, with the expected and the observed orders."""
    figure = Figure(figsize=(8.6, 3.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, errors = np.array(record["steps"]), np.array(record["difference"])
    middle = np.median(errors, 0)
    left.loglog(steps, errors.T, color="#1f6fb4", alpha=0.25, linewidth=0.8)
    order = np.mean(record["difference_orders"])
    left.loglog(steps, middle, "o-", color="#1f6fb4", markersize=4, label=f"median, observed order {order:.3f}")
    left.loglog(steps, middle[0] * 3 * steps / steps[0], "--", color="#777777", label="order 1")
    high, low = record["difference_fitted"]
    left.axvspan(low, high, color="#777777", alpha=0.08, linewidth=0, label="where the order is measured")
    left.set_xlabel("step h")
    left.set_ylabel("relative error")
    left.set_title("(3): finite difference against ‖Ju‖²", fontsize=10)
    numbers, errors = np.array(record["numbers"]), np.array(record["isotropic"])
    label = f"root mean square, observed order {record['isotropic_order']:.3f}"
    right.loglog(numbers, errors, "o", color="#d1662a", markersize=5, label=label)
    right.loglog(numbers, record["isotropic_predicted"], "--", color="#777777", label="theory, order −1/2")
    right.set_xlabel("directions averaged")
    right.set_title("(4): average of ‖Ju‖² against ‖J‖²/d", fontsize=10)
    _plain_ticks(right)
    for ax, place in ((left, "upper left"), (right, "upper right")):
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False, loc=place)
    left.set_ylim(top=left.get_ylim()[1] * 30)
    return figure
