"""Maximum mean discrepancy between samples of two distributions: kernels; plain, sliced and max-sliced MMD (MSMMD).

MMD²(X, Y) = E k(x, x') + E k(y, y') − 2 E k(x, y) with independent copies x', y'. Every function takes samples
[samples, dimensions], and kernels take squared distances.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.config import DiscrepancyConfig
from sobolev.errors import nearest
from sobolev.system.target import for_accelerator

Kernel = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]
"""k as a function of the squared distance."""
Between = Callable[[Float[Array, "samples dimensions"], Float[Array, "others dimensions"]], Float[Array, ""]]
"""MMD² of two samples."""

MIXTURE = tuple(float(scale) for scale in range(1, 11))
"""Scales of the Gaussian mixture of MMDQN."""


def multiquadric(squared: Float[Array, "*shape"], bandwidth: float) -> Float[Array, "*shape"]:
    """−√(1 + h² d²) (paper 2, with h = 100): conditionally positive, and close to −h·d for d well above 1/h."""
    return -jnp.sqrt(1.0 + bandwidth**2 * squared)


def energy(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """−d, the limit of the multiquadric divided by h, whose MMD² is the energy distance. Its derivative at 0 is 0."""
    positive = squared > 0
    return -jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def mixture(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Σ exp(−d²/σ) over σ = 1 … 10 (MMDQN)."""
    return sum((jnp.exp(-squared / scale) for scale in MIXTURE), start=jnp.zeros_like(squared))


def kernel_of(config: DiscrepancyConfig) -> Kernel:
    """The kernel that a config names. Raises UserError for an unknown one."""
    kernels: dict[str, Kernel] = {
        "multiquadric": partial(multiquadric, bandwidth=config.bandwidth),
        "energy": energy,
        "mixture": mixture,
    }
    if config.kernel not in kernels:
        raise nearest("kernel", config.kernel, kernels)
    return kernels[config.kernel]


def mmd_squared(
    x: Float[Array, "samples dimensions"],
    y: Float[Array, "others dimensions"],
    kernel: Kernel,
    *,
    unbiased: bool,
) -> Float[Array, ""]:
    """MMD² between two sets of at least two samples.

    unbiased: the U-statistic, which leaves out the kernel of each sample with itself. Its expectation is the MMD² of
    the two distributions, and it may be negative. Otherwise the V-statistic: the MMD² of the two empirical
    distributions, which is never negative, 0 for equal samples, and on average too large, of order 1/samples.
    """
    return _own(x, kernel, unbiased) + _own(y, kernel, unbiased) - 2 * kernel(_squares(x, y)).mean()


def _own(x: Float[Array, "samples dimensions"], kernel: Kernel, unbiased: bool) -> Float[Array, ""]:
    """Mean kernel between samples of one set."""
    number = x.shape[0]
    values = kernel(_squares(x, x))
    if not unbiased:
        return values.mean()
    return jnp.sum(jnp.where(np.eye(number, dtype=bool), 0.0, values)) / (number * (number - 1))


def _squares(
    x: Float[Array, "samples dimensions"], y: Float[Array, "others dimensions"]
) -> Float[Array, "samples others"]:
    """Squared distances, from differences: the expansion of the square would lose small ones to rounding."""
    return jnp.sum(jnp.square(x[:, None] - y[None]), -1)


def projected(
    direction: Float[Array, " dimensions"], x: Float[Array, "samples dimensions"]
) -> Float[Array, "samples 1"]:
    """⟨θ, x⟩ of every sample, as a sum, since a matrix product of this shape is slow under `vmap`."""
    return jnp.sum(direction[None] * x, -1, keepdims=True)


class Search(NamedTuple):
    """The result of an ascent."""

    direction: Float[Array, " dimensions"]
    """θ, a unit vector"""
    value: Float[Array, ""]
    """the objective at θ"""


