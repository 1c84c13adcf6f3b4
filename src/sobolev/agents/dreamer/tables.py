"""The latent tables at the states of a recorded stream, where their sensitivity is measured."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from sobolev.agents.api import Step
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.nn import cast_floating
from sobolev.smoothness.sensitivity import PerturbedTable


def latent_tables(world: WorldModel, dtype: DTypeLike, steps: Step, key: Key[Array, ""]) -> dict[str, PerturbedTable]:
    """Posterior and prior, with their float32 inputs at all steps of the streams, in time-major order.

    `steps`: leaves [time, batch, …] with `observation` (a dict), `action`, the one chosen at each step, and `first`,
    which is true at the beginning of every stream. Inputs are computed by networks in `dtype`. Perturbations are of the
    tokens for the posterior, and of deter for the prior.
    """
    latents, tokens = cast_floating(world, dtype).observe(steps["observation"], steps["action"], steps["first"], key)
    deter, tokens = (x.reshape(-1, x.shape[-1]).astype(jnp.float32) for x in (latents.deter, tokens))
    return {
        "posterior": PerturbedTable(
            world.rssm.posterior, jnp.concatenate([deter, tokens], -1), slice(deter.shape[-1], None)
        ),
        "prior": PerturbedTable(world.rssm.prior, deter, slice(None)),
    }
