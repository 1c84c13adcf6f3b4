"""The losses of critics and actor, for any world model: the learned one, or a true one in tests and studies."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from sobolev.agents.dsdpg.config import DSDPGConfig
from sobolev.agents.dsdpg.mmd import discrepancy
from sobolev.agents.dsdpg.networks import Policy, TwinCritic, Value, drawn, quantile_of, sobolev_sample
from sobolev.agents.dsdpg.target import Model, target_samples


class Compared(NamedTuple):
    """The samples that are compared in the critics' loss."""

    found: Float[Array, "2 batch samples vector"]
    """[Z; ∂Z/∂a] of both critics"""
    wanted: Float[Array, "batch targets vector"]
    """[y; ∂y/∂a], constants"""
    direction: Float[Array, "2 batch dimensions"]
    """θ of MSMMD; zeros for other discrepancies"""


def critic_loss(
    critics: TwinCritic,
    target_critics: TwinCritic,
    target_policy: Policy,
    model: Model,
    noise: int,
    states: Float[Array, "batch state"],
    actions: Float[Array, "batch action"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DSDPGConfig,
) -> tuple[Float[Array, ""], Compared]:
    """Sum over both critics of the weighted discrepancy between their samples and the target's (paper 2).

    states, actions: where critics are trained; weight: of each state in the mean, with sum 1; noise: the number of
    standard normal numbers that one draw of `model` takes.
    """
    critic, keys, batch = config.critic, jax.random.split(key, 3), states.shape[0]

    # Target: samples of [y; ∂y/∂a] through model, target policy and target critics, without the largest returns.
    sample = partial(target_samples, model, noise, target_policy, target_critics, config=critic)
    wanted = jax.vmap(lambda s, a, k: sample(s, a, k))(states, actions, jax.random.split(keys[0], batch))

    # Critics: their own samples [Z; ∂Z/∂a], and the discrepancy between these and the target's.
    xi = drawn(keys[1], (2, batch, critic.samples), critic)
    found = critics.over(lambda one, xi: samples_at(one, states, actions, xi), xi)
    if config.discrepancy.kind == "quantile":
        losses = jax.vmap(jax.vmap(quantile_loss), (0, None, 0))(found[..., 0], wanted[..., 0], quantile_of(xi))
        return jnp.sum(weight[None] * losses), Compared(found, wanted, jnp.zeros((2, batch, 1)))
    compared = slice(None) if critic.gradient else slice(1)
    far = jax.vmap(lambda x, k: discrepancy(x, wanted[..., compared], weight, k, config.discrepancy))(
        found[..., compared], jax.random.split(keys[2], 2)
    )
    return jnp.sum(weight[None] * far.value), Compared(found, wanted, far.direction)


def quantile_loss(
    found: Float[Array, " samples"], wanted: Float[Array, " targets"], quantiles: Float[Array, " samples"]
) -> Float[Array, ""]:
    """Huber quantile regression (IQN, equation 3), Σ_i mean_j |τ_i − 1{u < 0}| Huber(u) with u = y_j − z_i."""
    error = wanted[None] - found[:, None]
    tilt = jnp.abs(quantiles[:, None] - (error < 0).astype(jnp.float32))
    return jnp.sum(jnp.mean(tilt * optax.losses.huber_loss(error), 1))


def samples_at(
    critic: Value,
    states: Float[Array, "batch state"],
    actions: Float[Array, "batch action"],
    noise: Float[Array, "batch samples noise"],
) -> Float[Array, "batch samples vector"]:
    """Samples [Z; ∂Z/∂a] of one critic at every state, one for each noise vector."""

    def at(s: Array, a: Array, noises: Array) -> Array:
        return jax.vmap(lambda xi: sobolev_sample(critic, s, a, xi))(noises)

    return jax.vmap(at)(states, actions, noise)


def actor_loss(
    policy: Policy,
    critics: TwinCritic,
    states: Float[Array, "batch state"],
    weight: Float[Array, " batch"],
    key: Key[Array, ""],
    config: DSDPGConfig,
) -> Float[Array, ""]:
    """The negative mean of Z(s, π(s), ξ) over samples of ξ, both critics, and states by weight (paper 2)."""
    xi = drawn(key, (2, states.shape[0], config.critic.samples), config.critic)

    def mean(critic: Value, xi: Float[Array, "batch samples noise"]) -> Float[Array, " batch"]:
        along = jax.vmap(lambda s, a, noises: jax.vmap(lambda n: critic(s, a, n))(noises))
        return along(states, jax.vmap(policy)(states), xi).mean(1)

    return -jnp.sum(weight[None] * critics.over(mean, xi)) / 2
