"""The experiments by name: ours, those that installed packages register, and any other by `module:OBJECT`.

Loads no experiment before it is asked for: some take seconds to import.
"""

import importlib
from dataclasses import is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from sobolev.errors import UserError, nearest
from sobolev.experiments.api import Experiment, Settings

GROUP = "sobolev.experiments"
"""The entry point group under which packages register experiments of theirs."""


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


def listed() -> dict[str, str]:
    """The names of all experiments that are registered, ours first, and a line about each."""
    ours = {name: entry.about for name, entry in EXPERIMENTS.items()}
    return ours | {point.name: f"from {_package(point)}" for point in _registered() if point.name not in ours}


def find(name: str) -> Experiment[Any]:
    """The experiment of that name, or at `module:OBJECT`. Raises UserError where there is none, with the nearest."""
    if ":" in name:
        return load(name)
    others = [point for point in _registered() if point.name == name]
    places = [f"{_reference(point)} ({_package(point)})" for point in others]
    if name in EXPERIMENTS:
        places.insert(0, f"{EXPERIMENTS[name].reference} (sobolev)")
    if not places:
        raise nearest("study", name, listed())
    if len(places) > 1:
        raise UserError(f"several packages have a study '{name}': give one of {', '.join(places)} in its place")
    return load(EXPERIMENTS[name].reference if name in EXPERIMENTS else _reference(others[0]))


def load(reference: str) -> Experiment[Any]:
    """The experiment at `module:OBJECT`. Raises UserError where there is no such module, object or experiment."""
    module_name, _, attribute = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise UserError(
            f"there is no module '{error.name}' for {reference}: install its package, or run from the folder it is in"
        ) from None
    except (ValueError, TypeError):  # no name, or one that begins with a dot
        raise UserError(
            f"'{reference}' has no module: give module:OBJECT, as in my_package.my_study:EXPERIMENT"
        ) from None
    if not hasattr(module, attribute):
        experiments = [key for key, value in vars(module).items() if isinstance(value, Experiment)]
        raise nearest(f"object of {module_name}", attribute, experiments or ["EXPERIMENT"])
    experiment = getattr(module, attribute)
    if not isinstance(experiment, Experiment):
        raise UserError(f"{reference} is a {type(experiment).__name__}, and not a sobolev.experiments.Experiment")
    if not (is_dataclass(experiment.settings) and isinstance(experiment.settings, Settings)):
        raise UserError(f"the settings of {reference} must be a dataclass with a field 'out', the folder for its files")
    return experiment


def _registered() -> list[EntryPoint]:
    """What installed packages register, in the order of the names."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module


def _reference(point: EntryPoint) -> str:
    """Where an entry point leads, without the extras that it may name."""
    return f"{point.module}:{point.attr}"
