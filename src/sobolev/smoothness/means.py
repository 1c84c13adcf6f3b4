"""Means over many states, whose gradient is computed together with the value, for a few states at a time.

Value and gradient of the penalty need about a dozen arrays of [states, rows, hidden] numbers. Computed and consumed for
a few states at a time, they stay in a CPU's cache and take little memory.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sobolev.system.target import for_accelerator

Sums = Callable[..., Array]
"""From arrays [part, …] of some states, and the arrays to differentiate by, to sums over these states: [energies]."""

Arguments = tuple[Array, Array, list[Array]]
"""States, probes, and the arrays that `sums` closes over."""

PART = 64
"""Number of states in a part on a CPU. Times for 32 to 128 differ by at most 5% (12m: 32 rows, 256 hidden units)."""


def mean_of_sums(
    sums: Sums, states: Float[Array, "states hidden"], probes: Array
) -> tuple[Float[Array, ""], Float[Array, " energies"]]:
    """The means of `sums(states, probes)` over states and energies, and over states alone.

    `sums` takes any number of states, with probes [part, rows, …], and returns the sums of their energies. Energy i is
    a quadratic form of the probes of row i; a single energy is one of all probes. The means are differentiable, in all
    modes and to any order, with respect to `states` and the arrays that `sums` closes over; probes are constants. The
    first mean's gradient is computed together with its value; that of the second one takes another pass.
    """
    probes = jax.lax.stop_gradient(probes)
    number, size = states.shape[0], _part_size(states.shape[0])
    # The last part is padded with states whose probes are zero.
    more = -number % size
    states = jnp.concatenate([states, states[:more]]).reshape(-1, size, *states.shape[1:])
    probes = jnp.pad(probes, [(0, more), *[(0, 0)] * (probes.ndim - 1)]).reshape(-1, size, *probes.shape[1:])
    closed, captured = jax.closure_convert(sums, states[0], probes[0])
    return _mean(closed, number, states, probes, captured)


def _part_size(number: int) -> int:
    """Number of states in a part: parts of equal size on a CPU, otherwise all states in one."""
    parts = -(-number // PART) if not for_accelerator() else 1
    return -(-number // parts)


@partial(jax.custom_jvp[tuple[Array, Array]], nondiff_argnums=(0, 1))
def _mean(sums: Sums, number: int, states: Array, probes: Array, captured: list[Array]) -> tuple[Array, Array]:
    """The means over parts [parts, part, …] with `number` states in all."""
    rows = jax.lax.map(lambda part: sums(*part, *captured), (states, probes)).sum(0) / number
    return rows.mean(), rows


@_mean.defjvp
def _mean_jvp(
    sums: Sums, number: int, primals: Arguments, tangents: Arguments
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Computes the gradient here; only its product with the tangents is linear in them, and is transposed by JAX."""
    (states, probes, captured), (dstates, _, dcaptured) = primals, tangents
    value, rows, gradients = _with_gradient(sums, number, states, probes, captured)
    along = zip(jax.tree.leaves(gradients), jax.tree.leaves((dstates, dcaptured)), strict=True)
    slope = cast(Array, sum(jnp.vdot(gradient, change, precision="highest") for gradient, change in along))

    def plain(states: Array, captured: list[Array]) -> Array:
        return jax.vmap(lambda *part: sums(*part, *captured))(states, probes).sum(0) / number

    # Dead code unless the second mean is differentiated.
    _, drows = jax.jvp(plain, (states, captured), (dstates, dcaptured))
    return (value, rows), (slope, drows)


def _with_gradient(
    sums: Sums, number: int, states: Array, probes: Array, captured: list[Array]
) -> tuple[Array, Array, tuple[Array, list[Array]]]:
    """Both means, and the gradient of the first one with respect to (states, captured).

    A quadratic form is half the product of its argument and its gradient. The energies are therefore computed from the
    gradient with respect to the probes, [part, rows, classes], which saves sums over arrays of [part, rows, hidden].
    """
    shape = jax.eval_shape(sums, states[0], probes[0], *captured)

    def total(states: Array, captured: list[Array], probes: Array) -> Array:
        return sums(states, probes, *captured).sum()

    def add(carry: tuple[Array, list[Array]], part: tuple[Array, Array]) -> tuple[tuple[Array, list[Array]], Array]:
        states, probes = part
        dstates, dcaptured, dprobes = jax.grad(total, (0, 1, 2))(states, captured, probes)
        products = jnp.sum(probes * dprobes, 0).reshape(*shape.shape, -1)
        return jax.tree.map(jnp.add, carry, (products.sum(-1) / 2, dcaptured)), dstates

    nothing = jnp.zeros(shape.shape, shape.dtype), jax.tree.map(jnp.zeros_like, captured)
    (rows, dcaptured), dstates = jax.lax.scan(add, nothing, (states, probes))
    scale = 1 / (number * rows.size)
    return rows.sum() * scale, rows / number, jax.tree.map(lambda x: x * scale, (dstates, dcaptured))
