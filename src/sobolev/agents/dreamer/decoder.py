"""The decoder: from latents to predicted observations."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dreamer.config import ModelConfig
from sobolev.agents.dreamer.images import ImageDecoder, image_names, image_shape, vector_names
from sobolev.envs.specs import Spaces
from sobolev.nn import MLP, Linear, symexp, symlog

Observation = dict[str, Array]


class Decoder(eqx.Module):
    """Predictions of every observation from [stoch, deter]: of vectors in symlog space, of images in [0, 1]."""

    mlp: MLP | None
    outputs: dict[str, Linear]
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    """names and shapes of the vectors"""
    image: ImageDecoder | None = None
    images: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())
    """names and channels of the images"""

    @staticmethod
    def init(key: Key[Array, ""], spaces: Spaces, config: ModelConfig) -> "Decoder":
        """A decoder for these observations. Raises UserError for images of unsupported sizes (see `image_shape`)."""
        names = vector_names(spaces)
        hidden, *keys = jax.random.split(key, len(names) + 1)
        inputs = config.rows * config.classes + config.deter
        shapes = tuple((name, spaces.spec(name).shape) for name in names)
        outputs = {
            name: Linear.init(k, config.units, math.prod(shape)) for k, (name, shape) in zip(keys, shapes, strict=True)
        }
        mlp = MLP.init(hidden, inputs, config.units, config.decoder_layers) if names else None
        images = tuple((name, spaces.spec(name).shape[2]) for name in image_names(spaces))
        image = ImageDecoder.init(jax.random.fold_in(key, 1), *image_shape(spaces), config) if images else None
        return Decoder(mlp, outputs, shapes, image, images)

    def __call__(self, deter: Float[Array, " deter"], stoch: Float[Array, " stoch"]) -> Observation:
        """By name, float32: predicted symlog(observation) of vectors, predicted image/255 of images."""
        predicted = {}
        if self.mlp is not None:
            x = self.mlp(stoch, deter)
            predicted = {name: self.outputs[name](x).astype(jnp.float32).reshape(shape) for name, shape in self.shapes}
        if self.image is not None:
            joined, channel = self.image(deter, stoch), 0
            for name, channels in self.images:
                predicted[name] = joined[..., channel : channel + channels]
                channel += channels
        return predicted


def reconstruction_loss(prediction: Observation, observation: Observation) -> dict[str, Float[Array, ""]]:
    """Squared error, summed over each observation's entries: in symlog space for vectors, of image/255 for images."""
    return {name: jnp.sum(jnp.square(prediction[name] - target(observation[name]))) for name in prediction}


def target(observation: Array) -> Float[Array, "*shape"]:
    """The decoder's target for an observation: image/255 of an image, symlog of a vector."""
    wide = observation.astype(jnp.float32)
    return wide / 255 if _is_image(observation) else symlog(wide)


def observed(prediction: Array, like: Array) -> Array:
    """A prediction in the units of the observation `like`: the inverse of `target`, rounded for images."""
    if _is_image(like):
        return jnp.round(255 * prediction).astype(jnp.uint8)
    return symexp(prediction)


def _is_image(observation: Array) -> bool:
    return observation.dtype == jnp.uint8 and observation.ndim == 3
