"""`sobolev study contraction`: how much the distributional Sobolev operator contracts MSMMD, and the bound √(γκ)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from sobolev.errors import UserError
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Record, Results, Say
from sobolev.experiments.contraction import figures
from sobolev.experiments.contraction.sobolev_operator import (
    ACTIONS,
    NEAR,
    PLACES,
    STATES,
    distances,
    factor,
    onward,
    operator,
    random_quadratics,
    random_system,
    reached,
    tight_system,
    worst_pair,
)
from sobolev.experiments.linear_system import LinearSystem

ABOUT = """How much the distributional Sobolev operator contracts MSMMD on linear systems (arXiv 2601.20071).

Compares the largest factor of one application, over pairs of distributions, with the bound sqrt(gamma kappa), for
products gamma kappa below and above 1. Also shows the distance between two distributions over repeated applications.
Writes contraction.png, contraction.pdf and contraction.json (all numbers, and the command) into --out."""


@dataclass(frozen=True)
class ContractionConfig:
    """Sizes of the study; the defaults take about a minute on one core."""

    out: Path = Path("results/contraction")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    discount: float = 0.7
    """γ"""
    products: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
    """values of γκ; for those below γ, κ is 1 and the bound is √γ"""
    bandwidth: float = 100.0
    """h of the multiquadric kernel"""
    pairs: int = 24
    """pairs of random distributions per system, over which the largest factor is taken"""
    systems: int = 4
    """random systems per value of γκ, in addition to the one with a tight bound"""
    iterations: int = 7
    """applications of the operator in the second panel; each doubles the size of the distributions"""
    seed: int = 0
    """seed of systems, places and distributions"""


def check(config: ContractionConfig) -> None:
    """Raises UserError for invalid settings."""
    if not 0 < config.discount < 1:
        raise UserError(f"--discount is {config.discount}, but must be above 0 and below 1")
    checks.positive(config, "products", "bandwidth")
    checks.at_least(config, pairs=1, systems=0, seed=0)
    if not 1 <= config.iterations <= 9:
        raise UserError(
            f"--iterations is {config.iterations}, but must be 1 to 9: distributions double in size with each"
        )


def run(config: ContractionConfig, say: Say) -> Results:
    """Returns `systems`, the factors per system, and `iterates`, the distances between iterates on tight systems."""
    rng, systems = np.random.default_rng(config.seed), []
    with jax.enable_x64(True):
        places = NEAR * jax.random.normal(jax.random.key(config.seed + 1), (PLACES, STATES + ACTIONS))
        for product in config.products:
            named = [("tight", tight_system(product, config.discount))]
            named += [("random", random_system(product, config.discount, rng)) for _ in range(config.systems)]
            for kind, system in named:
                keys = jax.random.split(jax.random.key(config.seed), config.pairs)
                largest = float(_factors(system, (keys, places), config.bandwidth, False))
                plain = float(_factors(system, (keys, places), config.bandwidth, True))
                systems.append(_facts(kind, product, system) | {"factor": largest, "plain_mmd_factor": plain})
        iterates = [_iterate(config, product, places) for product in _iterated(config.products)]
    return {"contraction": {"systems": systems, "iterates": iterates}}


@partial(jax.jit, static_argnums=(2, 3))
def _factors(system: LinearSystem, where: tuple[Array, Array], bandwidth: float, plain: bool) -> Float[Array, ""]:
    """Returns the largest factor over pairs of random distributions and the worst known pair."""
    keys, places = where

    def of_pair(key: Key[Array, ""]) -> Float[Array, ""]:
        first, second = (random_quadratics(k) for k in jax.random.split(key))
        return factor(system, first, second, places, bandwidth, plain)

    worst = factor(system, *worst_pair(system), places, bandwidth, plain)
    return jnp.maximum(jax.lax.map(of_pair, keys).max(), worst)


def _facts(kind: str, product: float, system: LinearSystem) -> Record:
    """Returns the properties of a system that do not depend on measurements."""
    radius = float(np.abs(np.linalg.eigvals(np.asarray(onward(system)))).max())
    return {
        "kind": kind,
        "asked": product,
        "product": system.discount * system.kappa,
        "bound": float(np.sqrt(system.discount * system.kappa)),
        "discounted_radius": system.discount * radius,
    }


_measure = jax.jit(distances, static_argnums=3)
_apply = jax.jit(operator)


def _iterated(products: Sequence[float]) -> list[float]:
    """Returns the smallest γκ, the largest, and the smallest one above 1."""
    above = [product for product in products if product > 1]
    return sorted({min(products), max(products), min(above, default=max(products))})


def _iterate(config: ContractionConfig, product: float, places: Float[Array, "places size"]) -> Record:
    """Returns the distances of two distributions over repeated applications of the operator, and the first distance
    times powers of the bound."""
    system = tight_system(product, config.discount)
    first, second = worst_pair(system)
    all_places, start = [places], (first, second)
    between = [float(_measure(first, second, places, config.bandwidth).max())]
    for _ in range(config.iterations):
        all_places.append(reached(system, all_places[-1]))
        first, second = _apply(system, first), _apply(system, second)
        between.append(float(_measure(first, second, places, config.bandwidth).max()))
    widest = float(_measure(*start, jnp.concatenate(all_places), config.bandwidth).max())
    bound = np.sqrt(system.discount * system.kappa)
    facts = _facts("tight", product, system)
    return facts | {"distances": between, "bounds": [widest * float(bound) ** k for k in range(config.iterations + 1)]}


def draw(config: ContractionConfig, results: Results) -> dict[str, Figure]:
    """Draws the factors with the bound, and the distances between iterates."""
    note = (
        f"γ = {config.discount:g}, h = {config.bandwidth:g}; largest over {config.pairs} pairs of distributions per "
        "system"
    )
    return {"contraction": figures.draw(results["contraction"], note)}


def summary(config: ContractionConfig, results: Results) -> Sequence[str]:
    """Compares the factors with the bound and with 1, in sentences."""
    systems = results["contraction"]["systems"]
    tight = [s for s in systems if s["kind"] == "tight" and s["asked"] >= s["product"] * (1 - 1e-6)]
    over = [s for s in systems if s["product"] > 1 + 1e-6]
    held = sum(s["factor"] <= s["bound"] * (1 + 1e-6) for s in systems)
    shares = [s["factor"] / s["bound"] for s in tight] or [float("nan")]
    above = [s for s in over if s["factor"] > 1]
    beyond = [s for s in systems if s["plain_mmd_factor"] > s["bound"] * (1 + 1e-6)]
    excess = max((s["plain_mmd_factor"] / s["bound"] - 1 for s in beyond), default=0.0)
    return [
        f"the factor is within the bound on {held} of {len(systems)} systems; on the tight ones it reaches "
        f"{100 * min(shares):.0f}% to {100 * max(shares):.0f}% of it",
        f"on {len(above)} of {len(over)} systems with γκ above 1 the operator is not a contraction",
        f"plain MMD exceeds the bound on {len(beyond)} systems, by {100 * excess:.0f}% at most",
    ]


EXPERIMENT = Experiment(ABOUT, ContractionConfig(), run, draw, summary, check)
