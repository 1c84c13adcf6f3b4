"""Total-variation errors of the smoothed estimate of finite MDPs (arXiv 2605.23089, Section 3.1), over seeds."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from threadpoolctl import threadpool_limits

from sobolev.experiments.api import Record, Say
from sobolev.experiments.intervals import NORMAL, half_width
from sobolev.smoothness import tabular


@dataclass(frozen=True)
class TabularConfig:
    """Sizes of the study; the defaults take two to three minutes on one core."""

    out: Path = Path("results/tabular")
    """folder for the figures (PNG and PDF) and the numbers (JSON)"""
    seeds: tuple[int, ...] = tuple(range(30))
    """seeds; each one draws its own MDP and a growing dataset"""
    side: int = 24
    """states of the MDPs on a line"""
    plane: int = 5
    """states along each side of the MDP on a plane"""
    actions: int = 2
    """number of actions; states and actions are visited uniformly"""
    numbers: tuple[int, ...] = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    """transitions in the dataset, increasing"""
    lambdas: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    """strengths of the smoothing; 0, plain maximum likelihood, is always included"""
    epsilons: tuple[float, ...] = (1.0, 2.0, 4.0)
    """radii of the neighbourhoods, in units of the grid's spacing"""


class Case(NamedTuple):
    """A family of MDPs; `width` and `jump` as in `grid_mdp`."""

    title: str
    dimensions: int
    width: float
    jump: float = 0.0


CASES = (Case("smooth, on a line", 1, 0.1), Case("smooth, on a plane", 2, 0.25), Case("a jump, on a line", 1, 0.1, 0.5))
"""The families of MDPs. Neighbours on the plane are six times as far apart as on the line, so its transition
probabilities are wider to be smooth."""


def measure(config: TabularConfig, say: Say) -> list[Record]:
    """Returns a record for every case, and one for only the states beside the jump.

    A record has `errors` [seeds][numbers][lambdas][epsilons], the total variation distance to the true transition
    probabilities, `lambdas` (0 first), `epsilons` in units of the embedding, and the fields of `summarised`. `say` gets
    a line per case.
    """
    records = []
    # For thousands of small matrices, several threads per inversion are slower than one.
    with threadpool_limits(limits=1, user_api="blas"):
        for case in CASES:
            start = time.monotonic()
            records += _measure(config, case)
            say(f"{case.title}: {len(config.seeds)} seeds, {time.monotonic() - start:.0f} s")
    return records


def _measure(config: TabularConfig, case: Case) -> list[Record]:
    side = config.side if case.dimensions == 1 else config.plane
    # A thousandth more, so that rounding does not exclude neighbours at exactly the radius.
    epsilons = [1.001 * reach / (side - 1) for reach in config.epsilons]
    errors, beside = _errors(config, case, side, epsilons)
    facts = {"states": side**case.dimensions, "dimensions": case.dimensions, "width": case.width, "jump": case.jump}
    facts |= {"numbers": list(config.numbers), "lambdas": [0.0, *config.lambdas], "epsilons": epsilons}
    facts |= {"spacings": list(config.epsilons)}
    records = [{"title": case.title, **facts, **summarised(errors.mean(-1))}]
    if case.jump:
        title = f"the {int(beside.sum())} states beside the jump"
        records.append({"title": title, **facts, **summarised(errors[..., beside].mean(-1))})
    return records


def _errors(
    config: TabularConfig, case: Case, side: int, epsilons: list[float]
) -> tuple[Float[np.ndarray, "seeds numbers lambdas epsilons states"], Bool[np.ndarray, " states"]]:
    """Returns the errors of a case, and which states lie within two steps of the centre, where a jump would be."""
    errors, strengths, embedding = [], [0.0, *config.lambdas], np.zeros((0, case.dimensions))
    for seed in config.seeds:
        rng = np.random.default_rng([seed, 1])
        mdp = tabular.grid_mdp(side, case.dimensions, config.actions, rng, width=case.width, jump=case.jump)
        errors.append(tabular.error_curve(mdp, config.numbers, strengths, epsilons, seed))
        embedding = mdp.embedding
    first = embedding[:, 0]
    middle = (first[first <= 0.5].max() + first[first > 0.5].min()) / 2
    return np.stack(errors), np.abs(first - middle) < 2 / (side - 1)


def summarised(errors: Float[np.ndarray, "seeds numbers lambdas epsilons"]) -> Record:
    """Returns the mean over seeds with the half-width of its normal 95% interval, and the same for the difference to
    lambda = 0.

    The difference is paired, on the same MDP and data. Above 0, smoothing makes the estimate worse.
    """
    differences = errors - errors[:, :, :1]
    return {
        "errors": _rounded(errors),
        "mean": _rounded(errors.mean(0)),
        "interval": _rounded(half_width(errors, NORMAL)),
        "difference": _rounded(differences.mean(0)),
        "difference_interval": _rounded(half_width(differences, NORMAL)),
    }


def losses(record: Record) -> Bool[np.ndarray, "numbers lambdas epsilons"]:
    """Returns where smoothing is worse than maximum likelihood, with the paired interval above 0."""
    return np.array(record["difference"]) > np.array(record["difference_interval"])


def gains(record: Record) -> Bool[np.ndarray, "numbers lambdas epsilons"]:
    """Returns where smoothing is better than maximum likelihood, with the paired interval below 0."""
    return np.array(record["difference"]) < -np.array(record["difference_interval"])


def sentences(records: list[Record]) -> list[str]:
    """Returns a sentence per record: how often smoothing is better or worse, and where the effect is largest."""
    lines = []
    for record in records:
        better, worse, total = gains(record).sum(), losses(record).sum(), gains(record)[:, 1:].size
        difference, mean = np.array(record["difference"]), np.array(record["mean"])
        ends = [np.unravel_index(index, difference.shape) for index in (difference.argmin(), difference.argmax())]
        best, worst = (
            f"{mean[at]:.3f} against {mean[at[0], 0, at[2]]:.3f} (lambda {record['lambdas'][at[1]]:g}, radius "
            f"{record['spacings'][at[2]]:g}, {record['numbers'][at[0]]} transitions)"
            for at in ends
        )
        text = f"{record['title']}: smoothing is better at {better} of {total} settings, most {best}"
        lines.append(text + (f"; worse at {worse}, most {worst}" if worse else "; worse at none"))
    return lines


def _rounded(values: np.ndarray | np.floating) -> list[Any]:
    return np.round(values, 6).tolist()
