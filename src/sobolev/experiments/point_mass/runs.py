"""The methods on the point mass: their settings, their runs and their returns."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.config import TrainConfig, configure
from sobolev.experiments.api import Record, Say
from sobolev.reports.results.scores import read
from sobolev.training.evaluation import evaluate
from sobolev.training.start import start


@dataclass(frozen=True)
class Variant:
    """A method to compare."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings that differ from the defaults of the method, by path"""


VARIANTS = {
    "dsdpg": Variant("dsdpg"),
    "dsdpg-mmd": Variant("dsdpg", {"discrepancy.kind": "mmd"}),
    "mage": Variant("mage"),
    "mmd": Variant("mmd"),
    "iqn": Variant("iqn"),
    "td3": Variant("td3"),
}
"""The methods: DSDPG with MSMMD and with plain MMD, and the baselines."""


@dataclass(frozen=True)
class PointMassConfig:
    """Sizes of the study."""

    out: Path = Path("results/point-mass")
    """folder for the figure (PNG and PDF), the numbers (JSON) and the runs"""
    locations: tuple[int, ...] = (1, 2, 4, 8)
    """numbers of reward locations N, increasing"""
    methods: tuple[str, ...] = tuple(VARIANTS)
    """methods to compare: dsdpg, dsdpg-mmd, mage, mmd, iqn, td3"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """seeds, which are trained in one program"""
    steps: int = 5000
    """env steps per seed of each run"""
    updates_per_step: int = 4
    """updates per agent step; the paper has 10"""
    episodes: int = 40
    """episodes per seed of the evaluation after training"""


def train_config(config: PointMassConfig, method: str, number: int) -> TrainConfig:
    """Returns the config of a method with N locations. All methods have the same networks, batch, exploration and
    number of updates."""
    variant = VARIANTS[method]
    shared = {
        "steps": config.steps,
        "seeds": config.seeds,
        "updates_per_step": config.updates_per_step,
        "batch_size": 64,
        "env.number": 4,
        "env.workers": 0,
        "evaluation.every": max(1, config.steps // 8),
        "evaluation.episodes": 8,
        "log.tensorboard": False,
        "run": config.out / "runs" / f"{method}-{number}",
    }
    settings = shared | dict(variant.settings)
    return configure(f"toy:point-mass-{number}", method=variant.method, preset="laptop", settings=settings)


def train_all(config: PointMassConfig, say: Say) -> list[Record]:
    """Trains the runs. Returns a record per method and N, with `returns` [seeds] (means over the episodes after
    training) and `curve` (`steps` and `returns` of the evaluations).

    Runs that are complete are not trained again. `say` gets a line per run. Raises SystemExit with the status of a run
    that a signal ended.
    """
    records = []
    for method in config.methods:
        for number in config.locations:
            begun = time.monotonic()
            folder, status = start(train_config(config, method, number))
            if status:
                raise SystemExit(status)
            returns = [seed["mean"] for seed in evaluate(folder, config.episodes)]
            scores = read(folder / "scores.json")
            curve = {"steps": scores[0]["xs"], "returns": [score["ys"] for score in scores]}
            records.append({"method": method, "locations": number, "returns": returns, "curve": curve})
            seconds = time.monotonic() - begun
            say(f"{method}, N = {number}: return {np.mean(returns):.1f} ± {np.std(returns):.1f}, {seconds:.0f} s")
    return records


def final_returns(record: Record) -> Sequence[float]:
    """Returns the mean return of every seed's episodes after training."""
    return record["returns"]


def returns_while_training(record: Record) -> Sequence[float]:
    """Returns the mean of every seed's evaluation returns during training, which is high if a method learns early."""
    steps, returns = record["curve"]["steps"], np.array(record["curve"]["returns"])
    return (np.trapezoid(returns, steps) / (steps[-1] - steps[0])).tolist()
