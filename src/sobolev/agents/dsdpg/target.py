"""The target [y; ∂y/∂a] of the distributional Sobolev backup (paper 2), for any one-step model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sobolev.agents.dsdpg.config import CriticConfig
from sobolev.agents.dsdpg.networks import Policy, TwinCritic, Value, drawn

Model = Callable[
    [Float[Array, " state"], Float[Array, " action"], Float[Array, " noise"]],
    tuple[Float[Array, " state"], Float[Array, ""], Float[Array, ""]],
]
"""(s, a, ε) → (s', r, d): one draw of next state, reward and termination (0 or 1), smooth in s and a for fixed ε.

ε is standard normal. States have the units of critics and policy, and rewards those of returns.
"""


def backup(
    model: Model,
    policy: Policy,
    value: Value,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    noises: tuple[Float[Array, " noise"], Float[Array, " critic_noise"], Float[Array, " action"]],
    discount: float,
) -> Float[Array, " vector"]:
    """[y; ∂y/∂a] with y(a) = r̂ + γ (1 − d̂) Z(ŝ', π(ŝ') + smoothing, ξ'), for one draw of ε, ξ' and smoothing.

    By the chain rule ∂y/∂a = ∂r̂/∂a + γ (1 − d̂) (∂ŝ'/∂a)ᵀ [∂Z/∂s + (∂π/∂s)ᵀ ∂Z/∂a], the paper's f_action; d̂ is held
    constant.
    """
    epsilon, xi, smoothing = noises

    def y(action: Float[Array, " action"]) -> Float[Array, ""]:
        following, reward, ended = model(state, action, epsilon)
        going = jax.lax.stop_gradient(1.0 - ended)
        return reward + discount * going * value(following, policy(following) + smoothing, xi)

    found, gradient = jax.value_and_grad(y)(action)
    return jnp.concatenate([found[None], gradient])


def target_samples(
    model: Model,
    noise: int,
    policy: Policy,
    critics: TwinCritic,
    state: Float[Array, " state"],
    action: Float[Array, " action"],
    key: Key[Array, ""],
    config: CriticConfig,
) -> Float[Array, "targets vector"]:
    """Samples of [y; ∂y/∂a] at one state and action: `config.samples` of each target critic, without the largest ones.

    noise: the number of standard normal numbers that one draw of the model takes. Every sample has its own draws. With
    smoothing, actions are clipped to [-1, 1], as in TD3. The result is a constant to derivatives, and sorted by return.
    """
    shape, keys = (2, config.samples), jax.random.split(key, 3)
    epsilon = jax.random.normal(keys[0], (*shape, noise))
    xi = drawn(keys[1], shape, config)
    smoothing = clipped_normal(keys[2], (*shape, action.size), config.smoothing, config.smoothing_clip)

    def of_critic(value: Value, *noises: Float[Array, "samples _"]) -> Float[Array, "samples vector"]:
        def within(s: Array, a: Array, xi: Array) -> Array:
            return value(s, jnp.clip(a, -1.0, 1.0), xi)

        asked = within if config.smoothing > 0 else value  # without smoothing the policy alone bounds its actions
        return jax.vmap(lambda *n: backup(model, policy, asked, state, action, n, config.discount))(*noises)

    samples, kept = critics.over(of_critic, epsilon, xi, smoothing), kept_targets(config)
    if config.truncation == "critic":
        samples = jax.vmap(lambda own: keep_smallest(own, kept // 2))(samples)
    return jax.lax.stop_gradient(keep_smallest(samples.reshape(-1, 1 + action.size), kept))


def clipped_normal(key: Key[Array, ""], shape: tuple[int, ...], std: float, largest: float) -> Float[Array, "*shape"]:
    """The noise on the target policy's actions: normal numbers, clipped to ±`largest`."""
    return jnp.clip(std * jax.random.normal(key, shape), -largest, largest)


def kept_targets(config: CriticConfig) -> int:
    """Number of target samples that are kept, at least two; an equal number of each critic where each is truncated."""
    groups = 2 if config.truncation == "critic" else 1
    size = 2 * config.samples // groups
    return max(2, groups * (size - int(config.drop * size + 1e-9)))


def keep_smallest(samples: Float[Array, "pooled vector"], number: int) -> Float[Array, "kept vector"]:
    """The samples with the smallest returns, in increasing order. It reduces overestimation, as in TQC."""
    order: Int[Array, " pooled"] = jnp.argsort(samples[:, 0])
    return samples[order[:number]]
