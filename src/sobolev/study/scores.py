"""Score files: curves of returns over env steps, one per seed, in the schema that the field uses."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np

from sobolev.errors import UserError


class Score(TypedDict):
    """One seed's curve: returns `ys` at env steps `xs`."""

    task: str
    method: str
    seed: int
    xs: list[float]
    ys: list[float]


class Curve(NamedTuple):
    """Mean and standard deviation (population) over `seeds` curves at the env steps that all of them have."""

    steps: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    seeds: int


def read(path: Path) -> list[Score]:
    """The curves of a score file. Raises UserError where there is none, or it is none."""
    try:
        scores = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: is its folder a run of sobolev?") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(scores, list) or not all({"task", "method", "seed", "xs", "ys"} <= set(s) for s in scores):
        raise UserError(f"{path} is not a score file: a list of {{task, method, seed, xs, ys}}")
    return scores


def published_dreamerv3() -> list[Score]:
    """Training returns that DreamerV3's authors published for DeepMind Control from proprioception.

    Five seeds per task, every 10,000 env steps up to 490,000, at train ratio 512 (danijar/dreamerv3, scores)."""
    text = resources.files("sobolev.study").joinpath("published/dmc_proprio_dreamerv3_official.json").read_text()
    return json.loads(text)


def curve(scores: Sequence[Score], smooth: int = 1) -> Curve:
    """Mean curve of several seeds; points are means over `smooth` neighbours first. Raises ValueError for no curves."""
    if not scores:
        raise ValueError("no curves to average")
    steps = sorted(set.intersection(*(set(score["xs"]) for score in scores)))
    values = np.array([[dict(zip(s["xs"], s["ys"], strict=True))[x] for x in steps] for s in scores], float)
    if smooth > 1:
        window = np.ones(min(smooth, values.shape[1]))
        share = np.convolve(np.ones(values.shape[1]), window, "same")
        values = np.array([np.convolve(row, window, "same") / share for row in values])
    return Curve(np.array(steps, float), values.mean(0), values.std(0), len(scores))
