"""By how much the distributional Sobolev operator shrinks MSMMD on linear systems, beside the bound √(γκ).

The operator of paper 2 with all its coordinates, x = [Z; ∂Z/∂s; ∂Z/∂a]: a law of random functions Z becomes that of
r(s, a) + γ Z(s', π(s')). On a linear system a random quadratic function stays one, and with noise of finitely many
values a law of finitely many functions too: nothing here is sampled, only the worst direction is searched for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.config import DiscrepancyConfig
from sobolev.agents.dsdpg.mmd import ascend, mmd_squared, multiquadric, projected, starting_directions
from sobolev.errors import UserError
from sobolev.experiments.linear_system import LinearSystem

STATES, ACTIONS = 2, 1
PLACES, ATOMS = 6, 6
"""Pairs (s, a) where laws are compared, and functions in a law to begin with."""
NEAR = 0.05
"""Scale of these places and of the noise. Near 0, laws with different slopes differ little in the return, so that the
bound, which is one on gradients, can be reached."""
SEARCH = DiscrepancyConfig(steps=40, restarts=6, first_step=0.5, last_step=1e-3)
"""A search for the worst direction that is finer than in training."""


@dataclass(frozen=True)
class ContractionConfig:
    """Sizes of the study; the defaults take about a minute on one core."""

    out: Path = Path("results/contraction")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    discount: float = 0.7
    """γ"""
    products: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
    """values of γκ; where they are below γ, κ is 1 and the bound is √γ"""
    bandwidth: float = 100.0
    """h of the multiquadric kernel"""
    pairs: int = 24
    """pairs of random laws per system; the factor is the largest over them"""
    systems: int = 4
    """random systems per value of γκ, beside the one whose bound is tight"""
    iterations: int = 7
    """applications of the operator in the second panel; laws double in size with each"""
    seed: int = 0


class Law(NamedTuple):
    """Finitely many functions Z(x) = c + gᵀx + ½ xᵀHx of x = (s, a), equally likely, with one H for all."""

    offset: Float[Array, " atoms"]
    """c"""
    slope: Float[Array, "atoms size"]
    """g"""
    curve: Float[Array, "size size"]
    """H"""

    def at(self, x: Float[Array, " size"]) -> Float[Array, "atoms vector"]:
        """[Z; ∂Z/∂s; ∂Z/∂a] of every function."""
        values = self.offset + self.slope @ x + x @ self.curve @ x / 2
        return jnp.concatenate([values[:, None], self.slope + (self.curve @ x)[None]], 1)


def onward(system: LinearSystem) -> Float[Array, "size size"]:
    """F: (s, a) ↦ (s', K s') without noise. Its norm is at most ‖[A B]‖ √(1 + ‖K‖²)."""
    following = jnp.concatenate([system.a, system.b], 1)
    return jnp.concatenate([following, system.policy_gain @ following])


def shifts(system: LinearSystem) -> Float[Array, "values size"]:
    """What noise adds to (s', K s'): plus or minus the sum of L's columns, equally likely."""
    noise = system.noise.sum(1)
    shift = jnp.concatenate([noise, system.policy_gain @ noise])
    return jnp.stack([shift, -shift])


def operator(system: LinearSystem, law: Law) -> Law:
    """The law of r(x) + γ Z(F x + e) over the functions Z of `law` and the values e of the noise (paper 2)."""
    forward, noise, gamma = onward(system), shifts(system), system.discount

    def one(c: Float[Array, ""], g: Float[Array, " size"], e: Float[Array, " size"]) -> tuple[Array, Array]:
        return gamma * (c + g @ e + e @ law.curve @ e / 2), gamma * forward.T @ (g + law.curve @ e)

    over_noise = jax.vmap(one, (None, None, 0))
    offset, slope = jax.vmap(over_noise, (0, 0, None))(law.offset, law.slope, noise)
    cost = jax.scipy.linalg.block_diag(system.state_cost, system.action_cost)
    curve = gamma * forward.T @ law.curve @ forward - 2 * cost
    return Law(offset.reshape(-1), slope.reshape(-1, slope.shape[-1]), curve)


