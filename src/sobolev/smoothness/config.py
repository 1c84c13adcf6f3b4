"""The settings of the gradient penalty (paper 1, Section 4)."""

import math
from dataclasses import dataclass
from typing import Literal

from sobolev.errors import UserError

Schedule = Literal["none", "sqrt", "linear", "exponential", "cosine", "step", "custom"]


@dataclass(frozen=True)
class PenaltyConfig:
    """Row-wise Jacobian penalty on the latent probability tables. Zero coefficients turn it off.

    Raises UserError for a value outside its range.
    """

    posterior: float = 0.5
    """initial coefficient of the posterior's penalty (lambda0), at least 0"""
    prior: float = 0.0
    """initial coefficient of the prior's penalty, at least 0"""
    rho: float = 0.5
    """fraction of the batch's states on which the penalty is estimated, in (0, 1]"""
    estimator: Literal["rows", "joint"] = "rows"
    """rows: one probe per row (the paper's); joint: one probe over all rows"""
    average: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the sampled states (Algorithm 1); batch: over all, zeros elsewhere (the authors' code)"""
    rows: int | None = None
    """penalise only this many rows; None for all"""
    row_choice: Literal["first", "random"] = "first"
    """which rows, where fewer than all are penalised"""
    start: int = 0
    """updates before the penalty begins; the decay counts from there"""
    schedule: Schedule = "sqrt"
    """decay of the coefficient; custom: values at update numbers, given in `custom`"""
    decay_scale: float = 1000.0
    """c of lambda0 / sqrt(1 + updates/c)"""
    decay_updates: int = 100_000
    """updates over which linear, exponential and cosine decay"""
    step_size: int = 5000
    """updates between two drops of the step schedule"""
    step_factor: float = 0.9
    """factor of one drop of the step schedule"""
    floor: float = 0.001
    """smallest coefficient"""
    custom: tuple[tuple[int, float], ...] = ()
    """(update, factor of lambda0) pairs, joined linearly"""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, in one sentence each."""
        for name in ("posterior", "prior", "floor"):
            if not getattr(self, name) >= 0:
                raise UserError(f"penalty.{name} is {getattr(self, name)}: a coefficient must be at least 0")
        if not 0 < self.rho <= 1:
            raise UserError(f"penalty.rho is {self.rho}: the fraction of states must be above 0 and at most 1")
        if self.rows is not None and self.rows < 1:
            raise UserError(f"penalty.rows is {self.rows}: penalise at least one row, or leave it out for all")
        if self.start < 0:
            raise UserError(f"penalty.start is {self.start}: it counts updates, so it must be at least 0")
        for name in ("decay_scale", "decay_updates", "step_size"):
            if not getattr(self, name) > 0:
                raise UserError(f"penalty.{name.replace('_', '-')} is {getattr(self, name)}: it must be above 0")
        if not 0 < self.step_factor <= 1:
            raise UserError(f"penalty.step-factor is {self.step_factor}: it must be above 0 and at most 1")
        self._check_custom()

    def _check_custom(self) -> None:
        updates = [update for update, _ in self.custom]
        if self.schedule == "custom" and not updates:
            raise UserError("penalty.schedule is custom: give penalty.custom at least one (update, factor) pair")
        if updates != sorted(set(updates)):
            raise UserError(f"penalty.custom has updates {updates}: they must rise from pair to pair")
        if not all(0 <= factor < math.inf for _, factor in self.custom):
            raise UserError("penalty.custom has a negative or infinite factor: a coefficient is finite and at least 0")
