"""The experiments by name: ours, those that installed packages register, and any other by `module:OBJECT`.

Loads no experiment before it is asked for: some take seconds to import.
"""

from dataclasses import is_dataclass
from typing import Any, NamedTuple

from sobolev.errors import UserError
from sobolev.experiments.api import Experiment, Settings
from sobolev.plugins import Registry, package


class Entry(NamedTuple):
    """A line of the registry."""

    reference: str
    """where the experiment is, as module:OBJECT"""
    about: str
    """the question it answers"""


EXPERIMENTS = {
    "tabular": Entry(
        "sobolev.experiments.tabular.experiment:EXPERIMENT",
        "when smoothing helps the estimate of a finite MDP, and how fast equations (3) and (4) hold",
    ),
    "world-model": Entry(
        "sobolev.experiments.world_model.experiment:EXPERIMENT",
        "whether the penalty lets a world model do with less data",
    ),
    "contraction": Entry(
        "sobolev.experiments.contraction.experiment:EXPERIMENT",
        "by how much DSDPG's operator shrinks MSMMD on linear systems, beside its bound",
    ),
    "linear": Entry(
        "sobolev.experiments.linear_critic.experiment:EXPERIMENT",
        "whether DSDPG's critics learn the distribution of return and gradient where it is known",
    ),
    "point-mass": Entry(
        "sobolev.experiments.point_mass.experiment:EXPERIMENT",
        "what critics have to know where returns have many modes: dsdpg, mage, td3 and ablations on a toy",
    ),
    "sensitivity": Entry(
        "sobolev.experiments.sensitivity.experiment:EXPERIMENT",
        "how far the latent tables of runs' agents move when their inputs do (also: sobolev sensitivity)",
    ),
}
"""Ours."""

KNOWN: Registry[Experiment[Any]] = Registry(
    "study", Experiment, {}, "sobolev.experiments", {name: entry.reference for name, entry in EXPERIMENTS.items()}
)
"""These, those of installed packages, and my_package.my_study:EXPERIMENT."""


def listed() -> dict[str, str]:
    """The names of all experiments that are registered, ours first, and a line about each."""
    ours = {name: entry.about for name, entry in EXPERIMENTS.items()}
    return ours | {point.name: f"from {package(point)}" for point in KNOWN.registered() if point.name not in ours}


def find(name: str) -> Experiment[Any]:
    """The experiment of that name, or at `module:OBJECT`. Raises UserError where there is none, with the nearest."""
    experiment = KNOWN.find(name)
    if not (is_dataclass(experiment.settings) and isinstance(experiment.settings, Settings)):
        raise UserError(f"the settings of {name} must be a dataclass with a field 'out', the folder for its files")
    return experiment
