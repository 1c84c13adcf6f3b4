"""Learning behaviour in imagination: rollouts, actor, critic, returns and their losses (DreamerV3)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dreamer import rollouts
from sobolev.agents.dreamer.config import BehaviorConfig, ModelConfig
from sobolev.agents.dreamer.rssm import RSSM, flatten_blocks
from sobolev.nn import MLP, BoundedNormal, Linear, TwoHot, drawn, joined, over
from sobolev.system.target import for_accelerator, fused_step

Hiddens = tuple[Float[Array, "*batch units"], ...]
"""The output of the linear part of each hidden layer."""


class Actor(eqx.Module):
    """Policy: a bounded normal over actions from [deter, stoch]."""

    mlp: MLP
    mean: Linear
    std: Linear
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], actions: int, model: ModelConfig, behavior: BehaviorConfig) -> "Actor":
        """A policy whose initial means are close to 0, since its output kernels are scaled by 0.01."""
        hidden, mean, std = jax.random.split(key, 3)
        return Actor(
            MLP.init(hidden, model.deter + model.rows * model.classes, model.units, model.actor_layers),
            Linear.init(mean, model.units, actions, 0.01),
            Linear.init(std, model.units, actions, 0.01),
            behavior.min_std,
            behavior.max_std,
        )

    def __call__(self, *state: Float[Array, " _"]) -> BoundedNormal:
        """The distribution, float32, of the action in the state [deter, stoch], given in one part or in two."""
        return self.traced(*state)[0]

    def traced(self, *state: Float[Array, " _"], before: Hiddens | None = None) -> tuple[BoundedNormal, Hiddens]:
        """The distribution, and the outputs of linear parts, as in `MLP.traced`, which also describes `before`."""
        x, outputs = self.mlp.traced(*state, before=before)
        mean, std = self.mean(x).astype(jnp.float32), self.std(x).astype(jnp.float32)
        return self.bounded(mean, std), outputs

    def bounded(self, mean: Float[Array, "*batch action"], std: Float[Array, "*batch action"]) -> BoundedNormal:
        """The distribution, from the outputs of the layers `mean` and `std`."""
        return BoundedNormal.init(mean, std, self.low, self.high)


class Rollout(eqx.Module):
    """Imagined states 0…H−1, with the actor's actions and hidden outputs in them, time first; and the final state H."""

    states: tuple[Float[Array, "horizon starts _"], ...]
    """deter and stoch, or [deter, stoch] as one array: the inputs of the heads (see `Latents.parts`)"""
    action: Float[Array, "horizon starts action"]
    hiddens: Hiddens
    final: tuple[Float[Array, "starts _"], ...]


def imagine(
    rssm: RSSM,
    actor: Actor,
    deter: Float[Array, "starts deter"],
    stoch: Float[Array, "starts stoch"],
    horizon: int,
    key: Key[Array, ""],
) -> Rollout:
    """Rolls the prior forward from `starts` states under the actor for `horizon` steps.

    No gradient passes through a rollout (the actor learns by REINFORCE), so everything is behind a stop-gradient.
    """
    rssm, actor, deter, stoch = jax.lax.stop_gradient((rssm, actor, deter, stoch))
    noise_key, uniform_key = jax.random.split(key)
    noise = drawn(jax.random.normal, noise_key, (horizon, deter.shape[0], actor.mean.bias.size))
    uniform = drawn(jax.random.uniform, uniform_key, (horizon, deter.shape[0], rssm.prior.rows))
    if for_accelerator():
        networks = rollouts.networks(rssm.cell(), rssm.action_in)
        state = (deter, jnp.concatenate([deter, stoch], -1))
        parts = rollouts.PLAIN
        if fused_step():
            from sobolev.agents.dreamer import fused  # here, since it imports Pallas, which takes its time

            parts = fused.IMAGINATION
        (_, last), (states, action, hiddens) = rollouts.imagine(*networks, rssm, actor, state, (noise, uniform), parts)
        return Rollout((states,), action, hiddens, (last,))
    cell = jax.vmap(rssm.cell(), (1, 0, 0), 1)

    def choose(deter: Array, stoch: Array, noise: Array) -> tuple[Array, Array, Hiddens]:
        policy, hiddens = actor.traced(deter, stoch)
        action = policy.mean + policy.std * noise
        return action, rssm.embed_action(action.astype(deter.dtype)), hiddens

    def advance(carry: tuple[Any, Array, Array], inputs: tuple[Array, Array]) -> tuple[Any, Any]:
        (blocks, deter, stoch), (noise, uniform) = carry, inputs
        action, embedded, hiddens = jax.vmap(choose)(deter, stoch, noise)
        blocks = cell(blocks, stoch, embedded)
        following = flatten_blocks(blocks)
        return (blocks, following, jax.vmap(rssm.prior.draw)(following, uniform)), (deter, stoch, action, hiddens)

    carry = (rssm.to_blocks(deter), deter, stoch)
    (_, *final), (*states, action, hiddens) = jax.lax.scan(advance, carry, (noise, uniform))
    return Rollout(tuple(states), action, hiddens, tuple(final))


