"""Open-loop predictions of the world model along a recorded stream."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from sobolev.agents.api import Step
from sobolev.agents.dreamer.decoder import observed
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.nn import cast_floating, over


def open_loop(world: WorldModel, dtype: DTypeLike, steps: Step, context: int, key: Key[Array, ""]) -> dict[str, Array]:
    """Predicted observations [time, batch, …], in the environment's units, by name.

    `steps`: leaves [time, batch, …] with `observation` (a dict), `first`, and `action`, the one chosen at each step.
    The first `context` steps are observed, and reconstructed from the posterior. The following ones are not observed:
    their latents are drawn from the prior, given the recorded actions. Where an episode begins among them, the model's
    state is reset. Products run in `dtype`.
    """
    world, keys = cast_floating(world, dtype), jax.random.split(key)
    action, first, observation = steps["action"], steps["first"], steps["observation"]
    before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])

    tokens = over(world.encoder, 2)({name: entry[:context] for name, entry in observation.items()})
    start = world.rssm.initial(first.shape[1], dtype)
    posterior = world.rssm.observe(*start, before[:context], tokens, first[:context], keys[0])
    end = posterior.deter[-1], posterior.stoch[-1]
    prior = world.rssm.predict(*end, before[context:], first[context:], keys[1])

    deter, stoch = (jnp.concatenate(both) for both in zip((posterior.deter, posterior.stoch), prior, strict=True))
    predicted = over(world.decoder, 2)(deter, stoch)
    return {name: over(observed, 2)(predicted[name], observation[name]) for name in predicted}
