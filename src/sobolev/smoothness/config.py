"""Settings that every regularizer has: how strongly each map is regularised, and how that changes with the updates.

A regularizer adds settings of its own. All of them together are one flat dataclass, so that each is a flag
`--penalty.NAME` (see `settings_type` in `regularizer.py`): what belongs together is a class here, and not a level of
names. A coefficient of 0 turns the regularizer off for that map.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from sobolev.errors import UserError
from sobolev.ranges import check_ranges

ScheduleKind = Literal["none", "sqrt", "linear", "exponential", "cosine", "step", "custom"]


@dataclass(frozen=True)
class Maps:
    """The maps of an agent that can be regularised: a subclass has a field with the initial coefficient of each.

    The first of them is regularised by default.
    """


@dataclass(frozen=True)
class Latents(Maps):
    """The probability tables of a model with categorical latents."""

    posterior: Annotated[float, Ge(0)] = 0.5
    """initial coefficient (lambda0) of the posterior, at least 0"""
    prior: Annotated[float, Ge(0)] = 0.0
    """initial coefficient of the prior, at least 0"""


@dataclass(frozen=True)
class Schedule:
    """How the coefficient changes over the updates: see `coefficient` in `schedule.py` (paper 1, Section 4.2)."""

    start: Annotated[int, Ge(0)] = 0
    """updates before the regularizer begins; the decay counts from there"""
    schedule: ScheduleKind = "sqrt"
    """decay of the coefficient; custom: values at update numbers, given in `custom`"""
    decay_scale: Annotated[float, Gt(0)] = 1000.0
    """c of lambda0 / sqrt(1 + updates/c)"""
    decay_updates: Annotated[int, Ge(1)] = 100_000
    """updates over which linear, exponential and cosine decay"""
    step_size: Annotated[int, Ge(1)] = 5000
    """updates between two drops of the step schedule"""
    step_factor: Annotated[float, Gt(0), Le(1)] = 0.9
    """factor of one drop of the step schedule"""
    floor: Annotated[float, Ge(0)] = 0.001
    """smallest coefficient"""
    custom: tuple[tuple[int, float], ...] = ()
    """(update, factor of lambda0) pairs, joined linearly"""

    def __post_init__(self) -> None:
        """Refuse pairs that make no function of the update, in one sentence each."""
        updates = [update for update, _ in self.custom]
        if self.schedule == "custom" and not updates:
            raise UserError("penalty.schedule is custom: give penalty.custom at least one (update, factor) pair")
        if updates != sorted(set(updates)):
            raise UserError(f"penalty.custom has updates {updates}: they must rise from pair to pair")
        if not all(0 <= factor < math.inf for _, factor in self.custom):
            raise UserError("penalty.custom has a negative or infinite factor: a coefficient is finite and at least 0")


@dataclass(frozen=True)
class Sampling:
    """On which of a batch's states a penalty is estimated (paper 1, Algorithm 1, lines 4 and 5)."""

    rho: Annotated[float, Gt(0), Le(1)] = 0.5
    """fraction of the batch's states on which the penalty is estimated, in (0, 1]"""
    average: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the sampled states (Algorithm 1); batch: over all, zeros elsewhere (the authors' code)"""


@dataclass(frozen=True)
class LatentPenalty(Schedule, Latents):
    """What all regularizers of a latent-variable model have in common."""


def coefficients(settings: Maps) -> Mapping[str, float]:
    """The initial coefficient of every map, in the order in which they are declared."""
    return {name: getattr(settings, name) for name in map_names(type(settings))}


def map_names(kind: type[Maps]) -> tuple[str, ...]:
    """The maps that settings of that type have a coefficient for."""
    owner = next(cls for cls in kind.__mro__ if Maps in cls.__bases__)
    return tuple(item.name for item in fields(owner))


def check_all(self: Any) -> None:
    """Checks flat settings: the bounds of all fields, and the `__post_init__` of every class that they are made of.

    Raises UserError.
    """
    check_ranges(self, "--penalty.")
    for cls in type(self).__mro__:
        check = vars(cls).get("__post_init__")
        if check is not None and check is not check_all:
            check(self)
