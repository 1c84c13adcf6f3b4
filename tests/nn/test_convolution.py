"""Convolutions in patches are the convolutions that their docstrings define."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import Convolution, ConvolutionStage, over
from sobolev.nn.convolution import from_patches, to_patches


def layer(inputs: int = 2, outputs: int = 3) -> Convolution:
    made = Convolution.init(jax.random.key(0), inputs, outputs)
    return Convolution(made.kernel, jnp.arange(1.0, outputs + 1))


def image(height: int = 6, width: int = 8, channels: int = 2) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (height, width, channels))


def by_hand(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The sum of the definition, pixel by pixel."""
    height, width, _ = x.shape
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    y = np.zeros((height, width, len(bias)))
    for i in range(height):
        for j in range(width):
            y[i, j] = np.einsum("abc,abco->o", padded[i : i + 5, j : j + 5], kernel) + bias
    return y


def halved(conv: Convolution, x: jax.Array) -> jax.Array:
    y = conv(x)
    return y.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max((1, 3))


def doubled(conv: Convolution, x: jax.Array) -> jax.Array:
    return conv(x.repeat(2, 0).repeat(2, 1))


def test_the_definition():
    conv, x = layer(), image()
    np.testing.assert_allclose(conv(x), by_hand(*map(np.asarray, (x, conv.kernel, conv.bias))), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (6, 8), (16, 4)])
def test_halving_is_convolution_then_the_largest_of_each_patch(shape):
    conv, x = layer(), image(*shape)
    np.testing.assert_allclose(conv.halve(x), halved(conv, x), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4)])
def test_doubling_is_upsampling_then_convolution(shape):
    conv, x = layer(), image(*shape)
    np.testing.assert_allclose(conv.double(x), doubled(conv, x), atol=1e-5)


@pytest.mark.parametrize(("ours", "definition"), [(Convolution.halve, halved), (Convolution.double, doubled)])
def test_gradients_are_those_of_the_definition(ours, definition):
    def total(conv, x, function):
        return jnp.sum(jnp.sin(function(conv, x)))

    for argument in (0, 1):
        gradient = jax.jit(jax.grad(total, argument), static_argnums=2)
        gradients = [gradient(layer(), image(), f) for f in (ours, definition)]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *gradients)


def test_patches_are_taken_apart_as_they_were_put_together():
    x = image(6, 4, 3)
    np.testing.assert_array_equal(to_patches(x)[1, 0], x[2:4, 0:2].reshape(-1))
    np.testing.assert_array_equal(from_patches(to_patches(x)), x)


def test_a_stage_normalises_every_pixel_over_its_channels():
    stage = ConvolutionStage.init(jax.random.key(2), 2, 3)
    y, z = np.asarray(stage.convolution.halve(image())), np.asarray(stage.halve(image()))
    normed = y / np.sqrt(np.mean(np.square(y), -1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(z, normed / (1 + np.exp(-normed)), rtol=1e-4, atol=1e-6)


def test_initial_kernels_count_all_that_an_output_is_made_of():
    kernel = Convolution.init(jax.random.key(3), 16, 64).kernel
    assert float(jnp.std(kernel)) == pytest.approx(1 / np.sqrt(25 * 16), rel=0.02)
    assert np.abs(np.asarray(kernel)).max() <= 2 * 1.1368 / np.sqrt(25 * 16) * (1 + 1e-6)


def test_under_vmap_a_batch_is_its_images():
    conv, x = layer(), jnp.stack([image(), image()[::-1]])
    np.testing.assert_allclose(over(conv.halve, 1)(x)[1], conv.halve(x[1]), atol=1e-6)
