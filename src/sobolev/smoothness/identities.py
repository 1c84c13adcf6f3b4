"""Both sides of paper 1's equations 3 and 4 on finite differences and Jacobians, and the rates of convergence."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Map = Callable[[Array], Array]
"""Any differentiable map from [d] to [m]."""


def difference_energy(
    fn: Map, x: Float[Array, " d"], direction: Float[Array, " d"], step: float | Float[Array, ""]
) -> Float[Array, ""]:
    """||(fn(x + step u) - fn(x)) / step||^2, the left side of equation (3), for a unit vector u = `direction`."""
    return jnp.sum(jnp.square((fn(x + step * direction) - fn(x)) / step))


def directional_energy(fn: Map, x: Float[Array, " d"], direction: Float[Array, " d"]) -> Float[Array, ""]:
    """||J(x) u||^2, the limit in equation (3)."""
    return jnp.sum(jnp.square(jax.jvp(fn, (x,), (direction,))[1]))


def frobenius_energy(fn: Map, x: Float[Array, " d"]) -> Float[Array, ""]:
    """||J(x)||_F^2."""
    return jnp.sum(jnp.square(jax.jacfwd(fn)(x)))


def unit_directions(key: PRNGKeyArray, number: int, like: Float[Array, " d"]) -> Float[Array, "number d"]:
    """Independent, uniformly distributed unit vectors with the size and dtype of `like`."""
    drawn = jax.random.normal(key, (number, *like.shape), like.dtype)
    return drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)


def difference_errors(
    fn: Map, x: Float[Array, " d"], direction: Float[Array, " d"], steps: Sequence[float]
) -> Float[Array, " steps"]:
    """|difference_energy - directional_energy| for every step, of first order in the step if the map is smooth.

    In float64, steps from 1e-1 to 1e-5 show the order; below, rounding errors dominate.
    """
    sizes = jnp.asarray(steps, x.dtype)
    found = jax.vmap(lambda step: difference_energy(fn, x, direction, step))(sizes)
    return jnp.abs(found - directional_energy(fn, x, direction))


def isotropic_errors(
    fn: Map, x: Float[Array, " d"], key: PRNGKeyArray, numbers: Sequence[int], repeats: int
) -> Float[Array, " numbers"]:
    """Root mean square, over `repeats` draws, of the average of ||J u||^2 over n directions minus ||J||_F^2 / d.

    By equation (4), the expectation of the average is ||J||_F^2 / d; the error is proportional to n^(-1/2).
    """
    expected = frobenius_energy(fn, x) / x.shape[0]

    def error(key: PRNGKeyArray, number: int) -> Float[Array, ""]:
        directions = unit_directions(key, number, x)
        return jax.vmap(lambda u: directional_energy(fn, x, u))(directions).mean() - expected

    def root_mean_square(key: PRNGKeyArray, number: int) -> Float[Array, ""]:
        errors = jax.vmap(lambda key: error(key, number))(jax.random.split(key, repeats))
        return jnp.sqrt(jnp.mean(jnp.square(errors)))

    keys = jax.random.split(key, len(numbers))
    return jnp.stack([root_mean_square(key, number) for key, number in zip(keys, numbers, strict=True)])


def observed_order(sizes: Sequence[float] | Sequence[int], errors: Sequence[float] | Array) -> float:
    """The exponent p of error ~ size^p: the least-squares slope of log error over log size."""
    return float(np.polyfit(np.log(np.asarray(sizes)), np.log(np.asarray(errors)), 1)[0])
