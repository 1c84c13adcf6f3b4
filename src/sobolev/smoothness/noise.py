"""Input noise: normal numbers that are added to a map's inputs where it learns, and nowhere else.

Of a small standard deviation s it acts as a penalty s^2 / 2 times the trace of the loss's second derivative by the
inputs, for a squared error s^2 ||J||_F^2 to first order (Bishop 1995, "Training with noise is equivalent to Tikhonov
regularization"): the oldest way to a smooth map, and the cheapest. lambda multiplies the standard deviation.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import jax
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.smoothness.regularizer import Regularizer


@dataclass(frozen=True)
class NoiseConfig:
    """How much noise."""

    std: Annotated[float, Ge(0)] = 0.1
    """standard deviation, in units of the map's inputs; the coefficient multiplies it"""


def input_noise(shape: tuple[int, ...], key: PRNGKeyArray, std: float = 0.1) -> Float[Array, "*shape"]:
    """Independent normal numbers, float32, of that standard deviation; zeros where it is 0."""
    return std * jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def noise(settings: NoiseConfig, shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "*shape"]:
    """`input_noise` as the settings say."""
    return input_noise(shape, key, settings.std)


NOISE = Regularizer(NoiseConfig, "noise", noise=noise, coefficient=1.0, defaults={"schedule": "none"})
