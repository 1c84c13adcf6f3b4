"""Sensitivity of a probability table: how much it changes if its input is perturbed (paper 1, Appendix F)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sobolev.errors import UserError
from sobolev.smoothness.linear_first import as_function
from sobolev.smoothness.penalty import Table, exact_energies

MAGNITUDES = tuple(float(magnitude) for magnitude in np.geomspace(0.001, 0.1, 5))
"""Perturbation sizes as fractions of the mean input norm: 0.1% to 10%, in a geometric sequence."""


class PerturbedTable(NamedTuple):
    """A table, the inputs at which its sensitivity is measured, and the entries of these that are perturbed."""

    table: Table
    inputs: Float[Array, "states inputs"]
    perturbed: slice


class Sensitivity(NamedTuple):
    """Local sensitivity of one table over a set of states."""

    value: Float[Array, ""]
    """KL(r(u) || r(u + delta)) / ||delta||, mean over states, directions and magnitudes; nats per unit of input"""
    by_magnitude: Float[Array, " magnitudes"]
    """the same for each magnitude"""
    sizes: Float[Array, " magnitudes"]
    """||delta|| of each magnitude"""


def sensitivity(
    fn: Table,
    inputs: Float[Array, "states inputs"],
    key: PRNGKeyArray,
    *,
    perturbed: slice = slice(None),
    magnitudes: Sequence[float] = MAGNITUDES,
    directions: int = 1,
) -> Sensitivity:
    """KL(r(u) || r(u + delta)) / ||delta|| for delta in random directions (Appendix F).

    Args:
        fn: maps an input [d] to a table of probabilities [K, C]; a callable or a `LinearFirst`. The divergence is
            that of the K independent variables together: the sum over rows.
        inputs: the states' inputs.
        key: for the directions, which are uniform on the sphere and independent for every state and magnitude.
        perturbed: the entries of the input that are perturbed: for a posterior of [deter, tokens], the tokens.
        magnitudes: ||delta|| as fractions of the mean norm of the perturbed part over `inputs`.
        directions: directions per state and magnitude.

    Raises UserError if there is nothing to perturb, no direction, or a magnitude that is not above 0.
    """
    part = inputs[:, perturbed]
    if not part.size or directions < 1 or any(not magnitude > 0 for magnitude in magnitudes):
        raise UserError("sensitivity needs states, entries to perturb, a direction at least, and magnitudes above 0")
    call = as_function(fn)
    inputs = inputs.astype(jnp.float64 if inputs.dtype == jnp.float64 else jnp.float32)
    sizes = jnp.asarray(magnitudes, inputs.dtype) * jnp.linalg.norm(inputs[:, perturbed], axis=-1).mean()

    def one(at: tuple[Float[Array, ""], PRNGKeyArray]) -> Float[Array, ""]:
        size, key = at
        noise = jax.random.normal(key, part.shape, inputs.dtype)
        delta = size * noise / jnp.linalg.norm(noise, axis=-1, keepdims=True)
        moved = inputs.at[:, perturbed].add(delta)
        return jax.vmap(_moved_divergence, (None, 0, 0))(call, inputs, moved).mean() / size

    keys = jax.random.split(key, (len(sizes), directions))
    with jax.default_matmul_precision("float32"):  # tables that differ by a thousandth are compared
        found = jax.lax.map(one, (jnp.repeat(sizes, directions), keys.reshape(-1)))
    found = found.reshape(-1, directions).mean(1)
    return Sensitivity(found.mean(), found, sizes)


def jacobian_norms(fn: Table, inputs: Float[Array, "states inputs"]) -> Float[Array, "states rows"]:
    """The exact ||J_i(x)||_F of equation (5) for every state and row, which the paper did not measure."""
    return jnp.sqrt(exact_energies(fn, inputs))


def divergence(p: Float[Array, "*table"], q: Float[Array, "*table"]) -> Float[Array, ""]:
    """KL(p || q) of tables of independent categorical variables, in nats: the sum over rows. p may have zeros.

    The contribution of an entry is written as p (r - log(1 + r)) >= 0 with r = q / p - 1, so that the divergence of
    tables that differ by a millionth, which is of order r^2, is not lost to rounding.
    """
    some = p > 0
    ratio = jnp.where(some, (q - p) / jnp.where(some, p, 1), 0)
    small = jnp.abs(ratio) < 1e-2
    tail = jnp.where(small, ratio, 0)
    series = tail * tail * (1 / 2 - tail * (1 / 3 - tail * (1 / 4 - tail * (1 / 5 - tail / 6))))
    terms = p * jnp.where(small, series, ratio - jnp.log1p(jnp.where(small, 0, ratio)))
    return jnp.sum(jnp.where(some, terms, q))


def _moved_divergence(
    fn: Callable[[Array], Array], x: Float[Array, " inputs"], moved: Float[Array, " inputs"]
) -> Float[Array, ""]:
    return divergence(fn(x).astype(x.dtype), fn(moved).astype(x.dtype))
