"""Equations (3) and (4): both sides, and how fast one tends to the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.smoothness import identities, probability_table


@pytest.fixture
def case(make_network):
    """A smooth map and a point, in float64."""
    with jax.enable_x64(True):
        network = make_network(inputs=4, hidden=8, rows=2, classes=3, dtype="float64")
        yield lambda x: probability_table(network, x).ravel(), jnp.asarray([0.3, -0.5, 0.8, 0.1], jnp.float64)


def test_finite_differences_tend_to_the_directional_derivative_in_first_order(case):
    fn, x = case
    steps = [10.0**-k for k in range(2, 6)]
    for direction in identities.unit_directions(jax.random.key(0), 3, x):
        errors = identities.difference_errors(fn, x, direction, steps)
        assert identities.observed_order(steps, errors) == pytest.approx(1, abs=0.05)
        assert errors[-1] < 1e-3 * identities.directional_energy(fn, x, direction)


def test_difference_of_a_linear_map_is_its_limit():
    matrix, x = jnp.array([[1.0, 2.0], [0.0, 3.0]]), jnp.array([0.5, -1.0])
    direction = jnp.array([0.6, 0.8])

    def fn(x):
        return matrix @ x

    expected = 2.2**2 + 2.4**2
    np.testing.assert_allclose(identities.difference_energy(fn, x, direction, 0.5), expected, rtol=1e-5)
    np.testing.assert_allclose(identities.directional_energy(fn, x, direction), expected, rtol=1e-5)
    np.testing.assert_allclose(identities.frobenius_energy(fn, x), 14, rtol=1e-6)


def test_average_over_a_frame_is_the_frobenius_norm(case):
    """Over d orthonormal directions the average in equation (4) is exact, whatever the frame."""
    fn, x = case
    frame = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0])
    mean = jax.vmap(lambda u: identities.directional_energy(fn, x, u))(frame).mean()
    np.testing.assert_allclose(mean, identities.frobenius_energy(fn, x) / 4, rtol=1e-12)


def test_isotropic_average_tends_to_the_frobenius_norm_in_order_one_half(case):
    """With 256 repeats a root mean square is known to 5% and the slope to 0.02; the bound is five times that."""
    fn, x = case
    numbers = [4, 16, 64, 256]
    errors = jax.jit(lambda key: identities.isotropic_errors(fn, x, key, numbers, 256))(jax.random.key(1))
    assert identities.observed_order(numbers, errors) == pytest.approx(-0.5, abs=0.1)
    assert errors[-1] < 0.1 * identities.frobenius_energy(fn, x) / 4


def test_directions_have_unit_length_and_no_preference():
    directions = identities.unit_directions(jax.random.key(2), 4096, jnp.zeros(3))
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=-1), 1, rtol=1e-5)
    # E[u u^T] = I / 3; one entry's standard error is below 0.005
    np.testing.assert_allclose(directions.T @ directions / 4096, jnp.eye(3) / 3, atol=0.03)
