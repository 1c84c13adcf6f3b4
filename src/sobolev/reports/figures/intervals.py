"""Intervals of the statistics, and performance profiles."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from sobolev.plotting.panels import Line, Panel, draw
from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.aggregates import normalised, scales
from sobolev.reports.analysis.comparison import FAMILIES, Comparison
from sobolev.reports.analysis.measures import FINAL, Measure
from sobolev.reports.figures.aggregate import legend
from sobolev.reports.page.content import Illustration, Material

THRESHOLDS = np.linspace(0, 1, 101)


def intervals(material: Material) -> list[Illustration]:
    """Returns a figure for every measure and every family of tasks."""
    return material.of_families(of_family)


def of_family(comparison: Comparison, family: str, measure: Measure) -> Illustration | None:
    """Returns the figure of the tasks that all methods have; None if there are none."""
    lines = legend(comparison, comparison.tasks(family), comparison.main)
    scale = scales(comparison, comparison.tasks(family, list(lines)))
    if not scale:
        return None
    own = {lines[label]: normalised(comparison, label, scale, measure) for label in lines}
    panels = [_interval_panel(name, statistic, own) for name, statistic in statistics.NAMED.items()]
    panels.append(_profile_panel(own))
    scores = "Scores are returns" if measure is FINAL else f"Scores: {measure.title.lower()}, as returns"
    caption = (
        "Points: the statistic, lines: its 95% stratified bootstrap interval over seeds. Profile: the share of runs "
        f"above a score, with its 95% interval. {scores} divided by 1000 on DeepMind Control, by the mean score of the "
        "baseline elsewhere."
    )
    of = "" if measure is FINAL else f"-{measure.name}"
    title = (
        f"Intervals: {FAMILIES[family]}"
        if measure is FINAL
        else f"Intervals, {measure.title.lower()}: {FAMILIES[family]}"
    )
    return Illustration(f"statistics{of}-{family}", title, caption, draw(panels, list(lines.values())))


def _interval_panel(name: str, statistic: statistics.Statistic, own: Mapping[Line, statistics.Scores]) -> Panel:
    intervals = {line: statistics.interval(statistic, scores) for line, scores in own.items()}

    def paint(ax: Axes) -> None:
        for row, (line, interval) in enumerate(intervals.items()):
            ax.plot([interval.low, interval.high], [-row, -row], color=line.color, linewidth=5, alpha=0.35)
            ax.plot(interval.value, -row, "o", color=line.color, markersize=5)
        ax.set_ylim(-len(intervals) + 0.4, 0.6)
        ax.set_yticks([])
        ax.margins(x=0.15)
        ax.set_xlabel("lower is better" if name == "optimality gap" else "higher is better", fontsize=7.5)
        ax.grid(alpha=0.25, axis="x", linewidth=0.6)

    parts = [f"{line.label} {i.value:.3f} ({i.low:.3f} to {i.high:.3f})" for line, i in intervals.items()]
    return Panel(name, paint, f"{name}: {'; '.join(parts)}")


def _profile_panel(own: Mapping[Line, statistics.Scores]) -> Panel:
    profile = partial(statistics.profile, thresholds=THRESHOLDS.tolist())
    profiles = {
        line: (profile(scores), statistics.bounds(statistics.distribution(profile, scores, resamples=1000)))
        for line, scores in own.items()
    }

    def paint(ax: Axes) -> None:
        for line, (share, (low, high)) in profiles.items():
            ax.fill_between(THRESHOLDS, low, high, color=line.color, alpha=0.15, linewidth=0)
            ax.plot(THRESHOLDS, share, color=line.color, linewidth=1.5)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("normalised score τ", fontsize=7.5)
        ax.set_ylabel("share of runs above τ", fontsize=7.5)
        ax.grid(alpha=0.25, linewidth=0.6)

    return Panel("performance profile", paint, "share of runs above each normalised score")
