"""Input noise: normal numbers that are added to a map's inputs in training, and nowhere else.

With a small standard deviation s, it acts as a penalty of s^2 / 2 times the trace of the loss's second derivative with
respect to the inputs, which for a squared error is s^2 ||J||_F^2 to first order (Bishop 1995, "Training with noise is
equivalent to Tikhonov regularization"). It is the oldest and cheapest regularizer. lambda multiplies the standard
deviation.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import jax
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.smoothness.regularizers.api import Regularizer


@dataclass(frozen=True)
class NoiseConfig:
    """Size of the noise."""

    std: Annotated[float, Ge(0)] = 0.1
    """standard deviation of the noise, in units of the map's inputs; the coefficient multiplies it"""


def input_noise(shape: tuple[int, ...], key: PRNGKeyArray, std: float = 0.1) -> Float[Array, "*shape"]:
    """Independent normal numbers, float32, with standard deviation `std`."""
    return std * jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def noise(settings: NoiseConfig, shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "*shape"]:
    """`input_noise` with these settings."""
    return input_noise(shape, key, settings.std)


NOISE = Regularizer(NoiseConfig, "noise", noise=noise, coefficient=1.0, defaults={"schedule": "none"})
