"""The slopes and the error of a trained world model, at states that its policy visits."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.agent import DSDPG
from sobolev.agents.dsdpg.dynamics import Dynamics
from sobolev.agents.dsdpg.learner import State
from sobolev.agents.dsdpg.networks import joined
from sobolev.agents.dsdpg.units import imagination
from sobolev.errors import UserError
from sobolev.experiments.api import Record
from sobolev.experiments.trained import visited

EPISODES = 8
"""Episodes per seed from which the states are drawn."""
DRAWS = 64
"""Draws of the model over which its prediction of a step is averaged."""


def measured(run: Path, states: int) -> list[Record]:
    """Measures the world model of each seed of a run of dsdpg, at `states` steps of the policy's own episodes.

    Everything is in the units of the networks. `slope`: the mean over states of ‖[f_s f_a]‖₂, the largest slope of the
    model (s, a) ↦ s' for one draw of its noise. `kappa`: max(1, ‖[f_s f_a]‖₂ √(1 + ‖π_s(s')‖₂²)), the largest over
    states, the constant of the contraction condition γκ < 1 (paper 2) as far as these states show it. `error`: mean
    squared error of the predicted change of state, the mean over draws, in units of the variance of changes.
    """
    agent, found = visited(run, EPISODES, states)
    if not isinstance(agent, DSDPG):
        raise UserError(f"{run} has no world model like dsdpg's: give a run of dsdpg")
    records = []
    for seed, state, now, following in found:
        numbers = _measure(agent, state, now, following, jax.random.key(seed))
        records.append({"seed": seed, **{name: float(number) for name, number in numbers.items()}})
    return records


@partial(jax.jit, static_argnums=0)
def _measure(
    agent: DSDPG, state: State[Dynamics], now: dict[str, Any], following: dict[str, Any], key: Key[Array, ""]
) -> dict[str, Float[Array, ""]]:
    """The numbers of `measured`, for the agent of one seed."""
    units, dynamics, keys = state.statistics, state.model.dynamics, jax.random.split(key)
    before, after = joined(agent.spaces, now["observation"]), joined(agent.spaces, following["observation"])
    states, actions = jax.vmap(units.normalised)(before), now["action"]
    model, size = imagination(dynamics, units), states.shape[1]

    def slopes(s: Array, a: Array, noise: Array) -> tuple[Array, Array]:
        def step(x: Array) -> Array:
            return model(x[:size], x[size:], noise)[0]

        both = jnp.concatenate([s, a])
        whole, policy = jax.jacfwd(step)(both), jax.jacfwd(state.model.actor)(step(both))
        return jnp.linalg.norm(whole, 2), jnp.linalg.norm(policy, 2)

    noise = jax.random.normal(keys[0], (states.shape[0], dynamics.noise))
    slope, reaction = jax.vmap(slopes)(states, actions, noise)

    def predicted(s: Array, a: Array, noise: Array) -> Array:
        return jax.vmap(lambda n: dynamics.draw(s, a, n).change)(noise).mean(0)

    outcomes = jax.vmap(units.outcome)(before, after, following["reward"])
    noise = jax.random.normal(keys[1], (states.shape[0], DRAWS, dynamics.noise))
    misses = jax.vmap(predicted)(states, actions, noise) - outcomes[:, :-1]
    kappa = jnp.maximum(1.0, (slope * jnp.sqrt(1.0 + jnp.square(reaction))).max())
    return {"slope": slope.mean(), "kappa": kappa, "error": jnp.square(misses).mean()}
