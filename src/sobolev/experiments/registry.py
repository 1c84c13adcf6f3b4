"""The registry of experiments: built in, registered by installed packages, or given as `module:OBJECT`.

An experiment is imported when it is requested, since some take seconds to import.
"""

from dataclasses import is_dataclass
from typing import Any, NamedTuple

from sobolev.errors import UserError
from sobolev.experiments.api import Experiment, Settings
from sobolev.plugins import Registry


class Entry(NamedTuple):
    """A line of the registry."""

    reference: str
    """location of the experiment, as module:OBJECT"""
    about: str
    """the question that it answers"""


EXPERIMENTS = {
    "tabular": Entry(
        "sobolev.experiments.tabular.experiment:EXPERIMENT",
        "when smoothing improves the estimate of a finite MDP, and how fast equations (3) and (4) converge",
    ),
    "world-model": Entry(
        "sobolev.experiments.world_model.experiment:EXPERIMENT",
        "whether the penalty lets a world model do with less data",
    ),
    "contraction": Entry(
        "sobolev.experiments.contraction.experiment:EXPERIMENT",
        "how much DSDPG's operator contracts MSMMD on linear systems, compared with the bound",
    ),
    "linear": Entry(
        "sobolev.experiments.linear_critic.experiment:EXPERIMENT",
        "whether DSDPG's critics learn the known distribution of return and gradient on a linear system",
    ),
    "point-mass": Entry(
        "sobolev.experiments.point_mass.experiment:EXPERIMENT",
        "which critics learn if returns have many modes: dsdpg, mage, td3 and ablations on a toy",
    ),
    "transition": Entry(
        "sobolev.experiments.transition.experiment:EXPERIMENT",
        "what a penalty on the Jacobian of DSDPG's world model does to κ, the return and the model's error",
    ),
    "sensitivity": Entry(
        "sobolev.experiments.sensitivity.experiment:EXPERIMENT",
        "how sensitive the latent distributions of trained agents are to their inputs (also: sobolev sensitivity)",
    ),
}
"""Ours."""

KNOWN: Registry[Experiment[Any]] = Registry(
    "study", Experiment, {}, "sobolev.experiments", {name: entry.reference for name, entry in EXPERIMENTS.items()}
)
"""All experiments: built in, of installed packages, or given as my_package.my_study:EXPERIMENT."""


def listed() -> dict[str, str]:
    """Returns the names of all registered experiments, the built-in ones first, and a line about each."""
    ours = {name: entry.about for name, entry in EXPERIMENTS.items()}
    return ours | {name: f"from {package}" for name, package in KNOWN.origins().items()}


def find(name: str) -> Experiment[Any]:
    """Returns the experiment of a name, or at `module:OBJECT`. Raises UserError, with the nearest name, if there is
    none."""
    experiment = KNOWN.find(name)
    if not (is_dataclass(experiment.settings) and isinstance(experiment.settings, Settings)):
        raise UserError(f"the settings of {name} must be a dataclass with a field 'out', the folder for its files")
    return experiment