def reached(system: LinearSystem, places: Float[Array, "places size"]) -> Float[Array, "reached size"]:
    """Where one step leads from `places`."""
    found = places @ onward(system).T
    return (found[:, None] + shifts(system)[None]).reshape(-1, places.shape[1])


def distances(
    first: Law, second: Law, places: Float[Array, "places size"], bandwidth: float, plain: bool = False
) -> Float[Array, " places"]:
    """MSMMD (or, plain, MMD) of two laws at every place: roots of V-statistics, which are exact for such laws."""
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
    first: Law,
    second: Law,
    places: Float[Array, "places size"],
    bandwidth: float,
    plain: bool = False,
) -> Float[Array, ""]:
    """Largest distance after one application, over the largest before it.

    After it at `places`, before it at these and at all that one step leads to: the supremum of the theorem, cut to the
    part of the space that the numerator depends on.
    """
    before = jnp.concatenate([places, reached(system, places)])
    after = distances(operator(system, first), operator(system, second), places, bandwidth, plain)
    return after.max() / distances(first, second, before, bandwidth, plain).max()


def random_law(key: Key[Array, ""]) -> Law:
    """Functions with random offsets and slopes around a random middle, of a random spread."""
    keys, size = jax.random.split(key, 4), STATES + ACTIONS
    spread = jnp.exp(jax.random.uniform(keys[0], minval=-2.0, maxval=1.0))
    middle = jax.random.normal(keys[1], (1 + size,))
    drawn = middle[None] + spread * jax.random.normal(keys[2], (ATOMS, 1 + size))
    return Law(0.1 * drawn[:, 0], drawn[:, 1:], jnp.zeros((size, size)))


def worst_pair(system: LinearSystem) -> tuple[Law, Law]:
    """Laws that differ by a slope along what F stretches most."""
    direction = jnp.linalg.svd(onward(system).T)[2][0]
    zero, slopes = jnp.zeros((ATOMS,)), jnp.zeros((ATOMS, STATES + ACTIONS))
    still = Law(zero, slopes, jnp.zeros((STATES + ACTIONS, STATES + ACTIONS)))
    return still, still._replace(slope=slopes + direction[None])


def tight_system(product: float, discount: float) -> LinearSystem:
    """‖F‖ is the bound: the policy looks along the direction in which [A B] stretches most."""
    along, across = np.array([0.8, 0.6]), np.array([-0.6, 0.8])
    gain = 0.5 * along[None]
    inputs = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0]])
    following = np.stack([along, 0.5 * across], 1) @ inputs
    return _scaled(following, gain, product, discount)


def random_system(product: float, discount: float, rng: np.random.Generator) -> LinearSystem:
    """Random matrices of the same bound."""
    return _scaled(rng.normal(size=(STATES, STATES + ACTIONS)), rng.normal(size=(ACTIONS, STATES)), product, discount)


def _scaled(following: np.ndarray, gain: np.ndarray, product: float, discount: float) -> LinearSystem:
    """[A B] scaled so that γ ‖[A B]‖ √(1 + ‖K‖²) is `product`."""
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


def check(config: ContractionConfig) -> None:
    """Raises UserError for sizes that the study cannot have."""
    if not 0 < config.discount < 1:
        raise UserError(f"--discount is {config.discount}, but must be above 0 and below 1")
    if not config.products or min(config.products) <= 0:
        raise UserError("--products needs a value of γκ at least, all above 0")
    if not config.bandwidth > 0:
        raise UserError(f"--bandwidth is {config.bandwidth}, but must be above 0")
    for flag, value, least in (("pairs", config.pairs, 1), ("systems", config.systems, 0), ("seed", config.seed, 0)):
        if value < least:
            raise UserError(f"--{flag} is {value}, but must be at least {least}")
    if not 1 <= config.iterations <= 9:
        raise UserError(f"--iterations is {config.iterations}, but must be 1 to 9: laws double in size with each")


