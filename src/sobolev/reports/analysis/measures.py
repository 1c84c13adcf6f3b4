"""The measures by which seeds are compared: a number for every seed of a method on a task.

A new measure is a function and a line of `MEASURES`. The tables and figures of sample efficiency, paired differences,
aggregates and single seeds then include it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sobolev.reports.results.runs import Final, Run
from sobolev.reports.results.scores import Series, until

NEAR = 0.02
"""Largest relative distance between an env step and that of an evaluation after training which counts for it."""


class Cell(NamedTuple):
    """The seeds of a label on a task."""

    runs: tuple[Run, ...]
    scores: Mapping[int, Series]
    """evaluation returns, by seed; every series has a point"""
    episodes: Mapping[int, Series]
    """returns of training episodes, by seed"""
    finals: Mapping[int, Final]
    """evaluations after training, by seed"""


class Span(NamedTuple):
    """The env steps over which the labels of a task are compared: the first and the last at which all have returns."""

    start: float
    end: float


@dataclass(frozen=True)
class Measure:
    """A number for every seed."""

    name: str
    title: str
    """begins the title of a table, with a capital letter"""
    about: str
    """a sentence that says what the number is"""
    of: Callable[[Cell, Span], Mapping[int, float]]
    """returns the number of each seed, in the order of `cell.scores`"""


def final_return(cell: Cell, span: Span) -> dict[int, float]:
    """Returns the return of each seed at the end of the span: of the evaluation after training, if all seeds have one
    at that env step, else of the last evaluation during training.
    """
    finals = _finals(cell, span.end)
    if finals is not None:
        return {seed: final.score for seed, final in finals.items()}
    return {seed: float(until(one, span.end).returns[-1]) for seed, one in cell.scores.items()}


def final_episodes(cell: Cell, span: Span) -> int | None:
    """Returns the smallest number of episodes in `final_return`; None if that is of evaluations during training."""
    finals = _finals(cell, span.end)
    return None if finals is None else min(final.episodes for final in finals.values())


def _finals(cell: Cell, end: float) -> dict[int, Final] | None:
    near = {seed: f for seed, f in cell.finals.items() if seed in cell.scores and abs(f.env_steps - end) <= NEAR * end}
    return {seed: near[seed] for seed in cell.scores} if len(near) == len(cell.scores) else None


def area_under_curve(cell: Cell, span: Span) -> dict[int, float]:
    """Returns the area under each seed's evaluation curve over the span, divided by the length of the span.

    The curve is interpolated linearly (trapezoidal rule), also at the ends of the span. For a span of a single env step
    this is the return there.
    """
    return {seed: _mean_height(one, span) for seed, one in cell.scores.items()}


def _mean_height(one: Series, span: Span) -> float:
    if span.end <= span.start:
        return float(np.interp(span.end, one.steps, one.returns))
    inside = one.steps[(one.steps > span.start) & (one.steps < span.end)]
    steps = np.concatenate([[span.start], inside, [span.end]])
    return float(np.trapezoid(np.interp(steps, one.steps, one.returns), steps) / (span.end - span.start))


FINAL = Measure(
    "final", "Final return", "Return at the last env step that all methods reach on the task.", final_return
)
AREA = Measure(
    "area",
    "Area under the curve",
    "The mean height of the evaluation curve up to the last env step that all methods reach on the task (trapezoidal "
    "rule): of two methods with the same final return, the one that learns sooner has the larger area.",
    area_under_curve,
)
MEASURES = (FINAL, AREA)