def ascend(
    objective: Callable[[Float[Array, " dimensions"]], Float[Array, ""]],
    starts: Float[Array, "starts dimensions"],
    config: DiscrepancyConfig,
) -> Search:
    """The best direction found by gradient ascent on the unit sphere from each of `starts` (of any length except 0).

    A step rotates θ by a given angle towards the tangential part of the gradient. The angles decrease geometrically
    from first_step to last_step. The result is the best θ of all steps, including the starts.
    """
    angles = np.geomspace(config.first_step, config.last_step, config.steps) if config.steps else np.zeros(0)

    def one(start: Float[Array, " dimensions"]) -> Search:
        start = start / jnp.linalg.norm(start)

        def step(now: tuple[Search, Array], angle: Array) -> tuple[tuple[Search, Array], None]:
            best, theta = now
            value, gradient = jax.value_and_grad(objective)(theta)
            best = _better(best, Search(theta, value))
            tangent = gradient - jnp.sum(gradient * theta) * theta
            tangent = tangent / jnp.maximum(jnp.linalg.norm(tangent), 1e-30)
            moved = jnp.cos(angle) * theta + jnp.sin(angle) * tangent
            return (best, moved / jnp.linalg.norm(moved)), None

        nothing = Search(start, jnp.full((), -jnp.inf, start.dtype))
        (best, theta), _ = jax.lax.scan(step, (nothing, start), jnp.asarray(angles, start.dtype))
        return _better(best, Search(theta, objective(theta)))

    found = jax.vmap(one)(starts)
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(found.value)], found)


def _better(a: Search, b: Search) -> Search:
    return jax.tree.map(lambda x, y: jnp.where(a.value >= b.value, x, y), a, b)


def starting_directions(
    key: Key[Array, ""],
    x: Float[Array, "samples dimensions"],
    y: Float[Array, "others dimensions"],
    restarts: int,
) -> Float[Array, "starts dimensions"]:
    """Initial directions of an ascent: the difference of the means, and `restarts` uniformly random directions."""
    random = jax.random.normal(key, (restarts, x.shape[1]), x.dtype)
    gap = x.mean(0) - y.mean(0)
    # Equal means have no direction: then the first coordinate, the return, is taken.
    first = jnp.zeros_like(gap).at[0].set(1.0)
    gap = jnp.where(jnp.linalg.norm(gap) > 1e-12, gap, first)
    return jnp.concatenate([gap[None], random])


class Discrepancy(NamedTuple):
    """The discrepancy between samples and the target's samples, for a batch of states."""

    value: Float[Array, " batch"]
    """MMD² of each state, along its direction if there is one; differentiable in the samples"""
    direction: Float[Array, "batch dimensions"]
    """the direction of each state; zeros for the kinds without one (mmd, sliced)"""


