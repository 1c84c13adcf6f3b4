"""The settings of the gradient penalty (paper 1, Section 4)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from sobolev.errors import UserError
from sobolev.ranges import check_ranges

Schedule = Literal["none", "sqrt", "linear", "exponential", "cosine", "step", "custom"]


@dataclass(frozen=True)
class PenaltyConfig:
    """Row-wise Jacobian penalty on the latent probability tables. Zero coefficients turn it off.

    Raises UserError for a value outside its range.
    """

    posterior: Annotated[float, Ge(0)] = 0.5
    """initial coefficient of the posterior's penalty (lambda0), at least 0"""
    prior: Annotated[float, Ge(0)] = 0.0
    """initial coefficient of the prior's penalty, at least 0"""
    rho: Annotated[float, Gt(0), Le(1)] = 0.5
    """fraction of the batch's states on which the penalty is estimated, in (0, 1]"""
    estimator: Literal["rows", "joint"] = "rows"
    """rows: one probe per row (the paper's); joint: one probe over all rows"""
    average: Literal["sampled", "batch"] = "sampled"
    """sampled: mean over the sampled states (Algorithm 1); batch: over all, zeros elsewhere (the authors' code)"""
    rows: Annotated[int, Ge(1)] | None = None
    """penalise only this many rows; None for all"""
    row_choice: Literal["first", "random"] = "first"
    """which rows, where fewer than all are penalised"""
    start: Annotated[int, Ge(0)] = 0
    """updates before the penalty begins; the decay counts from there"""
    schedule: Schedule = "sqrt"
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
        """Refuse what cannot be meant, in one sentence each."""
        check_ranges(self, "penalty.")
        self._check_custom()

    def _check_custom(self) -> None:
        updates = [update for update, _ in self.custom]
        if self.schedule == "custom" and not updates:
            raise UserError("penalty.schedule is custom: give penalty.custom at least one (update, factor) pair")
        if updates != sorted(set(updates)):
            raise UserError(f"penalty.custom has updates {updates}: they must rise from pair to pair")
        if any(not factor >= 0 for _, factor in self.custom):
            raise UserError("penalty.custom has a negative factor: the penalty's coefficient must be at least 0")
