"""The Jacobian penalty as a regularizer (paper 1, Section 4), the default of `--method gpld`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.errors import UserError
from sobolev.smoothness.config import LatentPenalty, Sampling, check_all
from sobolev.smoothness.penalty import Penalty, Table, jacobian_penalty
from sobolev.smoothness.regularizers.api import Regularizer


@dataclass(frozen=True)
class JacobianConfig:
    """Estimator of the row-wise Jacobian penalty."""

    estimator: Literal["rows", "joint"] = "rows"
    """rows: one random probe for each row, as in the paper; joint: one probe over all rows"""
    rows: Annotated[int, Ge(1)] | None = None
    """number of rows of the table that are penalised; none: all"""
    row_choice: Literal["first", "random"] = "first"
    """which rows are penalised, if not all: the first ones, or random ones in every update"""


@dataclass(frozen=True)
class PenaltyConfig(JacobianConfig, Sampling, LatentPenalty):
    """Row-wise Jacobian penalty on the latent probability tables. A coefficient of 0 turns it off.

    Raises UserError for a value outside its range.
    """

    __post_init__ = check_all


def penalty(
    settings: JacobianConfig, table: Table, inputs: Float[Array, "states inputs"], key: PRNGKeyArray
) -> Penalty:
    """`jacobian_penalty` with these settings."""
    return jacobian_penalty(
        table, inputs, key, estimator=settings.estimator, rows=settings.rows, row_choice=settings.row_choice
    )


def check(settings: JacobianConfig, rows: Mapping[str, int]) -> None:
    """Raises UserError if more rows are penalised than a map has."""
    for name, number in rows.items():
        if settings.rows is not None and settings.rows > number:
            raise UserError(
                f"--penalty.rows is {settings.rows}, but the {name} has only {number} row{'s' if number > 1 else ''}"
            )


JACOBIAN = Regularizer(JacobianConfig, "penalty", penalty=penalty, check=check)
