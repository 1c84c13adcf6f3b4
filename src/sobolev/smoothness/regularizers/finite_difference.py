"""The finite-difference penalty: equation (1) of paper 1 for continuous states.

With step h and a random unit vector u, ||(f(x + h u) - f(x)) / h||^2 takes the place of a summand of equation (1), the
squared change of the transition distribution between two states, divided by their squared distance. Its mean over u
tends to ||J(x)||_F^2 / d as h goes to 0 (equations 3 and 4), where d is the size of x. Here it is multiplied by d and
divided by the K rows of the table, so that it tends to the Jacobian penalty (equation 5) and lambda means the same for
both.

Unlike the Jacobian, it also measures changes over a distance of h, such as a jump between two states.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.smoothness.linear_first import as_function
from sobolev.smoothness.penalty import Penalty, Table, prepared
from sobolev.smoothness.regularizers.api import Regularizer


@dataclass(frozen=True)
class FiniteDifferenceConfig:
    """The points at which the map is compared."""

    step: Annotated[float, Gt(0)] = 0.1
    """distance h between the two inputs that are compared, in units of the input, above 0"""
    directions: Annotated[int, Ge(1)] = 1
    """random directions per state"""


def finite_difference_penalty(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    key: PRNGKeyArray,
    *,
    step: float = 0.1,
    directions: int = 1,
) -> Penalty:
    """Mean over states, rows and random directions u of d ||(q_i(x + step u) - q_i(x)) / step||^2.

    Args:
        fn: maps one input [d] to a table [K, C]; a callable or a `LinearFirst`.
        inputs: a batch of inputs. Everything is computed in float32, as in `jacobian_penalty`; with a step below about
            0.001, the difference of two tables has few correct digits.
        key: for the directions, which are uniform on the sphere and independent for every state.
        step: the distance between the inputs that are compared, in units of the input.
        directions: directions per state.

    For a linear map the expectation is the Jacobian penalty, for every step; for other maps it tends to it as the step
    goes to 0. Differentiable with respect to `inputs` and the arrays in `fn`, through both tables. Raises UserError for
    inputs that are not [states, d], and for a function whose result is not a table.
    """
    fn, inputs, _ = prepared(fn, inputs)
    call = as_function(fn)
    states, size = inputs.shape
    drawn = jax.random.normal(key, (math.prod((states, directions, size)),), inputs.dtype)
    drawn = drawn.reshape(states, directions, size)
    offsets = step * drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)

    def table(x: Float[Array, " inputs"]) -> Float[Array, "rows classes"]:
        return call(x).astype(x.dtype)

    def energies(x: Float[Array, " inputs"], offsets: Float[Array, "directions inputs"]) -> Float[Array, " rows"]:
        """The mean over directions for every row."""
        here, there = table(x), jax.vmap(lambda offset: table(x + offset))(offsets)
        return jnp.square((there - here[None]) / step).sum(-1).mean(0)

    with jax.default_matmul_precision("float32"):
        found = size * jax.vmap(energies)(inputs, offsets).mean(0)
    return Penalty(found.mean(), found)


def penalty(
    settings: FiniteDifferenceConfig, table: Table, inputs: Float[Array, "states inputs"], key: PRNGKeyArray
) -> Penalty:
    """`finite_difference_penalty` with these settings."""
    return finite_difference_penalty(table, inputs, key, step=settings.step, directions=settings.directions)


FINITE_DIFFERENCE = Regularizer(FiniteDifferenceConfig, "difference", penalty=penalty)
