"""Spectral normalisation: power iteration against singular value decompositions, the bound, and its derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.smoothness import init_vectors, power_iteration, singular_values, spectrally_bounded

SILU_SLOPE = 1.09984
"""The largest slope of SiLU."""


class Network(eqx.Module):
    """Linear, SiLU, linear, with biases."""

    first: jax.Array
    first_bias: jax.Array
    second: jax.Array
    second_bias: jax.Array

    def __call__(self, x):
        return jax.nn.silu(x @ self.first + self.first_bias) @ self.second + self.second_bias


def network(scales=(1.0, 1.0), seed=0, sizes=(5, 7, 3)):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    a, b, c = sizes
    return Network(scales[0] * draw(a, b), draw(b), scales[1] * draw(b, c), draw(c))


def largest(kernel):
    return float(np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)[0])


@pytest.mark.parametrize("sizes", [(5, 7, 3), (40, 3, 30), (1, 1, 1)])
def test_power_iteration_finds_the_largest_singular_value(sizes):
    tree = network(sizes=sizes)
    found = singular_values(tree, init_vectors(tree, jax.random.key(0), 500))
    np.testing.assert_allclose(found, [largest(tree.first), largest(tree.second)], rtol=1e-5)


@pytest.mark.long
def test_it_rises_to_it_from_below():
    """||W v|| of a unit vector is never above, and every iteration brings it closer."""
    tree = network()
    vectors, values = init_vectors(tree, jax.random.key(1), 0), []
    for _ in range(30):
        values.append(np.asarray(singular_values(tree, vectors)))
        vectors = power_iteration(tree, vectors)
    assert np.all(np.diff(values, axis=0) >= -1e-5)
    assert np.all(np.asarray(values) <= np.array([largest(tree.first), largest(tree.second)]) * (1 + 1e-5))
    together = power_iteration(tree, init_vectors(tree, jax.random.key(1), 0), 30)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, vectors)


def test_kernels_keep_to_the_bound_and_nothing_else_changes():
    tree = network(scales=(1.0, 0.01))
    vectors = init_vectors(tree, jax.random.key(0), 500)
    bounded = spectrally_bounded(tree, vectors, 0.5)
    assert largest(bounded.first) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(bounded.first, tree.first * (0.5 / largest(tree.first)), rtol=1e-4)
    for name in ("second", "first_bias", "second_bias"):  # the second kernel is below the bound
        np.testing.assert_array_equal(getattr(bounded, name), getattr(tree, name))


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_the_coefficient_is_the_exponent(strength):
    tree = network()
    vectors = init_vectors(tree, jax.random.key(0), 500)
    bounded = jax.jit(lambda share: spectrally_bounded(tree, vectors, 0.5, share))(jnp.float32(strength))
    wanted = largest(tree.first) ** (1 - strength) * 0.5**strength
    assert largest(bounded.first) == pytest.approx(wanted, rel=1e-4)
    if strength == 0:
        np.testing.assert_array_equal(bounded.first, tree.first)


def test_the_map_has_the_lipschitz_constant_that_follows():
    """Of two layers: the product of bounds and of SiLU's largest slope, at any inputs; without the bound it has not."""
    tree, bound = network(scales=(3.0, 3.0)), 0.7
    bounded = spectrally_bounded(tree, init_vectors(tree, jax.random.key(0), 500), bound)
    inputs = 3 * jax.random.normal(jax.random.key(1), (2, 5000, 5))

    def steepest(tree):
        change = jnp.linalg.norm(jax.vmap(tree)(inputs[0]) - jax.vmap(tree)(inputs[1]), axis=-1)
        jacobians = jax.vmap(jax.jacrev(tree))(inputs[0])
        norms = jnp.linalg.norm(jacobians, ord=2, axis=(1, 2))
        return max(float((change / jnp.linalg.norm(inputs[0] - inputs[1], axis=-1)).max()), float(norms.max()))

    assert 0.2 * bound**2 < steepest(bounded) < bound**2 * SILU_SLOPE
    assert steepest(tree) > bound**2 * SILU_SLOPE


def test_derivative_of_sigma_is_that_of_the_largest_singular_value():
    tree = network()
    vectors = init_vectors(tree, jax.random.key(0), 500)
    slope = jax.grad(lambda tree: singular_values(tree, vectors)[0])(tree)
    u, _, vt = np.linalg.svd(np.asarray(tree.first, np.float64))
    np.testing.assert_allclose(slope.first, np.outer(u[:, 0], vt[0]), atol=1e-4)
    assert float(jnp.abs(slope.second).max()) == 0
    # A bounded kernel does not know its own scale: no derivative along it.
    along = jax.grad(lambda scale: spectrally_bounded(network((scale, 1.0)), vectors, 0.5).first[0, 0])(1.0)
    assert abs(float(along)) < 1e-4


def test_a_kernel_of_zeros_stays_and_has_finite_gradients():
    tree = network(scales=(0.0, 1.0))
    vectors = init_vectors(tree, jax.random.key(0))
    assert all(np.isfinite(v).all() and np.linalg.norm(v) == pytest.approx(1, rel=1e-4) for v in vectors)
    value = lambda tree: jnp.sum(spectrally_bounded(tree, vectors, 0.5).first)  # noqa: E731
    assert float(value(tree)) == 0
    slope = jax.grad(value)(tree)
    np.testing.assert_array_equal(slope.first, np.ones((5, 7)))
