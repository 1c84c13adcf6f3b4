"""When does smoothing help a tabular estimate (paper 1, Section 3.1), and how fast equations (3) and (4) hold."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sobolev.config.codec import encode
from sobolev.errors import UserError
from sobolev.smoothness import tabular

NORMAL_95 = 1.959964
"""Half-width of a 95% interval, in standard errors."""


@dataclass(frozen=True)
class TabularConfig:
    """Sizes of the study; the defaults take two to three minutes on one core."""

    out: Path = Path("results/tabular")
    """folder for the figures (PNG and PDF) and the numbers (JSON)"""
    seeds: tuple[int, ...] = tuple(range(30))
    """each draws a law and a growing dataset of its own"""
    side: int = 24
    """states of the laws on a line"""
    plane: int = 5
    """states along each side of the law on a plane"""
    actions: int = 2
    """actions; states and actions are visited uniformly"""
    numbers: tuple[int, ...] = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    """transitions in the dataset, increasing"""
    lambdas: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0, 10.0)
    """strengths of the smoothing; 0, plain maximum likelihood, is always there"""
    epsilons: tuple[float, ...] = (1.0, 2.0, 4.0)
    """radii of the neighbourhoods, in distances between neighbours on the grid"""


class Case(NamedTuple):
    """A family of laws; `width` and `jump` as in `grid_mdp`."""

    title: str
    dimensions: int
    width: float
    jump: float = 0.0


CASES = (Case("smooth, on a line", 1, 0.1), Case("smooth, on a plane", 2, 0.25), Case("a jump, on a line", 1, 0.1, 0.5))
"""Neighbours on the plane are six times as far apart as on the line: its law is wider, so as to be smooth there."""


def check(config: TabularConfig) -> None:
    """Raises UserError for sizes that the study cannot have."""
    if len(set(config.seeds)) < 2 or min(config.seeds) < 0:
        raise UserError("--seeds needs two different seeds at least, from 0 on: the intervals are over seeds")
    for flag, value, least in (("side", config.side, 4), ("plane", config.plane, 2), ("actions", config.actions, 1)):
        if value < least:
            raise UserError(f"--{flag} is {value}, but must be at least {least}")
    if not config.numbers or min(config.numbers) < 1 or sorted(set(config.numbers)) != list(config.numbers):
        raise UserError("--numbers must increase, from 1 on, as in --numbers 100 1000 10000")
    for flag, values in (("lambdas", config.lambdas), ("epsilons", config.epsilons)):
        if not values or not all(0 < value < float("inf") for value in values):
            raise UserError(f"--{flag} must be above 0")


def run(config: TabularConfig, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Errors of every case, and apart from them those of the states beside the jump, as JSON-able records.

    A record has `errors` [seeds][numbers][lambdas][epsilons], the total variation from the true law, `lambdas` (0
    first), `epsilons` in the embedding's units, and the fields of `summary`. `say` gets a line per case.
    """
    records = []
    for case in CASES:
        start = time.monotonic()
        side = config.side if case.dimensions == 1 else config.plane
        # A thousandth more, so that rounding does not cut off neighbours at exactly the radius.
        epsilons = [1.001 * reach / (side - 1) for reach in config.epsilons]
        found, beside = _errors(config, case, side, epsilons)
        facts = {"states": side**case.dimensions, "dimensions": case.dimensions, "width": case.width, "jump": case.jump}
        facts |= {"numbers": list(config.numbers), "lambdas": [0.0, *config.lambdas], "epsilons": epsilons}
        facts |= {"spacings": list(config.epsilons)}
        records.append({"title": case.title, **facts, **summary(found.mean(-1))})
        if case.jump:
            title = f"the {int(beside.sum())} states beside the jump"
            records.append({"title": title, **facts, **summary(found[..., beside].mean(-1))})
        say(f"{case.title}: {len(config.seeds)} seeds, {time.monotonic() - start:.0f} s")
    return records


def _errors(
    config: TabularConfig, case: Case, side: int, epsilons: list[float]
) -> tuple[Float[np.ndarray, "seeds numbers lambdas epsilons states"], Bool[np.ndarray, " states"]]:
    """Errors of a case, and which states lie within two steps of the middle, where a jump would be."""
    errors, strengths, embedding = [], [0.0, *config.lambdas], np.zeros((0, case.dimensions))
    for seed in config.seeds:
        rng = np.random.default_rng([seed, 1])
        mdp = tabular.grid_mdp(side, case.dimensions, config.actions, rng, width=case.width, jump=case.jump)
        errors.append(tabular.error_curve(mdp, config.numbers, strengths, epsilons, seed))
        embedding = mdp.embedding
    first = embedding[:, 0]
    middle = (first[first <= 0.5].max() + first[first > 0.5].min()) / 2
    return np.stack(errors), np.abs(first - middle) < 2 / (side - 1)


def summary(errors: Float[np.ndarray, "seeds numbers lambdas epsilons"]) -> dict[str, Any]:
    """Mean over seeds with the half-width of its normal 95% interval, and the same of the difference to lambda = 0.

    The difference is paired, on the same law and data: above 0, smoothing loses.
    """
    differences = errors - errors[:, :, :1]
    return {
        "errors": _rounded(errors),
        "mean": _rounded(errors.mean(0)),
        "interval": _rounded(_half_width(errors)),
        "difference": _rounded(differences.mean(0)),
        "difference_interval": _rounded(_half_width(differences)),
    }


def losses(record: dict[str, Any]) -> Bool[np.ndarray, "numbers lambdas epsilons"]:
    """Where smoothing is worse than maximum likelihood, with the paired interval above 0."""
    return np.array(record["difference"]) > np.array(record["difference_interval"])


def gains(record: dict[str, Any]) -> Bool[np.ndarray, "numbers lambdas epsilons"]:
    """Where smoothing is better than maximum likelihood, with the paired interval below 0."""
    return np.array(record["difference"]) < -np.array(record["difference_interval"])


def lines(records: list[dict[str, Any]]) -> list[str]:
    """A sentence per record: how often smoothing gains and loses, and the largest of both."""
    found = []
    for record in records:
        better, worse, total = gains(record).sum(), losses(record).sum(), gains(record)[:, 1:].size
        difference, mean = np.array(record["difference"]), np.array(record["mean"])
        ends = [np.unravel_index(index, difference.shape) for index in (difference.argmin(), difference.argmax())]
        told = [
            f"{mean[at]:.3f} against {mean[at[0], 0, at[2]]:.3f} (lambda {record['lambdas'][at[1]]:g}, radius "
            f"{record['spacings'][at[2]]:g}, {record['numbers'][at[0]]} transitions)"
            for at in ends
        ]
        text = f"{record['title']}: smoothing is better at {better} of {total} settings, most {told[0]}"
        found.append(text + (f"; worse at {worse}, most {told[1]}" if worse else "; worse at none"))
    return found


def facts_of(config: Any, command: str) -> dict[str, Any]:
    """What made the numbers: command, settings, versions."""
    import jax

    from sobolev._version import __version__

    versions = {"sobolev": __version__, "numpy": np.__version__, "jax": jax.__version__}
    return {"command": command, "settings": encode(config), "versions": versions}


def _half_width(values: np.ndarray) -> np.ndarray:
    return NORMAL_95 * values.std(0, ddof=1) / np.sqrt(len(values))


def _rounded(values: np.ndarray) -> Any:
    return np.round(values, 6).tolist()