def lambda_return(
    reward: Float[Array, "time batch"],
    discount: Float[Array, "time batch"],
    trace: Float[Array, "time batch"],
    value: Float[Array, "time batch"],
) -> Float[Array, "time batch"]:
    """R_t = r_{t+1} + d_{t+1} · ((1 − λ_{t+1}) · v_{t+1} + λ_{t+1} · R_{t+1}); beyond the last step, R is the value.

    Entry t of every argument belongs to step t + 1: the arguments begin one step after the first return.
    """

    if for_accelerator():
        gain, factor = reward + discount * (1 - trace) * value, discount * trace
        return _discounted_sums(gain.at[-1].add(factor[-1] * value[-1]), factor)

    def step(following: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, discount, trace, value = inputs
        result = reward + discount * ((1 - trace) * value + trace * following)
        return result, result

    _, returns = jax.lax.scan(step, value[-1], (reward, discount, trace, value), reverse=True)
    return returns


def _discounted_sums(gain: Float[Array, "time batch"], factor: Float[Array, "time batch"]) -> Array:
    """R_t = gain_t + factor_t · R_{t+1}, with 0 after the last one, by doubling: in log2(time) turns.

    Before a turn, `gain` holds the discounted sums of the next `reach` gains, and `factor` the product of the next
    `reach` factors.
    """
    length, reach = len(gain), 1

    def ahead(x: Array) -> Array:
        return jnp.pad(x[reach:], ((0, reach), (0, 0)))

    while reach < length:
        gain, factor = gain + factor * ahead(gain), factor * ahead(factor)
        reach *= 2
    return gain


class ReturnScale(eqx.Module):
    """Running percentiles of imagined returns; advantages are divided by the distance between them."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @staticmethod
    def init() -> "ReturnScale":
        """Both percentiles start at 0."""
        return ReturnScale(jnp.zeros(()), jnp.zeros(()))

    def update(self, returns: Float[Array, "time batch"], config: BehaviorConfig) -> "ReturnScale":
        """Moves both percentiles towards those of `returns` by `return_rate`."""
        low, high = jnp.percentile(joined(returns, 1), jnp.asarray([config.return_low, config.return_high]))
        rate = config.return_rate
        return ReturnScale((1 - rate) * self.low + rate * low, (1 - rate) * self.high + rate * high)

    def scale(self, config: BehaviorConfig) -> Float[Array, ""]:
        """The number by which advantages are divided, at least `return_floor`."""
        return jnp.maximum(config.return_floor, self.high - self.low)


def actor_loss(
    policy: BoundedNormal,
    action: Float[Array, "horizon batch action"],
    advantage: Float[Array, "horizon batch"],
    weight: Float[Array, "horizon batch"],
    entropy: float,
) -> Float[Array, "horizon batch"]:
    """REINFORCE with entropy bonus: −weight · (log π(a) · advantage + entropy · H(π))."""
    weight, advantage, action = jax.lax.stop_gradient((weight, advantage, action))
    return -weight * (policy.log_prob(action) * advantage + entropy * policy.entropy())


def critic_loss(
    logits: Float[Array, "time batch bins"],
    slow_value: Float[Array, "time batch"],
    returns: Float[Array, "time batch"],
    weight: Float[Array, "time batch"],
    config: BehaviorConfig,
) -> Float[Array, "time batch"]:
    """Weighted sum of the two-hot losses to the return and to the slow critic's prediction."""
    weight, returns, slow_value = jax.lax.stop_gradient((weight, returns, slow_value))
    bins = TwoHot(logits.shape[-1])

    def loss(logits: Array, returns: Array, slow_value: Array) -> Array:
        return bins.loss_to(logits, returns, slow_value, weights=(1.0, config.slow_regularizer))

    return weight * over(loss, 2)(logits, returns, slow_value)


class ImaginationLosses(eqx.Module):
    """Losses per imagined step, and the returns that they were computed from."""

    policy: Float[Array, "horizon batch"]
    value: Float[Array, "horizon batch"]
    returns: Float[Array, "horizon batch"]
    scale: ReturnScale


def imagination_losses(
    reward: Float[Array, "horizon batch"],
    cont: Float[Array, "states batch"],
    action: Float[Array, "horizon batch action"],
    policy: BoundedNormal,
    value_logits: Float[Array, "horizon batch bins"],
    final_value: Float[Array, " batch"],
    slow_logits: Float[Array, "horizon batch bins"],
    scale: ReturnScale,
    config: BehaviorConfig,
) -> ImaginationLosses:
    """Actor and critic losses of rollouts with states 0…H.

    `reward` belongs to states 1…H, `cont` to 0…H, `final_value` to H, the others to 0…H−1. The continue probability
    includes the discount. Targets use the predictions of the critic, not of the slow critic. Step t is weighted by the
    discounted probability that the rollout has not ended, the product of `cont` from state 0 to t.
    """
    mean = over(TwoHot(value_logits.shape[-1]).mean, 2)
    value = mean(jax.lax.stop_gradient(value_logits))
    following = jnp.concatenate([value[1:], final_value[None]])
    returns = lambda_return(reward, cont[1:], jnp.full_like(reward, config.trace), following)
    scale = scale.update(returns, config)
    weight = jnp.cumprod(cont, 0)[:-1]
    advantage = (returns - value) / scale.scale(config)
    return ImaginationLosses(
        policy=actor_loss(policy, action, advantage, weight, config.entropy),
        value=critic_loss(value_logits, mean(slow_logits), returns, weight, config),
        returns=returns,
        scale=scale,
    )


def replay_value_loss(
    reward: Float[Array, "time batch"],
    last: Array,
    terminal: Array,
    bootstrap: Float[Array, "time batch"],
    value_logits: Float[Array, "time batch bins"],
    slow_logits: Float[Array, "time batch bins"],
    config: BehaviorConfig,
) -> tuple[Float[Array, "returns batch"], Float[Array, "returns batch"]]:
    """Critic loss and λ-return of replayed rewards, for all steps of the window except the last one.

    The bootstrap at each step is the imagined return of the rollout that starts there. Returns end at terminal steps.
    At the last step of an episode they are bootstrapped, and the loss there is masked.
    """
    discount = (1 - 1 / config.discount_horizon) * (1.0 - terminal[1:].astype(jnp.float32))
    trace = config.trace * (1.0 - last[1:].astype(jnp.float32))
    returns = lambda_return(reward[1:], discount, trace, bootstrap[1:])
    slow_value = over(TwoHot(value_logits.shape[-1]).mean, 2)(slow_logits[:-1])
    weight = 1.0 - last[:-1].astype(jnp.float32)
    return critic_loss(value_logits[:-1], slow_value, returns, weight, config), returns
