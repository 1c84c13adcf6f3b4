"""5×5 convolutions that halve or double an image, as products of 2×2 patches.

A 5×5 convolution at full resolution, before 2×2 pooling or after upsampling by 2, is equal to a 3×3 convolution at half
the resolution between patches, where a patch [2, 2, channels] is a pixel of 4 · channels numbers. That is faster:
convolving the upsampled image would multiply every number four times, and products over few channels are slow, while
patches have four times as many.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sobolev.nn.batching import over
from sobolev.nn.layers import Norm, initial_kernel

WIDTH = 5
"""Rows and columns of a kernel."""


class Convolution(eqx.Module):
    """y[i, j] = Σ x[i + di, j + dj] · kernel[di, dj] + bias for di, dj from −2 to 2, with zeros around the image."""

    kernel: Float[Array, "5 5 inputs outputs"]
    bias: Float[Array, " outputs"]

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int) -> "Convolution":
        """A layer with zero bias; the fan-in of the initial kernel is 25 · inputs."""
        shape = (WIDTH, WIDTH, inputs, outputs)
        return Convolution(initial_kernel(key, shape, WIDTH * WIDTH * inputs, 1.0), jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "height width inputs"]) -> Float[Array, "height width outputs"]:
        """The convolution at full resolution."""
        return convolve(x, self.kernel) + self.bias[None, None]

    def halve(self, x: Float[Array, "height width inputs"]) -> Float[Array, "half_height half_width outputs"]:
        """The largest output of every 2×2 patch; height and width are even."""
        kernel = patch_kernel(self.kernel)
        _, _, _, r, _, s, inputs, outputs = kernel.shape
        kernel = kernel.transpose(2, 4, 3, 5, 6, 0, 1, 7).reshape(3, 3, r * s * inputs, -1)
        y = convolve(to_patches(x), kernel)
        return jnp.max(y.reshape(*y.shape[:2], 4, outputs), 2) + self.bias[None, None]

    def double(self, x: Float[Array, "height width inputs"]) -> Float[Array, "double_height double_width outputs"]:
        """The convolution of the image in which every pixel of x is repeated as 2×2 pixels."""
        kernel = jnp.sum(patch_kernel(self.kernel), (3, 5))
        kernel = kernel.transpose(2, 3, 4, 0, 1, 5).reshape(3, 3, x.shape[-1], -1)
        return from_patches(convolve(x, kernel)) + self.bias[None, None]


class ConvolutionStage(eqx.Module):
    """A convolution, then RMS norm over the channels of every pixel, then SiLU."""

    convolution: Convolution
    norm: Norm

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int) -> "ConvolutionStage":
        """A stage of `outputs` channels."""
        return ConvolutionStage(Convolution.init(key, inputs, outputs), Norm.init(outputs))

    def halve(self, x: Float[Array, "height width inputs"]) -> Float[Array, "half_height half_width outputs"]:
        """Maps x, with 2×2 max pooling between convolution and norm; height and width are even."""
        return self.activate(self.convolution.halve(x))

    def double(self, x: Float[Array, "height width inputs"]) -> Float[Array, "double_height double_width outputs"]:
        """Maps the image in which every pixel of x is repeated as 2×2 pixels."""
        return self.activate(self.convolution.double(x))

    def activate(self, y: Float[Array, "height width outputs"]) -> Float[Array, "height width outputs"]:
        """The norm and SiLU that follow the convolution."""
        return jax.nn.silu(over(self.norm, 2)(y))


def convolve(
    x: Float[Array, "height width inputs"], kernel: Float[Array, "rows columns inputs outputs"]
) -> Float[Array, "height width outputs"]:
    """Correlation with a kernel of odd size, with zeros around the image."""
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x[None].astype(kernel.dtype), kernel, (1, 1), "SAME", dimension_numbers=layout)
    return y[0]


def patch_kernel(kernel: Float[Array, "5 5 inputs outputs"]) -> Float[Array, "2 2 3 2 3 2 inputs outputs"]:
    """[p, q, a, r, b, s]: the weight of pixel (r, s) of the patch at offset (a − 1, b − 1) in output (p, q) of a patch.

    That pixel is 2(a − 1) + r − p rows below the output: −2 to 3 for p = 0, and −3 to 2 for p = 1. The kernel has rows
    −2 to 2, and the weight is 0 beyond; likewise for columns.
    """
    shifted = [
        jnp.pad(kernel, ((p, 1 - p), (q, 1 - q), (0, 0), (0, 0))).reshape(3, 2, 3, 2, *kernel.shape[2:])
        for p in (0, 1)
        for q in (0, 1)
    ]
    return jnp.stack(shifted).reshape(2, 2, *shifted[0].shape)


def to_patches(x: Float[Array, "height width channels"]) -> Float[Array, "half_height half_width patch"]:
    """2×2 patches, each flattened from [2, 2, channels]."""
    height, width, channels = x.shape
    patches = x.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 1, 3, 4)
    return patches.reshape(height // 2, width // 2, 4 * channels)


def from_patches(y: Float[Array, "height width patch"]) -> Float[Array, "double_height double_width channels"]:
    """The inverse of `to_patches`."""
    height, width, size = y.shape
    pixels = y.reshape(height, width, 2, 2, size // 4).transpose(0, 2, 1, 3, 4)
    return pixels.reshape(2 * height, 2 * width, size // 4)
