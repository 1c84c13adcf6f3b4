"""What actor and critic learn from imagined rollouts: the heads along them, and the losses."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dreamer.behavior import (
    Actor,
    Hiddens,
    ImaginationLosses,
    ReturnScale,
    imagination_losses,
    imagine,
)
from sobolev.agents.dreamer.config import BehaviorConfig
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.nn import BoundedNormal, Head, TwoHot, first_products, over
from sobolev.system.target import for_accelerator


class Players(NamedTuple):
    """The networks that learn in imagination, and the slow critic."""

    actor: Actor
    critic: Head
    slow: Head


def imagined(
    world: WorldModel,
    players: Players,
    scale: ReturnScale,
    starts: tuple[Float[Array, "starts deter"], Float[Array, "starts stoch"]],
    config: BehaviorConfig,
    key: Key[Array, ""],
) -> ImaginationLosses:
    """Actor and critic losses of rollouts from the states [deter, stoch] in `starts`."""
    stop, bins = jax.lax.stop_gradient, TwoHot(players.critic.output.bias.size)
    rollout = imagine(world.rssm, players.actor, *starts, config.horizon, key)
    acted, final = rollout.states, rollout.final
    heads = {"reward": world.reward, "cont": world.cont, "value": players.critic, "slow": players.slow}
    at_acted, at_final = (dict(zip(heads, _known(heads, states), strict=True)) for states in (acted, final))

    def predicted(name: str, read: Callable[[Array], Array] = lambda output: output) -> Array:
        """What a head says in states 0…H−1."""
        return over(lambda before, *state: read(heads[name](*state, before=before)), 2)(at_acted[name], *acted)

    def at_end(name: str, read: Callable[[Array], Array]) -> Float[Array, " starts"]:
        """In state H."""
        return jax.vmap(lambda before, *state: read(heads[name](*state, before=before)))(at_final[name], *final)

    def along(name: str, read: Callable[[Array], Array]) -> Float[Array, "states starts"]:
        """In states 0…H; none of this trains anything."""
        return stop(jnp.concatenate([predicted(name, read), at_end(name, read)[None]]))

    return imagination_losses(
        reward=along("reward", bins.mean)[1:],
        cont=along("cont", lambda output: jax.nn.sigmoid(output[0])),
        action=rollout.action,
        policy=over(partial(_traced, players.actor), 2)(rollout.hiddens, *acted),
        value_logits=predicted("value"),
        final_value=stop(at_end("value", bins.mean)),
        slow_logits=predicted("slow"),
        scale=scale,
        config=config,
    )


def _traced(actor: Actor, hiddens: Hiddens, *state: Array) -> BoundedNormal:
    return actor.traced(*state, before=hiddens)[0]


def _known(heads: Mapping[str, Head], states: tuple[Array, ...]) -> Sequence[tuple[Array, ...] | None]:
    """What each head's call takes as `before`, in states [states…, _]: on an accelerator one product for all heads."""
    if not for_accelerator():
        return [None] * len(heads)
    mlps = [head.mlp for head in heads.values()]
    return over(partial(first_products, mlps), states[0].ndim - 1)(*states)
