"""The runs of DSDPG with a penalty on its world model: their settings, and what is measured of them."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.config import TrainConfig, configure
from sobolev.experiments.api import Record, Say
from sobolev.experiments.parts import FOLDER, kept
from sobolev.experiments.trained import final_returns, settings_of, trained
from sobolev.experiments.transition.measure import measured


@dataclass(frozen=True)
class TransitionConfig:
    """Sizes of the study."""

    task: str = "gym:InvertedDoublePendulum-v5"
    """task of the runs"""
    out: Path = Path("results/transition")
    """folder for the figure (PNG and PDF), the numbers (JSON) and the runs"""
    regularizers: tuple[str, ...] = ("jacobian", "jacobian-norm")
    """penalties to compare (--regularizer)"""
    strengths: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """coefficients λ (--penalty.transition), increasing; a run without penalty is always there"""
    bound: float = 1.01
    """slope from which jacobian-norm penalises; 1 / discount is where the contraction condition begins"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """seeds, which are trained in one program"""
    steps: int = 5000
    """env steps per seed of each run"""
    updates_per_step: int = 4
    """updates per agent step; the paper has 10"""
    episodes: int = 20
    """episodes per seed of the evaluation after training"""
    states: int = 256
    """states per seed at which the model is measured, from episodes of the trained policy"""


class Cell(NamedTuple):
    """A run of the study."""

    regularizer: str
    strength: float

    def __str__(self) -> str:
        return f"{self.regularizer}, λ {self.strength:g}" if self.strength else "no penalty"


NONE = Cell("none", 0.0)
"""Without a penalty."""


def cells(config: TransitionConfig) -> list[Cell]:
    """Returns the runs of the study: without a penalty, then each penalty at every strength."""
    return [NONE, *(Cell(name, strength) for name in config.regularizers for strength in config.strengths)]


def run_name(cell: Cell) -> str:
    """Returns the name of a run's folder."""
    return f"{cell.regularizer.replace(':', '-')}-{cell.strength:g}"


def train_config(config: TransitionConfig, cell: Cell) -> TrainConfig[Any]:
    """Returns the config of a run. They differ in the penalty alone."""
    shared = {
        "steps": config.steps,
        "seeds": config.seeds,
        "updates_per_step": config.updates_per_step,
        "evaluation.every": max(1, config.steps // 8),
        "log.tensorboard": False,
        "run": config.out / "runs" / run_name(cell),
    }
    if cell != NONE:
        shared |= {"regularizer": cell.regularizer, "penalty.transition": cell.strength}
    if cell.regularizer == "jacobian-norm":
        shared["penalty.bound"] = config.bound
    return configure(config.task, method="dsdpg", preset="laptop", settings=shared)


def train_all(config: TransitionConfig, say: Say) -> list[Record]:
    """Trains the runs. Returns a record per run, with the fields of `Cell`, those of `trained`, and `model`, what
    `measured` finds for each seed.

    A record that is kept (see `parts.kept`) or a run that is complete is not computed again."""
    records = []
    for cell in cells(config):
        begun = time.monotonic()
        settings = {"run": settings_of(train_config(config, cell))}
        settings |= {"episodes": config.episodes, "states": config.states}
        file = config.out / FOLDER / f"{run_name(cell)}.json"
        record = kept(file, settings, partial(_record, config, cell))
        records.append(record)
        returns, kappa = final_returns(record), np.mean([seed["kappa"] for seed in record["model"]])
        seconds = time.monotonic() - begun
        say(f"{cell}: return {np.mean(returns):.1f} ± {np.std(returns):.1f}, κ {kappa:.2f}, {seconds:.0f} s")
    return records


def _record(config: TransitionConfig, cell: Cell) -> Record:
    folder, found = trained(train_config(config, cell), config.episodes)
    return {**cell._asdict(), **found, "model": measured(folder, config.states)}