def discrepancy(
    x: Float[Array, "batch samples dimensions"],
    y: Float[Array, "batch others dimensions"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DiscrepancyConfig,
) -> Discrepancy:
    """The discrepancy that a config describes, for a batch of states, between samples [return; action gradient].

    Gradient coordinates (all but the first) are multiplied by `gradient_scale`. The direction of MSMMD is a constant to
    derivatives, since at the maximum it contributes none (envelope theorem). `weight` is the weight of each state in
    the search for a direction that is common to the batch. Raises UserError for an unknown kind or kernel.
    """
    scale = jnp.full(x.shape[2], config.gradient_scale, x.dtype).at[0].set(1.0)
    x, y = x * scale[None, None], y * scale[None, None]
    between = partial(mmd_squared, kernel=kernel_of(config), unbiased=config.unbiased)
    match config.kind:
        case "mmd":
            return Discrepancy(jax.vmap(between)(x, y), jnp.zeros((x.shape[0], x.shape[2]), x.dtype))
        case "sliced":
            slices = jax.random.normal(key, (config.slices, x.shape[2]), x.dtype)
            slices = slices / jnp.linalg.norm(slices, axis=1, keepdims=True)
            values = jax.vmap(lambda theta: _along(theta, x, y, between))(slices)
            return Discrepancy(values.mean(0), jnp.zeros((x.shape[0], x.shape[2]), x.dtype))
        case "msmmd":
            directions = max_directions(x, y, weight, key, config)
            return Discrepancy(jax.vmap(partial(_slice, between=between))(directions, x, y), directions)
        case unknown:
            raise nearest("discrepancy", unknown, ("msmmd", "mmd", "sliced"))


def max_directions(
    x: Float[Array, "batch samples dimensions"],
    y: Float[Array, "batch others dimensions"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DiscrepancyConfig,
) -> Float[Array, "batch dimensions"]:
    """θ of every state, a constant: its own argmax, or with direction "batch" the argmax of the weighted mean of MMD².

    The latter is found with the first `config.search` states only: a direction needs fewer of them than a gradient.
    """
    x, y = jax.lax.stop_gradient((x, y))
    batch, size, kernel = x.shape[0], x.shape[2], kernel_of(config)
    if config.direction == "batch":
        x, y, weight = x[: config.search], y[: config.search], weight[: config.search]
        starts = starting_directions(key, x.reshape(-1, size), y.reshape(-1, size), config.restarts)
        apart, shares = pairs(x, y, unbiased=config.unbiased)
        shares = (weight[:, None] * shares[None]).ravel()
        found = ascend(mmd_along(apart.reshape(-1, size), shares, kernel), starts, config)
        directions = jnp.broadcast_to(found.direction, (batch, size))
    else:

        def one(k: Key[Array, ""], x: Float[Array, "samples _"], y: Float[Array, "others _"]) -> Float[Array, " _"]:
            starts = starting_directions(k, x, y, config.restarts)
            apart, shares = pairs(x[None], y[None], unbiased=config.unbiased)
            return ascend(mmd_along(apart[0], shares, kernel), starts, config).direction

        # A CPU searches for one state at a time, whose differences stay in its cache.
        states = (jax.random.split(key, batch), x, y)
        directions = jax.vmap(one)(*states) if for_accelerator() else jax.lax.map(lambda state: one(*state), states)
    return jax.lax.stop_gradient(directions)


def pairs(
    x: Float[Array, "batch samples dimensions"], y: Float[Array, "batch others dimensions"], *, unbiased: bool
) -> tuple[Float[Array, "batch pairs dimensions"], Float[Array, " pairs"]]:
    """The differences between any two different samples of a state, and the share that the kernel of each has in MMD².

    Without the kernel of a sample with itself, a constant (see `mmd_squared`).
    """
    n, m = x.shape[1], y.shape[1]
    first, second = np.triu_indices(n + m, 1)
    of_x, of_y = (2 / (k * (k - 1 if unbiased else k)) for k in (n, m))
    shares = np.where(second < n, of_x, np.where(first >= n, of_y, -2 / (n * m)))
    samples = jnp.concatenate([x, y], 1)
    return samples[:, first] - samples[:, second], jnp.asarray(shares, x.dtype)


def mmd_along(
    apart: Float[Array, "pairs dimensions"], shares: Float[Array, " pairs"], kernel: Kernel
) -> Callable[[Float[Array, " dimensions"]], Float[Array, ""]]:
    """θ ↦ MMD² of the projections on θ, up to a constant, given the `pairs` of samples.

    For a search: their differences are projected by one matrix product for all starts, and each pair is looked at once.
    """
    columns, product = apart.T, partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
    return lambda theta: product(kernel(jnp.square(product(theta, columns))), shares)


def _slice(
    theta: Float[Array, " dimensions"],
    x: Float[Array, "samples dimensions"],
    y: Float[Array, "others dimensions"],
    between: Between,
) -> Float[Array, ""]:
    """MMD² of the projections on one direction."""
    return between(projected(theta, x), projected(theta, y))


def _along(
    theta: Float[Array, " dimensions"],
    x: Float[Array, "batch samples dimensions"],
    y: Float[Array, "batch others dimensions"],
    between: Between,
) -> Float[Array, " batch"]:
    """MMD² of every state's projections on one direction."""
    return jax.vmap(partial(_slice, between=between), (None, 0, 0))(theta, x, y)
