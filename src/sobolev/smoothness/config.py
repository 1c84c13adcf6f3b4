"""Settings that all regularizers have: the coefficient of each map, and its schedule over the updates.

A regularizer adds settings of its own. All of them together form one flat dataclass, so that each is a flag
`--penalty.NAME` (see `settings_type` in `regularizers/api.py`): the classes here are groups of settings, but add no
level to the names. A coefficient of 0 turns the regularizer off for that map.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from sobolev.errors import UserError
from sobolev.ranges import check_ranges

ScheduleKind = Literal["none", "sqrt", "linear", "exponential", "cosine", "step", "custom", "values"]
BY_PAIRS = ("custom", "values")
"""The schedules that are given by the pairs in `custom`."""


@dataclass(frozen=True)
class Maps:
    """The maps of an agent that can be regularised: a subclass has one field for each, with its initial coefficient.

    By default, only the first map is regularised. A subclass of a subclass adds maps, as in `class Three(Latents)`; the
    settings that all regularizers of an agent have in common then extend `Schedule` and `Three`.
    """


@dataclass(frozen=True)
class Latents(Maps):
    """The probability tables of a model with categorical latents."""

    posterior: Annotated[float, Ge(0)] = 0.5
    """initial coefficient (lambda0) of the posterior, at least 0; 0 turns it off"""
    prior: Annotated[float, Ge(0)] = 0.0
    """initial coefficient (lambda0) of the prior, at least 0; 0 turns it off"""


@dataclass(frozen=True)
class Schedule:
    """How the coefficient changes over the updates: see `coefficient` in `schedule.py` (paper 1, Section 4.2)."""

    start: Annotated[int, Ge(0)] = 0
    """number of updates before the regularizer sets in; the decay begins there"""
    schedule: ScheduleKind = "sqrt"
    """how the coefficient decays; custom and values: by the pairs in `custom`"""
    decay_scale: Annotated[float, Gt(0)] = 1000.0
    """c of lambda0 / sqrt(1 + updates/c)"""
    decay_updates: Annotated[int, Ge(1)] = 100_000
    """number of updates over which the schedules linear, exponential and cosine decay"""
    step_size: Annotated[int, Ge(1)] = 5000
    """number of updates between two drops of the schedule step"""
    step_factor: Annotated[float, Gt(0), Le(1)] = 0.9
    """factor by which the schedule step drops"""
    floor: Annotated[float, Ge(0)] = 0.001
    """smallest coefficient of the schedules sqrt, step and values; that to which linear, exponential and cosine tend"""
    custom: tuple[tuple[int, float], ...] = ()
    """pairs of an update and a number. Schedule custom: factors of lambda0, linearly interpolated; schedule values:
    coefficients, each from its update on, lambda0 before the first (as in the authors' code)"""

    def __post_init__(self) -> None:
        """Raises UserError for pairs that do not define a schedule."""
        updates = [update for update, _ in self.custom]
        if self.schedule in BY_PAIRS and not updates:
            raise UserError(
                f"--penalty.schedule is {self.schedule}: give --penalty.custom at least one pair (update, number)"
            )
        if self.schedule not in BY_PAIRS and updates:
            raise UserError(f"--penalty.custom is not for --penalty.schedule {self.schedule}: choose custom or values")
        if updates != sorted(set(updates)):
            raise UserError(f"--penalty.custom has updates {updates}: they must increase from pair to pair")
        if not all(0 <= factor < math.inf for _, factor in self.custom):
            raise UserError(
                "--penalty.custom has a negative or infinite number: coefficients are finite and not below 0"
            )


@dataclass(frozen=True)
class Sampling:
    """The states of a batch on which a penalty is estimated (paper 1, Algorithm 1, lines 4 and 5)."""

    rho: Annotated[float, Gt(0), Le(1)] = 0.5
    """fraction of the batch's states on which the penalty is estimated, in (0, 1]"""
    average: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the sampled states (Algorithm 1); batch: mean over all states, with 0 at those that were not
    sampled (the authors' code), which multiplies the penalty by rho"""


@dataclass(frozen=True)
class LatentPenalty(Schedule, Latents):
    """Settings that all regularizers of a model with categorical latents have."""


def coefficients(settings: Maps) -> Mapping[str, float]:
    """The initial coefficient of every map, in the order of declaration."""
    return {name: getattr(settings, name) for name in map_names(type(settings))}


def map_names(kind: type[Maps]) -> tuple[str, ...]:
    """The names of the maps for which settings of that type have a coefficient: the fields of the classes that extend
    `Maps` and nothing else, in the order of declaration."""
    owners = [cls for cls in kind.__mro__[:-1] if all(issubclass(each, Maps) for each in cls.__mro__[:-1])]
    return tuple(dict.fromkeys(item.name for owner in owners for item in fields(owner)))


def check_all(self: Any) -> None:
    """Checks flat settings: the bounds of all fields, then the `__post_init__` of every base class.

    Raises UserError for a value outside its bounds, or whatever a `__post_init__` raises.
    """
    check_ranges(self, "--penalty.")
    for cls in type(self).__mro__:
        check = vars(cls).get("__post_init__")
        if check is not None and check is not check_all:
            check(self)
