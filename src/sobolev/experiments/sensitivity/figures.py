"""The figure of `sobolev sensitivity`: Figure 9 of the report, with a note."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from sobolev.reports.figures.sensitivity import picture


def draw(records: Sequence[dict[str, Any]], note: str = "") -> Figure:
    """Draws a column per task and distribution and a row per number, with thin lines for seeds and a thick one for
    their mean."""
    return picture(records, note).figure
