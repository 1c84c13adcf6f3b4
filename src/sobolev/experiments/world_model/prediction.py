"""How well a world model predicts held-out episodes, one and more steps ahead."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.nn import TwoHot, kl_divergence, over, symlog

STRIDE = 5
"""Number of steps between two states from which open-loop predictions start."""


@partial(jax.jit, static_argnames="horizon")
def measure(
    world: WorldModel, steps: dict[str, Any], horizon: int, key: Key[Array, ""]
) -> dict[str, Float[Array, "*horizon"]]:
    """Returns the errors on episodes, whose `steps` have leaves [time, episodes, …] and begin with a first step.

    observation, reward [horizon]: errors 1, 2, … steps ahead of every fifth state, which is drawn from the posterior,
    with the recorded actions and latents drawn from the prior. Observation: squared error divided by the variance, both
    in symlog space and summed over all entries; 1 is the error of predicting the mean. Reward: mean absolute error.
    kl: KL of posterior and prior in nats per state, without free nats.
    """
    observe_key, draw_key = jax.random.split(key)
    latents, _ = world.observe(steps["observation"], steps["action"], steps["first"], observe_key)
    kl = over(kl_divergence, 2)(latents.probs, over(world.rssm.prior, 2)(latents.deter))
    starts = jnp.arange(0, steps["first"].shape[0] - horizon, STRIDE)

    def ahead(leaf: Array, first: int) -> Array:
        """Returns [horizon, starts · episodes, …], beginning `first` steps after the starts."""
        index = starts[None] + first + jnp.arange(horizon)[:, None]
        return leaf[index].reshape(horizon, -1, *leaf.shape[2:])

    deter, stoch = (leaf[starts].reshape(-1, leaf.shape[-1]) for leaf in (latents.deter, latents.stoch))
    states = world.rssm.predict(deter, stoch, ahead(steps["action"], 0), ahead(steps["first"], 1), draw_key)
    decoded = over(world.decoder, 2)(*states)
    squares, variance = jnp.zeros(horizon), jnp.zeros(())
    for name, entry in steps["observation"].items():
        truth = symlog(entry)
        error = jnp.square(decoded[name] - ahead(truth, 1)).mean(1)
        squares = squares + error.reshape(horizon, -1).sum(1)
        variance = variance + jnp.var(truth, (0, 1)).sum()
    bins = TwoHot(world.reward.output.bias.size)
    reward = over(lambda deter, stoch: bins.mean(world.reward(deter, stoch)), 2)(*states)
    reward_error = jnp.abs(reward - ahead(steps["reward"], 1)).mean(1)
    return {"observation": squares / variance, "reward": reward_error, "kl": kl.mean()}
