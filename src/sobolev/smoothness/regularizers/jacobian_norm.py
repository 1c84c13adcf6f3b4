"""The excess of a map's largest slope over a bound: a penalty on the spectral norm of the Jacobian.

DSDPG's operator is a contraction if gamma kappa < 1 (paper 2), where kappa grows with the spectral norm of the model's
Jacobian: the norm need not be small, only below a bound. max(0, ||J(x)||_2 - bound)^2 costs nothing below it, whereas
the Jacobian penalty, a multiple of ||J(x)||_F^2, shrinks all slopes of the map, also those that carry the state over.

The norm is estimated by power iteration with products of J and its transpose, and is never above the true one.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.smoothness.linear_first import as_function
from sobolev.smoothness.penalty import Penalty, Table, prepared, table_shape
from sobolev.smoothness.regularizers.api import Regularizer


@dataclass(frozen=True)
class JacobianNormConfig:
    """Bound on the spectral norm of the Jacobian."""

    bound: Annotated[float, Ge(0)] = 1.0
    """spectral norm of the Jacobian above which a state is penalised; 1 / discount is where DSDPG's condition begins"""
    iterations: Annotated[int, Ge(1)] = 3
    """power iterations from a random vector, for every state in every update"""


def jacobian_norms(
    fn: Table, inputs: Float[Array, "states inputs"], key: PRNGKeyArray, iterations: int = 3
) -> Float[Array, " states"]:
    """Estimates of ||J(x)||_2 at every input, J the Jacobian of the whole table; at most the true norms.

    Each is ||J v|| for a unit vector v that power iteration from a random one has found; v is a constant to
    derivatives, which at the maximum makes no difference. Raises UserError as `jacobian_norm_penalty` does.
    """
    fn, inputs, _ = prepared(fn, inputs)
    given = as_function(fn)

    def call(x: Float[Array, " inputs"]) -> Float[Array, "rows classes"]:
        return given(x).astype(x.dtype)

    start = jax.random.normal(key, (math.prod(inputs.shape),), inputs.dtype).reshape(inputs.shape)

    def norm(x: Float[Array, " inputs"], vector: Float[Array, " inputs"]) -> Float[Array, ""]:
        push = jax.linearize(call, jax.lax.stop_gradient(x))[1]
        pull = jax.linear_transpose(push, x)

        def iterate(_: Array, vector: Float[Array, " inputs"]) -> Float[Array, " inputs"]:
            (turned,) = pull(push(vector))
            return _unit(turned)

        vector = jax.lax.stop_gradient(jax.lax.fori_loop(0, iterations, iterate, _unit(vector)))
        _, moved = jax.jvp(call, (x,), (vector,))
        # A derivative of 0 where nothing moves, and not NaN.
        energy = jnp.square(moved).sum()
        return jnp.where(energy > 0, jnp.sqrt(jnp.where(energy > 0, energy, 1.0)), 0.0)

    with jax.default_matmul_precision("float32"):
        return jax.vmap(norm)(inputs, start)


def jacobian_norm_penalty(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    key: PRNGKeyArray,
    *,
    bound: float = 1.0,
    iterations: int = 3,
) -> Penalty:
    """Mean over states of max(0, ||J(x)||_2 - bound)^2, with the norms of `jacobian_norms`.

    Args:
        fn: maps one input [d] to a table [K, C]; a callable or a `LinearFirst`. J is [K C, d].
        inputs: a batch of inputs. Everything is computed in float32, as in `jacobian_penalty`.
        key: for the first vectors of the power iteration, independent for every state.
        bound: the norm below which a state costs nothing; 0 penalises the squared norm itself.
        iterations: power iterations per state, each a product with J and one with its transpose.

    The rows of the result are equal: the norm belongs to the whole table. Differentiable with respect to `inputs` and
    the arrays in `fn`. Raises UserError for inputs that are not [states, d], and for a function whose result is not a
    table.
    """
    norms = jacobian_norms(fn, inputs, key, iterations)
    value = jnp.square(jnp.maximum(norms - bound, 0.0)).mean()
    return Penalty(value, jnp.broadcast_to(value, (table_shape(fn, inputs)[0],)))


def penalty(
    settings: JacobianNormConfig, table: Table, inputs: Float[Array, "states inputs"], key: PRNGKeyArray
) -> Penalty:
    """`jacobian_norm_penalty` with these settings."""
    return jacobian_norm_penalty(table, inputs, key, bound=settings.bound, iterations=settings.iterations)


def _unit(vector: Float[Array, " _"]) -> Float[Array, " _"]:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-30)


JACOBIAN_NORM = Regularizer(JacobianNormConfig, "excess", penalty=penalty)
