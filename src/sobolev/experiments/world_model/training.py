"""Trains a world model on a fixed dataset, without a policy and without imagination."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from sobolev import replay as memory
from sobolev.agents.dreamer.agent import Dreamer, compact
from sobolev.agents.dreamer.optimizer import build_optimizer, descend
from sobolev.agents.dreamer.rssm import Latents
from sobolev.agents.dreamer.world_model import WorldModel, world_model_losses
from sobolev.errors import UserError
from sobolev.experiments.world_model.datasets import Episode
from sobolev.nn import cast_floating
from sobolev.replay import Replay

_init = jax.jit(WorldModel.init, static_argnums=(1, 2))


class Learner(NamedTuple):
    """The state of the training of a world model, without its replay."""

    world: WorldModel
    optimizer: optax.OptState
    updates: Int[Array, ""]


Update = Callable[[Learner, Replay, Key[Array, ""]], tuple[Learner, Replay, Float[Array, ""]]]
"""A function from (learner, replay, key) to the learner and the replay after an update, and its loss."""


def update(
    agent: Dreamer, learner: Learner, replay: Replay, key: Key[Array, ""]
) -> tuple[Learner, Replay, Float[Array, ""]]:
    """Makes one update of the world model with the agent's loss, without the terms of imagination. Also returns the
    loss."""
    sample_key, infer_key, penalty_key = jax.random.split(key, 3)
    config = agent.config
    windows, replay = memory.sample(replay, sample_key, config.batch_size, config.batch_length)

    def loss(world: WorldModel) -> tuple[Float[Array, ""], tuple[Latents, Float[Array, ""]]]:
        exact, world = world, cast_floating(world, agent.dtype)
        steps, tokens, latents = agent.infer(world, windows, infer_key)
        losses = world_model_losses(world, latents, steps, config.loss, 1 - 1 / config.behavior.discount_horizon)
        penalty, _ = agent.penalty(exact, latents.deter, tokens, learner.updates, penalty_key)
        total = cast(Array, sum(agent.loss_scale(name) * loss.mean() for name, loss in losses.items()))
        return penalty + total, (jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), latents), total)

    gradients, (latents, total) = jax.grad(loss, has_aux=True)(learner.world)
    world, optimizer, _ = descend(config.optimizer, learner.world, gradients, learner.optimizer)
    replay = memory.write_back(replay, windows, compact(latents))
    return Learner(world, optimizer, learner.updates + 1), replay, total


@cache
def compiled_update(agent: Dreamer) -> Update:
    """Returns `update` for an agent, compiled once for all datasets."""
    return jax.jit(partial(update, agent), donate_argnums=(0, 1))


def train(
    agent: Dreamer, episodes: Sequence[Episode], number: int, updates: int, seed: int
) -> tuple[WorldModel, float]:
    """Trains a world model on the first `number` episodes. Returns it, and the mean loss of the last updates (10%)."""
    keys = jax.random.split(jax.random.key(seed))
    world = _init(keys[0], agent.spaces, agent.config.model)
    optimizer = build_optimizer(agent.config.optimizer).init(world)
    learner = Learner(world, optimizer, jnp.zeros((), jnp.int32))
    replay, losses = filled(agent, episodes, number), []
    for index in range(updates):
        learner, replay, loss = compiled_update(agent)(learner, replay, jax.random.fold_in(keys[1], index))
        losses.append(loss)
    last = float(np.mean(losses[-max(1, updates // 10) :]))
    if not np.isfinite(last):
        raise UserError("the world model's loss is not finite: try a smaller --optimizer.learning-rate")
    return learner.world, last


def filled(agent: Dreamer, episodes: Sequence[Episode], number: int) -> Replay:
    """Returns a replay with the capacity for all episodes that holds the first `number`, one after the other."""
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[None], *episodes)
    step = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), whole)
    replay = memory.create(step, agent.extras(), 1, whole["first"].shape[1])
    count = sum(len(episode["first"]) for episode in episodes[:number])
    return replace(replay, steps=jax.tree.map(jnp.asarray, whole), count=jnp.asarray(count, jnp.int32))
