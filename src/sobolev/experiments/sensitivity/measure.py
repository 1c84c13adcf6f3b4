"""The sensitivity and the exact Jacobians of an agent's latent distributions (arXiv 2605.23089, Appendix F and equation
5)."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from sobolev.agents.api import State
from sobolev.smoothness.sensitivity import PerturbedTable, jacobian_norms, sensitivity

TABLES = ("posterior", "prior")
"""The latent distributions. The posterior is perturbed in its tokens, the prior in its deter."""
DIRECTIONS = 2
"""Number of random directions per state and magnitude."""

Measured = dict[str, Float[Array, "*magnitudes"]]
"""The numbers of one distribution, by name."""


@runtime_checkable
class HasLatentTables(Protocol):
    """An agent whose world model has a posterior and a prior over categorical latents."""

    def latent_tables(self, state: State, steps: dict[str, Any], key: Key[Array, ""]) -> Mapping[str, PerturbedTable]:
        """Returns the `TABLES` at all steps of a recorded stream [time, batch, …], in time-major order."""
        ...


def measure(
    find_tables: Callable[[Key[Array, ""]], Mapping[str, PerturbedTable]],
    chosen: Int[np.ndarray | Array, " states"],
    key: Key[Array, ""],
) -> dict[str, Measured]:
    """Measures sensitivity and Jacobians of both distributions, at the inputs with the indices `chosen` of those that
    `find_tables` returns.

    sensitivity: mean of KL(r(u) || r(u + delta)) / ||delta|| over states, directions and magnitudes from 0.1% to 10% of
    the mean norm of the perturbed input. by_magnitude, sizes: that mean and ||delta|| for each magnitude.
    jacobian_norm: mean of ||J_i||_F over states and rows, where J_i is with respect to the whole input (deter and
    tokens for the posterior). jacobian_energy: mean of ||J_i||_F^2, which is the penalty (equation 5).
    """
    table_key, *keys = jax.random.split(key, 1 + len(TABLES))
    tables, measured = find_tables(table_key), {}
    for k, name in zip(keys, TABLES, strict=True):
        table, inputs, perturbed = tables[name]
        local = sensitivity(table, inputs[chosen], k, perturbed=perturbed, directions=DIRECTIONS)
        norms = jacobian_norms(table, inputs[chosen])
        measured[name] = {
            "sensitivity": local.value,
            "by_magnitude": local.by_magnitude,
            "sizes": local.sizes,
            "jacobian_norm": norms.mean(),
            "jacobian_energy": jnp.square(norms).mean(),
        }
    return measured
