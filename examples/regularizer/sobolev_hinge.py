"""A regularizer of one's own: the Jacobian penalty, but slopes cost only above a limit.

Gradient penalties of this one-sided kind leave alone what is smooth enough:
mean over states and rows of max(0, ||J_i(x)^T eps_i||^2 - limit).
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge

from sobolev.smoothness import Penalty, Regularizer, row_energies, table_shape


@dataclass(frozen=True)
class HingeConfig:
    """Slopes cost above a limit."""

    limit: Annotated[float, Ge(0)] = 0.1
    """squared slope of a row of the table up to which it is free"""


def penalty(settings: HingeConfig, table, inputs: jax.Array, key: jax.Array) -> Penalty:
    """Of a map from [d] to a table [K, C] at inputs [states, d], one random probe per state and row."""
    rows, classes = table_shape(table, inputs)
    probes = jax.random.rademacher(key, (inputs.shape[0], rows, classes), jnp.float32)
    excess = jax.nn.relu(row_energies(table, inputs, probes) - settings.limit)
    return Penalty(excess.mean(), excess.mean(0))


HINGE = Regularizer(HingeConfig, "hinge", penalty=penalty, coefficient=0.5)
