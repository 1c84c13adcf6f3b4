"""The distributional Sobolev operator on linear systems, and how much one application contracts MSMMD.

The operator of DSDPG (arXiv 2601.20071) with all coordinates x = [Z; ∂Z/∂s; ∂Z/∂a] maps the distribution of a random
function Z to that of r(s, a) + γ Z(s', π(s')). On a linear system it maps quadratic functions to quadratic functions,
and with noise of finitely many values, distributions over finitely many functions to such distributions. So nothing
here is sampled; only the worst direction is found by a search.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.config import DiscrepancyConfig
from sobolev.agents.dsdpg.mmd import ascend, mmd_squared, multiquadric, projected, starting_directions
from sobolev.experiments.linear_system import LinearSystem

STATES, ACTIONS = 2, 1
PLACES, ATOMS = 6, 6
"""Number of pairs (s, a) at which distributions are compared, and number of functions in an initial distribution."""
NEAR = 0.05
"""Scale of these pairs and of the noise. Near 0, distributions with different slopes differ little in the return, so
that the bound, which concerns gradients, can be reached."""
SEARCH = DiscrepancyConfig(steps=40, restarts=6, first_step=0.5, last_step=1e-3)
"""Settings of the search for the worst direction, finer than in training."""


class Quadratics(NamedTuple):
    """A uniform distribution over a few functions Z(x) = c + gᵀx + ½ xᵀHx of x = (s, a), with the same H."""

    offset: Float[Array, " atoms"]
    """c"""
    slope: Float[Array, "atoms size"]
    """g"""
    curve: Float[Array, "size size"]
    """H"""

    def at(self, x: Float[Array, " size"]) -> Float[Array, "atoms vector"]:
        """Returns [Z; ∂Z/∂s; ∂Z/∂a] of every function at x."""
        values = self.offset + self.slope @ x + x @ self.curve @ x / 2
        return jnp.concatenate([values[:, None], self.slope + (self.curve @ x)[None]], 1)


def onward(system: LinearSystem) -> Float[Array, "size size"]:
    """Returns F: (s, a) ↦ (s', K s') without noise. Its norm is at most ‖[A B]‖ √(1 + ‖K‖²)."""
    following = jnp.concatenate([system.a, system.b], 1)
    return jnp.concatenate([following, system.policy_gain @ following])


def shifts(system: LinearSystem) -> Float[Array, "values size"]:
    """Returns the values that noise adds to (s', K s'): plus and minus the sum of L's columns, equally likely."""
    noise = system.noise.sum(1)
    shift = jnp.concatenate([noise, system.policy_gain @ noise])
    return jnp.stack([shift, -shift])


def operator(system: LinearSystem, distribution: Quadratics) -> Quadratics:
    """Returns the distribution of r(x) + γ Z(F x + e), over the functions Z and the values e of the noise."""
    forward, noise, gamma = onward(system), shifts(system), system.discount

    def one(c: Float[Array, ""], g: Float[Array, " size"], e: Float[Array, " size"]) -> tuple[Array, Array]:
        return gamma * (c + g @ e + e @ distribution.curve @ e / 2), gamma * forward.T @ (g + distribution.curve @ e)

    over_noise = jax.vmap(one, (None, None, 0))
    offset, slope = jax.vmap(over_noise, (0, 0, None))(distribution.offset, distribution.slope, noise)
    cost = jax.scipy.linalg.block_diag(system.state_cost, system.action_cost)
    curve = gamma * forward.T @ distribution.curve @ forward - 2 * cost
    return Quadratics(offset.reshape(-1), slope.reshape(-1, slope.shape[-1]), curve)


def reached(system: LinearSystem, places: Float[Array, "places size"]) -> Float[Array, "reached size"]:
    """Returns all pairs (s, a) to which one step leads from `places`."""
    expected = places @ onward(system).T
    return (expected[:, None] + shifts(system)[None]).reshape(-1, places.shape[1])


