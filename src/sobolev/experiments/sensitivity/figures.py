"""The figure of `sobolev sensitivity`: the report's Figure 9, with a note."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from sobolev.reports.figures.sensitivity import picture


def draw(records: Sequence[dict[str, Any]], note: str = "") -> Figure:
    """A column per task and table, a row per number; single seeds thin, their mean thick."""
    return picture(records, note).figure
