"""Returns over env steps: score files, the series of one seed, and the mean curve of several."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float

from sobolev.errors import UserError
from sobolev.plotting.panels import Curve


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


def read(path: Path) -> list[Score]:
    """Reads the entries of a score file. Raises UserError if the file does not exist or is not a score file."""
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
    """Returns a task of a score file in the papers' spelling: walker-walk for dmc_walker_walk, gym:Ant-v5 for
    gym_Ant-v5. A name with a colon is the task's own."""
    if ":" in field_name:
        return field_name
    family, _, name = field_name.partition("_")
    return name.replace("_", "-") if family == "dmc" else f"{family}:{name}" if name else field_name


def series(score: Score) -> Series:
    """Returns the series of a seed. Points at the same env step (episodes that end together) are averaged.

    Points without a return are left out; `missing` counts them.
    """
    xs, ys = np.array(score["xs"], float), np.array(score["ys"], float)
    xs, ys = xs[np.isfinite(ys)], ys[np.isfinite(ys)]
    steps, place, numbers = np.unique(xs, return_inverse=True, return_counts=True)
    return Series(steps, np.bincount(place, ys, len(steps)) / numbers)


def missing(score: Score) -> int:
    """Returns the number of points whose return was not finite: null, or NaN in files of earlier versions."""
    return int(np.sum(~np.isfinite(np.array(score["ys"], float))))


def binned(several: Sequence[Series], width: float | None = None) -> list[Series]:
    """Averages series of training episodes over bins of env steps; the points are at the ends of the bins.

    All bins have the same width. The default is a fiftieth of the longest series, but at least the largest gap between
    episodes, rounded up to 1, 2 or 5 times a power of ten.
    """
    if width is None:
        gaps = [np.diff(one.steps, prepend=0.0).max(initial=0.0) for one in several]
        width = _round_up(max([*gaps, *(one.steps[-1] / 50 for one in several if one.steps.size)]))
    averaged = []
    for one in several:
        ends, place, numbers = np.unique(np.ceil(one.steps / width), return_inverse=True, return_counts=True)
        averaged.append(Series(ends * width, np.bincount(place, one.returns, len(ends)) / numbers))
    return averaged


def _round_up(width: float) -> float:
    power = 10.0 ** np.floor(np.log10(max(width, 1.0)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= width))


def same_grid(several: Sequence[Series]) -> bool:
    """Returns whether all series have their points at the same env steps."""
    return all(np.array_equal(one.steps, several[0].steps) for one in several)


def aligned(several: Sequence[Series]) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "series points"]]:
    """Returns common env steps and the returns of all series there, interpolated linearly.

    The steps are those of all series between the latest first and the earliest last point. Raises ValueError if there
    are none.
    """
    if not several or not all(one.steps.size for one in several):
        raise ValueError("a series without points cannot be aligned")
    if same_grid(several):
        return several[0].steps, np.stack([one.returns for one in several])
    first, last = max(one.steps[0] for one in several), min(one.steps[-1] for one in several)
    steps = np.unique(np.concatenate([one.steps for one in several]))
    steps = steps[(steps >= first) & (steps <= last)]
    if not steps.size:
        raise ValueError("the series have no env steps in common")
    return steps, np.stack([np.interp(steps, one.steps, one.returns) for one in several])


def mean_curve(several: Sequence[Series]) -> Curve:
    """Returns the mean over seeds with one standard deviation (population) on either side. Raises like `aligned`."""
    steps, returns = aligned(several)
    mean, std = returns.mean(0), returns.std(0)
    return Curve(steps, mean, mean - std, mean + std, len(several))


def until(one: Series, end: float) -> Series:
    """Returns the part of a series up to an env step."""
    inside = one.steps <= end
    return Series(one.steps[inside], one.returns[inside])
