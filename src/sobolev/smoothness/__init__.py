"""Smoothness of learned maps (paper 1): regularizers, their schedules, and measures. Usable without an agent."""

from sobolev.smoothness.config import LatentPenalty, Latents, Maps, Sampling, Schedule, coefficients
from sobolev.smoothness.layers import norm_silu
from sobolev.smoothness.linear_first import LinearFirst, as_function, probability_table
from sobolev.smoothness.penalty import (
    Penalty,
    Table,
    exact_energies,
    jacobian_penalty,
    joint_energies,
    row_energies,
    sample_states,
    table_shape,
)
from sobolev.smoothness.regularizers.api import (
    Constraint,
    Regularizer,
    Smoothing,
    at_sampled_states,
    default_settings,
    settings_type,
)
from sobolev.smoothness.regularizers.finite_difference import (
    FINITE_DIFFERENCE,
    FiniteDifferenceConfig,
    finite_difference_penalty,
)
from sobolev.smoothness.regularizers.jacobian import JACOBIAN, JacobianConfig, PenaltyConfig
from sobolev.smoothness.regularizers.jacobian_norm import (
    JACOBIAN_NORM,
    JacobianNormConfig,
    jacobian_norm_penalty,
)
from sobolev.smoothness.regularizers.noise import NOISE, NoiseConfig, input_noise
from sobolev.smoothness.regularizers.registry import CHOICES, REGULARIZERS, find, smoothing
from sobolev.smoothness.regularizers.spectral import (
    SPECTRAL,
    SpectralConfig,
    init_vectors,
    kernels,
    power_iteration,
    singular_values,
    spectrally_bounded,
)
from sobolev.smoothness.schedule import coefficient

__all__ = [
    "CHOICES",
    "FINITE_DIFFERENCE",
    "JACOBIAN",
    "JACOBIAN_NORM",
    "NOISE",
    "REGULARIZERS",
    "SPECTRAL",
    "Constraint",
    "FiniteDifferenceConfig",
    "JacobianConfig",
    "JacobianNormConfig",
    "LatentPenalty",
    "Latents",
    "LinearFirst",
    "Maps",
    "NoiseConfig",
    "Penalty",
    "PenaltyConfig",
    "Regularizer",
    "Sampling",
    "Schedule",
    "Smoothing",
    "SpectralConfig",
    "Table",
    "as_function",
    "at_sampled_states",
    "coefficient",
    "coefficients",
    "default_settings",
    "exact_energies",
    "find",
    "finite_difference_penalty",
    "init_vectors",
    "input_noise",
    "jacobian_norm_penalty",
    "jacobian_penalty",
    "joint_energies",
    "kernels",
    "norm_silu",
    "power_iteration",
    "probability_table",
    "row_energies",
    "sample_states",
    "settings_type",
    "singular_values",
    "smoothing",
    "spectrally_bounded",
    "table_shape",
]
