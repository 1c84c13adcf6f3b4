"""What figures show, as numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D


def x(line: Line2D) -> np.ndarray:
    """Where a line's points are along the axis."""
    return np.asarray(line.get_xdata(), np.float64)


def y(line: Line2D) -> np.ndarray:
    """How high they are."""
    return np.asarray(line.get_ydata(), np.float64)


def grid(axes: Sequence[Any], *shape: int) -> Any:
    """Axes of a figure as an array of rows and columns."""
    return np.array(axes, object).reshape(shape)


def heights(bars: Sequence[Artist]) -> list[float]:
    """Of the bars of an axis."""
    return [bar.get_height() for bar in bars]  # pyright: ignore[reportAttributeAccessIssue]
