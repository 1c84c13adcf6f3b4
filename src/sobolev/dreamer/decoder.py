"""From latents back to the observation."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.dreamer.config import ModelConfig
from sobolev.envs.specs import Spaces
from sobolev.nn import MLP, Linear, symlog

Observation = dict[str, Array]


class Decoder(eqx.Module):
    """Predictions in symlog space of every vector observation from [stoch, deter]."""

    mlp: MLP
    outputs: dict[str, Linear]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], spaces: Spaces, config: ModelConfig) -> "Decoder":
        """A decoder for these observations."""
        hidden, *keys = jax.random.split(key, len(spaces.observation) + 1)
        inputs = config.rows * config.classes + config.deter
        outputs = {
            name: Linear.init(k, config.units, math.prod(spec.shape))
            for k, (name, spec) in zip(keys, spaces.observation, strict=True)
        }
        shapes = tuple((name, spec.shape) for name, spec in spaces.observation)
        return Decoder(MLP.init(hidden, inputs, config.units, config.decoder_layers), outputs, shapes)

    def __call__(self, deter: Float[Array, " deter"], stoch: Float[Array, " stoch"]) -> Observation:
        """Predicted symlog(observation), by name, float32."""
        x = self.mlp(stoch, deter)
        return {name: self.outputs[name](x).astype(jnp.float32).reshape(shape) for name, shape in self.shapes}


def reconstruction_loss(prediction: Observation, observation: Observation) -> dict[str, Float[Array, ""]]:
    """Squared error in symlog space, summed over each observation's entries."""
    return {
        name: jnp.sum(jnp.square(prediction[name] - symlog(observation[name].astype(jnp.float32))))
        for name in prediction
    }