def run(config: ContractionConfig) -> dict[str, Any]:
    """Factors per system, and distances between iterates on the tight systems."""
    rng = np.random.default_rng(config.seed)
    with jax.enable_x64(True):
        places = NEAR * jax.random.normal(jax.random.key(config.seed + 1), (PLACES, STATES + ACTIONS))
        records = []
        for product in config.products:
            named = [("tight", tight_system(product, config.discount))]
            named += [("random", random_system(product, config.discount, rng)) for _ in range(config.systems)]
            for kind, system in named:
                keys = jax.random.split(jax.random.key(config.seed), config.pairs)
                found = _factors(system, (keys, places), config.bandwidth, False)
                plain = _factors(system, (keys, places), config.bandwidth, True)
                records.append(_record(kind, product, system, float(found), float(plain)))
        iterates = [_iterate(config, product, places) for product in _iterated(config.products)]
    return {"systems": records, "iterates": iterates}


@partial(jax.jit, static_argnums=(2, 3))
def _factors(system: LinearSystem, where: tuple[Array, Array], bandwidth: float, plain: bool) -> Float[Array, ""]:
    """The largest factor over pairs of random laws and the worst pair known."""
    keys, places = where

    def of_pair(key: Key[Array, ""]) -> Float[Array, ""]:
        first, second = (random_law(k) for k in jax.random.split(key))
        return factor(system, first, second, places, bandwidth, plain)

    worst = factor(system, *worst_pair(system), places, bandwidth, plain)
    return jnp.maximum(jax.lax.map(of_pair, keys).max(), worst)


def _record(kind: str, product: float, system: LinearSystem, found: float, plain: float) -> dict[str, Any]:
    radius = float(np.abs(np.linalg.eigvals(np.asarray(onward(system)))).max())
    return {
        "kind": kind,
        "asked": product,
        "product": system.discount * system.kappa,
        "bound": float(np.sqrt(system.discount * system.kappa)),
        "factor": found,
        "plain_mmd_factor": plain,
        "discounted_radius": system.discount * radius,
    }


_measure = jax.jit(distances, static_argnums=3)
_apply = jax.jit(operator)


def _iterated(products: Sequence[float]) -> list[float]:
    """The smallest γκ, the largest, and the one nearest to 1 from above."""
    above = [product for product in products if product > 1]
    return sorted({min(products), max(products), min(above, default=max(products))})


def _iterate(config: ContractionConfig, product: float, places: Float[Array, "places size"]) -> dict[str, Any]:
    """Distances of two laws as the operator is applied again and again, and what the bound makes of the first one."""
    system = tight_system(product, config.discount)
    first, second = worst_pair(system)
    all_places, start = [places], (first, second)
    found = [float(_measure(first, second, places, config.bandwidth).max())]
    for _ in range(config.iterations):
        all_places.append(reached(system, all_places[-1]))
        first, second = _apply(system, first), _apply(system, second)
        found.append(float(_measure(first, second, places, config.bandwidth).max()))
    widest = float(_measure(*start, jnp.concatenate(all_places), config.bandwidth).max())
    bound = np.sqrt(system.discount * system.kappa)
    record = _record("tight", product, system, float("nan"), float("nan"))
    del record["factor"], record["plain_mmd_factor"]
    return record | {"distances": found, "bounds": [widest * float(bound) ** k for k in range(config.iterations + 1)]}


def lines(record: dict[str, Any]) -> list[str]:
    """What came out, in sentences."""
    systems = record["systems"]
    tight = [s for s in systems if s["kind"] == "tight" and s["asked"] >= s["product"] * (1 - 1e-6)]
    over = [s for s in systems if s["product"] > 1 + 1e-6]
    held = sum(s["factor"] <= s["bound"] * (1 + 1e-6) for s in systems)
    shares = [s["factor"] / s["bound"] for s in tight] or [float("nan")]
    above = [s for s in over if s["factor"] > 1]
    beyond = [s for s in systems if s["plain_mmd_factor"] > s["bound"] * (1 + 1e-6)]
    return [
        f"the factor is within the bound on {held} of {len(systems)} systems; on the tight ones it reaches "
        f"{100 * min(shares):.0f}% to {100 * max(shares):.0f}% of it",
        f"{len(above)} of {len(over)} systems with γκ above 1 are no contraction",
        f"plain MMD exceeds the bound on {len(beyond)} systems, by {100 * _excess(beyond):.0f}% at most",
    ]


def _excess(beyond: Sequence[dict[str, Any]]) -> float:
    return max((s["plain_mmd_factor"] / s["bound"] - 1 for s in beyond), default=0.0)
