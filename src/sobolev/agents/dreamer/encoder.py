"""The encoder: from an observation to tokens."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.agents.dreamer.config import ModelConfig
from sobolev.agents.dreamer.images import MULTIPLES, SHRINK, ImageEncoder, image_names, image_shape, vector_names
from sobolev.envs.specs import Spaces
from sobolev.nn import MLP, symlog


class Encoder(eqx.Module):
    """Tokens of vectors (symlog of each, concatenated in the order of their names, hidden layers), then of images.

    Images are concatenated along their channels. `mlp` is None without vectors, `image` without images.
    """

    mlp: MLP | None
    image: ImageEncoder | None = None
    images: tuple[str, ...] = eqx.field(static=True, default=())

    @staticmethod
    def init(key: Key[Array, ""], spaces: Spaces, config: ModelConfig) -> "Encoder":
        """An encoder for these observations. Raises UserError for images of unsupported sizes (see `image_shape`)."""
        images, vectors = image_names(spaces), vector_names(spaces)
        inputs = sum(math.prod(spaces.spec(name).shape) for name in vectors)
        mlp = MLP.init(key, inputs, config.units, config.encoder_layers) if vectors else None
        image = ImageEncoder.init(jax.random.fold_in(key, 1), image_shape(spaces)[2], config) if images else None
        return Encoder(mlp, image, images)

    def __call__(self, observation: dict[str, Array]) -> Float[Array, " tokens"]:
        """Tokens of one observation."""
        parts = []
        if self.mlp is not None:
            names = sorted(set(observation) - set(self.images))
            vectors = [symlog(observation[name].astype(jnp.float32)).reshape(-1) for name in names]
            parts.append(self.mlp(jnp.concatenate(vectors)))
        if self.image is not None:
            parts.append(self.image(jnp.concatenate([observation[name] for name in self.images], -1)))
        return jnp.concatenate(parts)


def token_count(spaces: Spaces, config: ModelConfig) -> int:
    """The number of tokens of an observation."""
    vectors = config.units if vector_names(spaces) else 0
    if not image_names(spaces):
        return vectors
    height, width, _ = image_shape(spaces)
    return vectors + height // SHRINK * (width // SHRINK) * MULTIPLES[-1] * config.depth
