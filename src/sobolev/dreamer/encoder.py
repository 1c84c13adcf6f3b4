"""From an observation to tokens."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.dreamer.config import ModelConfig
from sobolev.envs.specs import Spaces
from sobolev.nn import MLP, symlog


class Encoder(eqx.Module):
    """Tokens from vector observations: symlog of each, concatenated by sorted name, hidden layers."""

    mlp: MLP

    @staticmethod
    def init(key: Key[Array, ""], spaces: Spaces, config: ModelConfig) -> "Encoder":
        """An encoder for these observations."""
        inputs = sum(math.prod(spec.shape) for _, spec in spaces.observation)
        return Encoder(MLP.init(key, inputs, config.units, config.encoder_layers))

    def __call__(self, observation: dict[str, Array]) -> Float[Array, " tokens"]:
        """Tokens of one observation."""
        vectors = [symlog(observation[name].astype(jnp.float32)).reshape(-1) for name in sorted(observation)]
        return self.mlp(jnp.concatenate(vectors))
