"""Actor and critics. All map one normalised state; axes of batches and samples come from `jax.vmap`."""

import math
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from sobolev.agents.dsdpg.config import CriticConfig, NetworkConfig
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.nn import Perceptron

Result = TypeVar("Result")

Policy = Callable[[Float[Array, " state"]], Float[Array, " action"]]
"""a = π(s)"""
Value = Callable[[Float[Array, " state"], Float[Array, " action"], Float[Array, " noise"]], Float[Array, ""]]
"""Z(s, a, ξ), one sample of the return"""


class Actor(eqx.Module):
    """The deterministic policy π(s) in (−1, 1)."""

    perceptron: Perceptron

    @staticmethod
    def init(key: Key[Array, ""], state: int, action: int, network: NetworkConfig) -> "Actor":
        """An actor with small initial output weights, whose first actions are close to 0, where tanh is steep."""
        return Actor(Perceptron.init(key, state, network.units, network.layers, action, 0.1))

    def __call__(self, state: Float[Array, " state"]) -> Float[Array, " action"]:
        """The action at a normalised state."""
        return jnp.tanh(self.perceptron(state))


class Generator(eqx.Module):
    """Z(s, a, ξ): one sample of the return, from a network with inputs state, action and noise.

    Its gradient ∂Z/∂a is the sample of the return's action gradient, which has no head of its own (paper 2). With noise
    of size 0 it is an ordinary value function Q(s, a).
    """

    perceptron: Perceptron

    @staticmethod
    def init(key: Key[Array, ""], state: int, action: int, noise: int, network: NetworkConfig) -> "Generator":
        """A generator for states, actions and noise of these sizes."""
        return Generator(Perceptron.init(key, state + action + noise, network.units, network.layers, 1))

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
    ) -> Float[Array, ""]:
        """One sample at a normalised state."""
        return self.perceptron(state, action, noise)[0]


class TwinCritic(eqx.Module):
    """Two generators of equal shape, whose parameters are stacked along a leading axis."""

    both: Generator

    @staticmethod
    def init(key: Key[Array, ""], state: int, action: int, noise: int, network: NetworkConfig) -> "TwinCritic":
        """Two independently initialized generators."""
        return TwinCritic(
            jax.vmap(lambda k: Generator.init(k, state, action, noise, network))(jax.random.split(key, 2))
        )

    def over(self, function: Callable[..., Result], *arguments: PyTree) -> Result:
        """`function(critic, *arguments)` for both critics; arguments and results have a leading axis of length two."""
        return jax.vmap(function)(self.both, *arguments)

    def __call__(
        self, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, "2 noise"]
    ) -> Float[Array, "2"]:
        """One sample of each critic at the same state and action."""
        return self.over(lambda critic, xi: critic(state, action, xi), noise)


def drawn(key: Key[Array, ""], shape: tuple[int, ...], config: CriticConfig) -> Float[Array, "*shape noise"]:
    """Samples of ξ: standard normal, or the features cos(π k τ), k = 1 … noise, of quantiles τ ~ U(0, 1)."""
    if config.draws == "noise":
        return jax.random.normal(key, (*shape, config.noise))
    steps = jnp.arange(1, config.noise + 1, dtype=jnp.float32)
    return jnp.cos(jnp.pi * jax.random.uniform(key, (*shape, 1)) * steps.reshape(*[1] * len(shape), -1))


def quantile_of(xi: Float[Array, "*shape noise"]) -> Float[Array, "*shape"]:
    """The quantile τ with the features ξ, the inverse of `drawn`'s map from τ to ξ."""
    return jnp.arccos(jnp.clip(xi[..., 0], -1.0, 1.0)) / jnp.pi


def sobolev_sample(
    value: Value, state: Float[Array, " state"], action: Float[Array, " action"], noise: Float[Array, " noise"]
) -> Float[Array, " vector"]:
    """[Z(s, a, ξ); ∂Z/∂a], one sample of the vector whose distribution the critic models (paper 2)."""
    found, gradient = jax.value_and_grad(value, argnums=1)(state, action, noise)
    return jnp.concatenate([found[None], gradient])


def vector_size(spaces: Spaces) -> int:
    """Number of entries of the vector to which an observation is joined. Raises UserError for images."""
    pixels = [name for name, spec in spaces.observation if spec.is_image]
    if pixels:
        raise UserError(
            f"the observation '{pixels[0]}' is an image, but dsdpg, mage and td3 take vectors: choose --method gpld"
        )
    return sum(math.prod(spec.shape) for _, spec in spaces.observation)


def joined(spaces: Spaces, observation: dict[str, Array]) -> Float[Array, "*batch state"]:
    """A batch of observations as float32 vectors: entries flattened, and concatenated in the order of `spaces`."""
    parts = []
    for name, spec in spaces.observation:
        values = observation[name].astype(jnp.float32)
        lead = values.shape[: values.ndim - len(spec.shape)]
        parts.append(values.reshape(*lead, math.prod(spec.shape)))
    return jnp.concatenate(parts, -1)
