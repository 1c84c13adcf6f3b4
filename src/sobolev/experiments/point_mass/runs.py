"""The methods on the point mass: their settings, their runs and their returns."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.config import TrainConfig, configure
from sobolev.envs.families.toy import Layout
from sobolev.experiments.api import Record, Say
from sobolev.experiments.parts import FOLDER, kept
from sobolev.experiments.point_mass.gradients import STEP, compare
from sobolev.experiments.trained import final_returns, settings_of, trained


@dataclass(frozen=True)
class Variant:
    """A method to compare."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """settings that differ from the defaults of the method, by path"""


VARIANTS = {
    "dsdpg": Variant("dsdpg"),
    "dsdpg-mmd": Variant("dsdpg", {"discrepancy.kind": "mmd"}),
    "dsdpg-reward": Variant("dsdpg", {"dynamics.reward": "network"}),
    "mage": Variant("mage"),
    "mmd": Variant("mmd"),
    "iqn": Variant("iqn"),
    "td3": Variant("td3"),
}
"""The methods: DSDPG with MSMMD, with plain MMD, and with a network of its own for the reward; and the baselines."""


@dataclass(frozen=True)
class PointMassConfig:
    """Sizes of the study."""

    out: Path = Path("results/point-mass")
    """folder for the figures (PNG and PDF), the numbers (JSON) and the runs"""
    locations: tuple[int, ...] = (1, 4)
    """numbers of reward locations N, increasing"""
    dimensions: tuple[int, ...] = (1, 2, 4, 8, 16)
    """numbers of dimensions D of positions and actions, increasing: 1 or even"""
    noise: tuple[float, ...] = (0.0, 0.2)
    """standard deviations of the noise on velocities (--env.dynamics-noise), increasing"""
    methods: tuple[str, ...] = ("dsdpg", "dsdpg-mmd", "mage", "iqn", "td3")
    """methods to compare: dsdpg, dsdpg-mmd, dsdpg-reward, mage, mmd, iqn, td3"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """seeds, which are trained in one program"""
    steps: int = 5000
    """env steps per seed of each run"""
    updates_per_step: int = 4
    """updates per agent step; the paper has 10"""
    episodes: int = 40
    """episodes per seed of the evaluation after training"""
    states: int = 32
    """states per seed at which gradients are compared, from episodes of the trained policy"""
    rollouts: int = 64
    """rollouts of the simulator from each of these states"""


class Cell(NamedTuple):
    """A point mass of the study."""

    locations: int
    dimensions: int
    noise: float
    """standard deviation of the noise on velocities"""

    @property
    def layout(self) -> Layout:
        """The number of locations and of dimensions."""
        return Layout(self.locations, self.dimensions)

    def __str__(self) -> str:
        return f"N = {self.locations}, D = {self.dimensions}, noise {self.noise:g}"


def cells(config: PointMassConfig) -> list[Cell]:
    """Returns the point masses of the study: all combinations of locations, dimensions and noise."""
    return [Cell(*values) for values in itertools.product(config.locations, config.dimensions, config.noise)]


def cell_of(record: Record) -> Cell:
    """Returns the point mass that a record is about."""
    return Cell(*(record[name] for name in Cell._fields))


def run_name(method: str, cell: Cell) -> str:
    """Returns the name of a run's folder."""
    return f"{method}-{cell.locations}-{cell.dimensions}d-noise-{cell.noise:g}"


def train_config(config: PointMassConfig, method: str, cell: Cell) -> TrainConfig:
    """Returns the config of a method on a point mass, by the preset laptop, whose settings were chosen for each method
    (results/tuning). All methods have the same networks, exploration and number of updates."""
    variant = VARIANTS[method]
    shared = {
        "steps": config.steps,
        "seeds": config.seeds,
        "updates_per_step": config.updates_per_step,
        "env.number": 4,
        "env.workers": 0,
        "env.dynamics_noise": cell.noise,
        "evaluation.every": max(1, config.steps // 8),
        "evaluation.episodes": 8,
        "log.tensorboard": False,
        "run": config.out / "runs" / run_name(method, cell),
    }
    settings = shared | dict(variant.settings)
    return configure(f"toy:{cell.layout.name}", method=variant.method, preset="laptop", settings=settings)


def train_all(config: PointMassConfig, say: Say) -> list[Record]:
    """Trains the runs. Returns a record per point mass and method, with `returns` [seeds] (means over the episodes
    after training), `curve` (`steps` and `returns` of the evaluations) and `gradients` (see `gradients.compare`).

    A record that is kept (see `parts.kept`) or a run that is complete is not computed again. `say` gets a line per
    run. Raises SystemExit with the status of a run that a signal ended.
    """
    records = []
    for cell, method in itertools.product(cells(config), config.methods):
        begun = time.monotonic()
        settings: Record = {"run": settings_of(train_config(config, method, cell))}
        settings |= {"episodes": config.episodes, "states": config.states, "rollouts": config.rollouts}
        settings["gradient_step"] = STEP
        file = config.out / FOLDER / f"{run_name(method, cell)}.json"
        record = kept(file, settings, partial(_record, config, method, cell))
        records.append(record)
        seconds = time.monotonic() - begun
        returns = final_returns(record)
        say(f"{method}, {cell}: return {np.mean(returns):.1f} ± {np.std(returns):.1f}, {seconds:.0f} s")
    return records


def _record(config: PointMassConfig, method: str, cell: Cell) -> Record:
    folder, found = trained(train_config(config, method, cell), config.episodes)
    found["gradients"] = compare(folder, cell.layout, cell.noise, config.states, config.rollouts)
    return {"method": method, **cell._asdict(), **found}


def gradients_of(record: Record, name: str) -> Sequence[float]:
    """Returns a number of `gradients.compare` for every seed."""
    return [seed[name] for seed in record["gradients"]]


def predicted_over_true(record: Record) -> Sequence[float]:
    """Returns the ratio of the mean predicted value and the mean value that follows, for every seed."""
    return [seed["predicted"] / seed["true"] for seed in record["gradients"]]
