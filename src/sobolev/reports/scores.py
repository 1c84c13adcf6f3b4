"""Returns over env steps: the field's score files, one seed's series, and the mean curve of several."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float

from sobolev.errors import UserError


class Score(TypedDict):
    """One entry of a score file: returns `ys` of one seed at env steps `xs`."""

    task: str
    method: str
    seed: int
    xs: list[float]
    ys: list[float | None]
    """null for a return that was not finite"""


class Series(NamedTuple):
    """One seed's returns over env steps, which increase."""

    steps: Float[np.ndarray, " points"]
    returns: Float[np.ndarray, " points"]


class Curve(NamedTuple):
    """A mean over env steps with a band around it, and of how many seeds."""

    steps: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]
    seeds: int


def read(path: Path) -> list[Score]:
    """The entries of a score file. Raises UserError where there is none, or it is none."""
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: is its folder a run of sobolev?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(scores, list) or not all(_is_score(score) for score in scores):
        raise UserError(f"{path} is not a score file: a list of {{task, method, seed, xs, ys}}")
    return scores


def _is_score(entry: object) -> bool:
    if not isinstance(entry, Mapping) or not {"task", "method", "seed", "xs", "ys"} <= set(entry):
        return False
    xs, ys = entry["xs"], entry["ys"]
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        return False
    return all(isinstance(x, (int, float)) for x in xs) and all(isinstance(y, (int, float, NoneType)) for y in ys)


def task_name(field_name: str) -> str:
    """A task in the papers' spelling: walker-walk for dmc_walker_walk, gym:Ant-v5 for gym_Ant-v5."""
    family, _, name = field_name.partition("_")
    return name.replace("_", "-") if family == "dmc" else f"{family}:{name}" if name else field_name


def series(score: Score) -> Series:
    """A seed's series; points at the same env step (episodes that end together) become their mean.

    Points whose return is missing are left out; `missing` counts them.
    """
    xs, ys = np.array(score["xs"], float), np.array(score["ys"], float)
    xs, ys = xs[np.isfinite(ys)], ys[np.isfinite(ys)]
    steps, place, numbers = np.unique(xs, return_inverse=True, return_counts=True)
    return Series(steps, np.bincount(place, ys, len(steps)) / numbers)


def missing(score: Score) -> int:
    """Points whose return was not finite: null, or NaN in files of earlier versions."""
    return int(np.sum(~np.isfinite(np.array(score["ys"], float))))


def binned(found: Sequence[Series], width: float | None = None) -> list[Series]:
    """Series of training episodes averaged over bins of env steps, at the bins' ends.

    The width of a bin is the same for all: by default a fiftieth of the longest series, and no less than the largest
    gap between episodes, rounded up to 1, 2 or 5 times a power of ten.
    """
    if width is None:
        gaps = [np.diff(one.steps, prepend=0.0).max(initial=0.0) for one in found]
        width = _round_up(max([*gaps, *(one.steps[-1] / 50 for one in found if one.steps.size)]))
    averaged = []
    for one in found:
        ends, place, numbers = np.unique(np.ceil(one.steps / width), return_inverse=True, return_counts=True)
        averaged.append(Series(ends * width, np.bincount(place, one.returns, len(ends)) / numbers))
    return averaged


def _round_up(width: float) -> float:
    power = 10.0 ** np.floor(np.log10(max(width, 1.0)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= width))


def same_grid(found: Sequence[Series]) -> bool:
    """Whether all series have their points at the same env steps."""
    return all(np.array_equal(one.steps, found[0].steps) for one in found)


def aligned(found: Sequence[Series]) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "series points"]]:
    """Env steps and the returns of all series there; on different grids, linearly between points.

    The steps are all that any series has between the latest beginning and the earliest end. Raises ValueError where
    nothing is left.
    """
    if not found or not all(one.steps.size for one in found):
        raise ValueError("a series without points cannot be aligned")
    if same_grid(found):
        return found[0].steps, np.stack([one.returns for one in found])
    first, last = max(one.steps[0] for one in found), min(one.steps[-1] for one in found)
    steps = np.unique(np.concatenate([one.steps for one in found]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not steps.size:
        raise ValueError("the series have no env steps in common")
    return steps, np.stack([np.interp(steps, one.steps, one.returns) for one in found])


def mean_curve(found: Sequence[Series]) -> Curve:
    """Mean over seeds with one standard deviation (population) on either side. Raises ValueError as `aligned` does."""
    steps, returns = aligned(found)
    mean, std = returns.mean(0), returns.std(0)
    return Curve(steps, mean, mean - std, mean + std, len(found))


def until(one: Series, end: float) -> Series:
    """The part of a series up to an env step."""
    inside = one.steps <= end
    return Series(one.steps[inside], one.returns[inside])
