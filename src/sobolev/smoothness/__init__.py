"""Smoothness of learned maps: Jacobian penalties and their schedules (paper 1). Knows nothing of agents."""

from sobolev.smoothness.config import PenaltyConfig
from sobolev.smoothness.layers import norm_silu
from sobolev.smoothness.linear_first import LinearFirst, probability_table
from sobolev.smoothness.penalty import (
    Penalty,
    exact_energies,
    jacobian_penalty,
    joint_energies,
    row_energies,
    sample_states,
    sampled_penalty,
)
from sobolev.smoothness.schedule import coefficient

__all__ = [
    "LinearFirst",
    "Penalty",
    "PenaltyConfig",
    "coefficient",
    "exact_energies",
    "jacobian_penalty",
    "joint_energies",
    "norm_silu",
    "probability_table",
    "row_energies",
    "sample_states",
    "sampled_penalty",
]
