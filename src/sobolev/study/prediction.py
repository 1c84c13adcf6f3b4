"""How well a world model foretells episodes that it was not trained on, one step ahead and many."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.dreamer.rssm import RSSM, flatten_blocks
from sobolev.dreamer.world_model import WorldModel
from sobolev.nn import TwoHot, kl_divergence, over, sample_one_hot, symlog
from sobolev.study.sensitivity import latents_along

STRIDE = 5
"""Steps between two states from which an open-loop prediction starts."""


@partial(jax.jit, static_argnames="horizon")
def measure(
    world: WorldModel, steps: dict[str, Any], horizon: int, key: Key[Array, ""]
) -> dict[str, Float[Array, "*horizon"]]:
    """Errors on episodes, `steps` with leaves [time, episodes, …], each from its first step on.

    `observation` and `reward` [horizon]: the errors 1, 2, … steps ahead, from every fifth state of the posterior on,
    with the actions that were taken and latents drawn from the prior; the first entry is the one-step error.
    Observations: squared error in symlog space over the variance there, both summed over all entries, so that 1 is as
    bad as their mean. Reward: mean absolute error. `kl`: KL of posterior and prior, nats per state, without free nats.
    """
    observe_key, draw_key = jax.random.split(key)
    latents, _ = latents_along(world, steps["observation"], steps["action"], steps["first"], observe_key)
    kl = over(kl_divergence, 2)(latents.probs, over(world.rssm.prior, 2)(latents.deter))
    starts = jnp.arange(0, steps["first"].shape[0] - horizon, STRIDE)

    def ahead(leaf: Array, first: int) -> Array:
        """[horizon, starts · episodes, …], from `first` steps after the starts on."""
        index = starts[None] + first + jnp.arange(horizon)[:, None]
        return leaf[index].reshape(horizon, -1, *leaf.shape[2:])

    deter, stoch = (leaf[starts].reshape(-1, leaf.shape[-1]) for leaf in (latents.deter, latents.stoch))
    states = open_loop(world.rssm, deter, stoch, ahead(steps["action"], 0), draw_key)
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


def open_loop(
    rssm: RSSM,
    deter: Float[Array, "starts deter"],
    stoch: Float[Array, "starts stoch"],
    actions: Float[Array, "horizon starts action"],
    key: Key[Array, ""],
) -> tuple[Float[Array, "horizon starts deter"], Float[Array, "horizon starts stoch"]]:
    """The states after 1, 2, … of these actions, latents drawn from the prior."""
    uniform = jax.random.uniform(key, (*actions.shape[:2], rssm.prior.rows))
    cell = jax.vmap(rssm.cell(), (1, 0, 0), 1)

    def draw(deter: Array, uniform: Array) -> Array:
        return sample_one_hot(rssm.prior(deter), uniform)[0].reshape(-1)

    def advance(carry: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
        (blocks, stoch), (action, uniform) = carry, inputs
        blocks = cell(blocks, stoch, action)
        deter = flatten_blocks(blocks)
        stoch = jax.vmap(draw)(deter, uniform)
        return (blocks, stoch), (deter, stoch)

    embedded = over(rssm.embed_action, 2)(actions)
    return jax.lax.scan(advance, (rssm.to_blocks(deter), stoch), (embedded, uniform))[1]
