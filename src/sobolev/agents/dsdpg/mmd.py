"""Maximum mean discrepancy between samples of two distributions: kernels, plain, sliced, and max-sliced (MSMMD).

MMD²(X, Y) = E k(x, x') + E k(y, y') − 2 E k(x, y) with independent copies x', y'. Every function takes samples
[samples, dimensions] and kernels take squared distances.
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

Kernel = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]
"""k as a function of the squared distance."""
Between = Callable[[Float[Array, "samples dimensions"], Float[Array, "others dimensions"]], Float[Array, ""]]
"""MMD² of two samples."""

MIXTURE = tuple(float(scale) for scale in range(1, 11))
"""Scales of MMDQN's Gaussian mixture."""


def multiquadric(squared: Float[Array, "*shape"], bandwidth: float) -> Float[Array, "*shape"]:
    """−√(1 + h² d²) (paper 2, with h = 100): conditionally positive, near −h·d where d is well above 1/h."""
    return -jnp.sqrt(1.0 + bandwidth**2 * squared)


def energy(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """−d, the limit of the multiquadric over h: MMD² is the energy distance. Its derivative at d = 0 is taken as 0."""
    positive = squared > 0
    return -jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def mixture(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Σ exp(−d²/σ) over σ = 1 … 10 (MMDQN)."""
    return sum((jnp.exp(-squared / scale) for scale in MIXTURE), start=jnp.zeros_like(squared))


def kernel_of(config: DiscrepancyConfig) -> Kernel:
    """The kernel that a config names; UserError for an unknown one."""
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
    """MMD² of two samples, two at least of each.

    unbiased: the U-statistic, which leaves out each sample's kernel with itself; its expectation is the MMD² of the two
    distributions, and it may be negative. Otherwise the V-statistic: the MMD² of the two empirical distributions,
    never negative, 0 for equal samples, and too large on average by the order of 1/samples.
    """
    return _own(x, kernel, unbiased) + _own(y, kernel, unbiased) - 2 * kernel(_squares(x, y)).mean()


def _own(x: Float[Array, "samples dimensions"], kernel: Kernel, unbiased: bool) -> Float[Array, ""]:
    """Mean kernel within one sample."""
    number = x.shape[0]
    values = kernel(_squares(x, x))
    if not unbiased:
        return values.mean()
    return jnp.sum(jnp.where(np.eye(number, dtype=bool), 0.0, values)) / (number * (number - 1))


def _squares(
    x: Float[Array, "samples dimensions"], y: Float[Array, "others dimensions"]
) -> Float[Array, "samples others"]:
    """Squared distances, from differences: the usual expansion loses near ones to rounding."""
    return jnp.sum(jnp.square(x[:, None] - y[None]), -1)


def projected(
    direction: Float[Array, " dimensions"], x: Float[Array, "samples dimensions"]
) -> Float[Array, "samples 1"]:
    """⟨θ, x⟩ of every sample. Written as a sum: a product of this shape is slow under `vmap`."""
    return jnp.sum(direction[None] * x, -1, keepdims=True)


class Search(NamedTuple):
    """What the ascent found."""

    direction: Float[Array, " dimensions"]
    """θ, a unit vector"""
    value: Float[Array, ""]
    """the objective there"""


def ascend(
    objective: Callable[[Float[Array, " dimensions"]], Float[Array, ""]],
    starts: Float[Array, "starts dimensions"],
    config: DiscrepancyConfig,
) -> Search:
    """The best direction met by gradient ascent on the unit sphere from each of `starts` (any length but 0).

    A step turns θ by a given angle towards the gradient's tangent part (a geodesic, so that the length stays 1); the
    angles fall geometrically from first_step to last_step. The best θ on the way is kept, starts included.
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
    """Where an ascent starts: the difference of the means, and `restarts` uniform directions."""
    random = jax.random.normal(key, (restarts, x.shape[1]), x.dtype)
    gap = x.mean(0) - y.mean(0)
    # Equal means point nowhere: then the first coordinate, the return.
    first = jnp.zeros_like(gap).at[0].set(1.0)
    gap = jnp.where(jnp.linalg.norm(gap) > 1e-12, gap, first)
    return jnp.concatenate([gap[None], random])


class Discrepancy(NamedTuple):
    """How far a batch of samples is from the target's."""

    value: Float[Array, " batch"]
    """MMD² of each state, in the direction that was chosen; differentiable in the samples"""
    direction: Float[Array, "batch dimensions"]
    """the direction of each state; zeros where there is none (mmd, sliced)"""


def discrepancy(
    x: Float[Array, "batch samples dimensions"],
    y: Float[Array, "batch others dimensions"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DiscrepancyConfig,
) -> Discrepancy:
    """The discrepancy that a config describes, for a batch of states, between samples [return; action gradient].

    Gradient coordinates (all but the first) are multiplied by `gradient_scale`. The direction of MSMMD is a constant to
    derivatives: at the maximum it contributes none (the envelope theorem). Where one direction serves the batch, states
    count by their weight.
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
            directions = max_directions(x, y, weight, key, config, between)
            return Discrepancy(jax.vmap(partial(_slice, between=between))(directions, x, y), directions)
        case unknown:
            raise nearest("discrepancy", unknown, ("msmmd", "mmd", "sliced"))


def max_directions(
    x: Float[Array, "batch samples dimensions"],
    y: Float[Array, "batch others dimensions"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DiscrepancyConfig,
    between: Between,
) -> Float[Array, "batch dimensions"]:
    """θ of every state, a constant: its own argmax, or with direction "batch" that of the weighted mean of MMD².

    The latter is searched for in the first `config.search` states, since a direction needs fewer than a gradient does.
    """
    x, y = jax.lax.stop_gradient((x, y))
    if config.direction == "batch":
        batch = x.shape[0]
        x, y, weight = x[: config.search], y[: config.search], weight[: config.search]
        flat = (x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2]))
        starts = starting_directions(key, *flat, config.restarts)
        found = ascend(lambda theta: jnp.sum(weight * _along(theta, x, y, between)), starts, config)
        directions = jnp.broadcast_to(found.direction, (batch, x.shape[2]))
    else:

        def one(k: Key[Array, ""], x: Float[Array, "samples _"], y: Float[Array, "others _"]) -> Float[Array, " _"]:
            starts = starting_directions(k, x, y, config.restarts)
            return ascend(lambda theta: _slice(theta, x, y, between), starts, config).direction

        directions = jax.vmap(one)(jax.random.split(key, x.shape[0]), x, y)
    return jax.lax.stop_gradient(directions)


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
