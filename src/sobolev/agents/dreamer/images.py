"""DreamerV3's convolutional encoder and decoder."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from sobolev.agents.dreamer.config import ModelConfig
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.nn import BlockLinear, Convolution, ConvolutionStage, Hidden, Linear, Norm, over

MULTIPLES = (2, 3, 4, 4)
"""Channels after each halving of the image, in units of `ModelConfig.depth`."""
SHRINK = 2 ** len(MULTIPLES)
"""Factor by which the encoder reduces height and width."""


def image_names(spaces: Spaces) -> tuple[str, ...]:
    """The observations that are images, sorted."""
    return tuple(name for name, spec in spaces.observation if spec.is_image)


def vector_names(spaces: Spaces) -> tuple[str, ...]:
    """The other observations, sorted."""
    return tuple(name for name, spec in spaces.observation if not spec.is_image)


def image_shape(spaces: Spaces) -> tuple[int, int, int]:
    """Height and width of the images, and their total number of channels.

    Raises UserError if they differ in size, or their height or width is not a multiple of 16.
    """
    shapes = {name: spaces.spec(name).shape for name in image_names(spaces)}
    (name, (height, width, _)), *others = shapes.items()
    for other, shape in others:
        if shape[:2] != (height, width):
            raise UserError(
                f"the images '{name}' and '{other}' are {height}×{width} and {shape[0]}×{shape[1]}: resize one of them "
                "in the environment, since they are concatenated along their channels"
            )
    if height % SHRINK or width % SHRINK or not height * width:
        raise UserError(
            f"the image '{name}' is {height}×{width}: resize it in the environment to multiples of {SHRINK}, as in "
            f"64×64 (gymnasium.wrappers.ResizeObservation may do), since the encoder halves it {len(MULTIPLES)} times"
        )
    return height, width, sum(shape[2] for shape in shapes.values())


class ImageEncoder(eqx.Module):
    """Tokens of a uint8 image: image/255 − 0.5, halved in height and width by every stage, flattened."""

    stages: tuple[ConvolutionStage, ...]

    @staticmethod
    def init(key: Key[Array, ""], channels: int, config: ModelConfig) -> "ImageEncoder":
        """An encoder for images with that number of channels."""
        depths = [channels, *(config.depth * multiple for multiple in MULTIPLES)]
        keys = jax.random.split(key, len(MULTIPLES))
        return ImageEncoder(tuple(map(ConvolutionStage.init, keys, depths[:-1], depths[1:])))

    def __call__(self, image: UInt8[Array, "height width channels"]) -> Float[Array, " tokens"]:
        """Tokens of one image, in the dtype of the parameters."""
        x = image.astype(jnp.float32) / 255 - 0.5
        for stage in self.stages:
            x = stage.halve(x)
        return x.reshape(-1)


class ImageDecoder(eqx.Module):
    """An image with values in (0, 1) from [stoch, deter]: a small one, doubled in height and width by every stage.

    Every block of deter is mapped to channels of its own in the small image, which keeps that product small.
    """

    deter: BlockLinear
    stoch: Hidden
    stoch_output: Linear
    norm: Norm
    stages: tuple[ConvolutionStage, ...]
    output: Convolution
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], height: int, width: int, channels: int, config: ModelConfig) -> "ImageDecoder":
        """A decoder for images [height, width, channels]; 4 · depth is divisible by the number of blocks."""
        height, width = height // SHRINK, width // SHRINK
        *depths, widest = (config.depth * multiple for multiple in MULTIPLES)
        small, first, second, output, *keys = jax.random.split(key, 4 + len(depths))
        pairs = zip([*depths[1:], widest][::-1], depths[::-1], keys, strict=True)
        size = height * width * widest
        return ImageDecoder(
            deter=BlockLinear.init(small, config.blocks, config.deter, size),
            stoch=Hidden.init(first, config.rows * config.classes, 2 * config.units),
            stoch_output=Linear.init(second, 2 * config.units, size),
            norm=Norm.init(widest),
            stages=tuple(ConvolutionStage.init(k, inputs, outputs) for inputs, outputs, k in pairs),
            output=Convolution.init(output, depths[0], channels),
            height=height,
            width=width,
        )

    def __call__(
        self, deter: Float[Array, " deter"], stoch: Float[Array, " stoch"]
    ) -> Float[Array, "height width channels"]:
        """The predicted image, float32."""
        blocks = self.deter.kernel.shape[0]
        own = self.deter(deter.reshape(blocks, -1)).reshape(blocks, self.height, self.width, -1)
        own = own.transpose(1, 2, 0, 3).reshape(self.height, self.width, -1)
        shared = self.stoch_output(self.stoch(stoch)).reshape(own.shape)
        x = jax.nn.silu(over(self.norm, 2)(own + shared))
        for stage in self.stages:
            x = stage.double(x)
        return jax.nn.sigmoid(self.output.double(x).astype(jnp.float32))