def distances(
    first: Quadratics, second: Quadratics, places: Float[Array, "places size"], bandwidth: float, plain: bool = False
) -> Float[Array, " places"]:
    """Returns MSMMD (with `plain` MMD) of two distributions at every place: roots of V-statistics, which are exact for
    distributions over finitely many functions."""
    between = partial(mmd_squared, kernel=partial(multiquadric, bandwidth=bandwidth), unbiased=False)

    def squared(x: Float[Array, " size"]) -> Float[Array, ""]:
        ours, theirs = first.at(x), second.at(x)
        if plain:
            return between(ours, theirs)
        starts = starting_directions(jax.random.key(0), ours, theirs, SEARCH.restarts)
        starts = jnp.concatenate([starts, jnp.eye(ours.shape[1], dtype=ours.dtype)])
        return ascend(lambda theta: between(projected(theta, ours), projected(theta, theirs)), starts, SEARCH).value

    return jnp.sqrt(jnp.maximum(jax.lax.map(squared, places), 0.0))


def factor(
    system: LinearSystem,
    first: Quadratics,
    second: Quadratics,
    places: Float[Array, "places size"],
    bandwidth: float,
    plain: bool = False,
) -> Float[Array, ""]:
    """Returns the largest distance after one application divided by the largest distance before it.

    The distance after it is taken at `places`, the one before it at these and all pairs to which one step leads. This
    is the supremum in the theorem, over the part of the space on which the numerator depends.
    """
    before = jnp.concatenate([places, reached(system, places)])
    after = distances(operator(system, first), operator(system, second), places, bandwidth, plain)
    return after.max() / distances(first, second, before, bandwidth, plain).max()


def random_quadratics(key: Key[Array, ""]) -> Quadratics:
    """Draws functions with random offsets and slopes, around a random centre, with a random spread."""
    keys, size = jax.random.split(key, 4), STATES + ACTIONS
    spread = jnp.exp(jax.random.uniform(keys[0], minval=-2.0, maxval=1.0))
    middle = jax.random.normal(keys[1], (1 + size,))
    drawn = middle[None] + spread * jax.random.normal(keys[2], (ATOMS, 1 + size))
    return Quadratics(0.1 * drawn[:, 0], drawn[:, 1:], jnp.zeros((size, size)))


def worst_pair(system: LinearSystem) -> tuple[Quadratics, Quadratics]:
    """Returns two distributions that differ by a slope along the direction that F stretches most."""
    direction = jnp.linalg.svd(onward(system).T)[2][0]
    zero, slopes = jnp.zeros((ATOMS,)), jnp.zeros((ATOMS, STATES + ACTIONS))
    still = Quadratics(zero, slopes, jnp.zeros((STATES + ACTIONS, STATES + ACTIONS)))
    return still, still._replace(slope=slopes + direction[None])


def tight_system(product: float, discount: float) -> LinearSystem:
    """Returns a system for which ‖F‖ equals its bound: the policy acts on the direction that [A B] stretches most."""
    along, across = np.array([0.8, 0.6]), np.array([-0.6, 0.8])
    gain = 0.5 * along[None]
    inputs = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0]])
    following = np.stack([along, 0.5 * across], 1) @ inputs
    return _scaled(following, gain, product, discount)


def random_system(product: float, discount: float, rng: np.random.Generator) -> LinearSystem:
    """Returns a system of random matrices with the same bound."""
    return _scaled(rng.normal(size=(STATES, STATES + ACTIONS)), rng.normal(size=(ACTIONS, STATES)), product, discount)


def _scaled(following: np.ndarray, gain: np.ndarray, product: float, discount: float) -> LinearSystem:
    """Returns a system with [A B] scaled such that γ ‖[A B]‖ √(1 + ‖K‖²) is `product`."""
    reach = np.linalg.norm(following, 2) * np.sqrt(1 + np.linalg.norm(gain, 2) ** 2)
    stretched = jnp.asarray(following * product / (discount * reach))
    return LinearSystem(
        a=stretched[:, :STATES],
        b=stretched[:, STATES:],
        noise=NEAR * jnp.asarray([[1.0, 0.0], [0.0, 0.5]], stretched.dtype),
        policy_gain=jnp.asarray(gain, stretched.dtype),
        state_cost=jnp.eye(STATES, dtype=stretched.dtype),
        action_cost=0.5 * jnp.eye(ACTIONS, dtype=stretched.dtype),
        discount=discount,
    )
