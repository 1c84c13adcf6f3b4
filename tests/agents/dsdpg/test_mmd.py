"""Kernels, MMD, slicing and the search for the worst direction: values by hand, properties, and derivatives."""

import functools
from dataclasses import make_dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sobolev.agents.dsdpg import mmd
from sobolev.agents.dsdpg.config import DiscrepancyConfig
from sobolev.errors import UserError
from tests import tiny

KERNELS = ("multiquadric", "energy", "mixture")
CONFIG = DiscrepancyConfig(gradient_scale=1.0)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


@functools.partial(jax.jit, static_argnums=4)
def measure(x, y, weight, key, config):
    """`discrepancy`, compiled."""
    return mmd.discrepancy(x, y, weight, key, config)


def kernel(name, bandwidth=3.0):
    return mmd.kernel_of(replace(CONFIG, kernel=name, bandwidth=bandwidth))


def misspelled(field, value):
    """A config with a name that its type forbids, of a subclass in which the field may be anything."""
    return make_dataclass("Misspelled", [(field, Any, value)], bases=(DiscrepancyConfig,), frozen=True)()


def samples(seed, number=7, size=3, shift=0.0):
    return jnp.asarray(np.random.default_rng(seed).normal(shift, 1, (number, size)), jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 3))
def between(name, x, y, unbiased=False):
    return mmd.mmd_squared(x, y, kernel(name), unbiased=unbiased)


def test_kernels_by_hand():
    d2 = jnp.array([0.0, 4.0])
    np.testing.assert_allclose(kernel("multiquadric")(d2), [-1, -np.sqrt(1 + 9 * 4)], rtol=1e-6)
    np.testing.assert_allclose(kernel("energy")(d2), [0, -2])
    np.testing.assert_allclose(kernel("mixture")(d2), [10, sum(np.exp(-4 / s) for s in range(1, 11))], rtol=1e-6)
    with pytest.raises(UserError, match="unknown kernel 'mixtur': did you mean mixture"):
        mmd.kernel_of(misspelled("kernel", "mixtur"))


def test_values_by_hand():
    """Energy kernel on {0, 2} and {1, 1}: within x 2 · 2/4 = 1 (V) or 2 (U), within y 0, across 1."""
    x, y = jnp.array([[0.0], [2.0]]), jnp.array([[1.0], [1.0]])
    assert float(between("energy", x, y)) == pytest.approx(2 * 1 - 1 - 0)
    assert float(between("energy", x, y, unbiased=True)) == pytest.approx(2 * 1 - 2 - 0)


def test_published_bandwidth_is_near_the_energy_distance():
    """At h = 100 the multiquadric kernel is nearly 100 times the energy distance, for samples of unit spread."""
    x, y = samples(0, 50), samples(1, 60, shift=0.5)
    wide = mmd.mmd_squared(x, y, kernel("multiquadric", 100.0), unbiased=True)
    assert float(wide) == pytest.approx(100 * float(between("energy", x, y, True)), rel=0.02)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([(2, 3), (7, 5)]), st.floats(-3, 3))
def test_empirical_mmd_is_not_negative_and_zero_for_equal_samples(seed, sizes, shift):
    x, y = np.asarray(samples(seed, sizes[0])), np.asarray(samples(seed + 1, sizes[1], shift=shift))
    with jax.enable_x64(True):
        apart, same, turned = empirical(jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64))
    assert (np.asarray(apart) >= -1e-12).all()
    np.testing.assert_allclose([same, turned], 0, atol=1e-12)


@jax.jit
def empirical(x, y):
    """V-statistics of all kernels: x against y, against itself, and against itself in another order."""
    return [jnp.stack([between(name, x, other) for name in KERNELS]) for other in (y, x, x[::-1])]


@pytest.mark.parametrize(("name", "unbiased"), [("multiquadric", True), ("energy", False), ("mixture", True)])
def test_order_does_not_matter(name, unbiased):
    x, y = samples(0), samples(1, 9, shift=1.0)
    shuffled = x[jnp.array([3, 0, 6, 2, 5, 1, 4])]
    assert float(between(name, shuffled, y, unbiased)) == pytest.approx(float(between(name, x, y, unbiased)), rel=1e-5)
    assert float(between(name, y, x, unbiased)) == pytest.approx(float(between(name, x, y, unbiased)), rel=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_one_is_unbiased_and_the_other_is_not(name):
    """All samples of three out of four points, enumerated: the mean U-statistic is the MMD² of the distributions."""
    points, n = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], np.float32), 3
    other = jnp.asarray([[0.5, 0.5], [2.0, -1.0]])
    draws = np.stack(np.meshgrid(*[np.arange(4)] * n, indexing="ij"), -1).reshape(-1, n)
    picked = jnp.asarray(points[draws])
    # Between y's two points themselves, taken as a distribution, the V-statistic is exact.
    exact = mmd.mmd_squared(jnp.asarray(points), other, kernel(name), unbiased=False)
    # Of y's kernel with itself the V-statistic counts both points and the pair, the U-statistic the pair alone.
    point, pair = (float(kernel(name)(jnp.float32(squared))) for squared in (0.0, 4.5))
    own_y = (point - pair) / 2
    unbiased, biased = [
        float(jax.jit(jax.vmap(lambda x, how=how: between(name, x, other, how)))(picked).mean())
        for how in (True, False)
    ]
    assert unbiased + own_y == pytest.approx(float(exact), rel=1e-4)
    assert biased > float(exact) * 1.05


# The energy kernel's maximum over directions lies on kinks, where an ascent does not come to rest.
@pytest.mark.parametrize(("kind", "name"), [("mmd", "mixture"), ("msmmd", "multiquadric"), ("sliced", "energy")])
def test_gradients_against_finite_differences(kind, name):
    """That of MSMMD with its search: at the maximum, the direction's own derivative contributes nothing."""
    numpy = np.random.default_rng(3)
    x, y, move = numpy.normal(size=(2, 5, 3)), numpy.normal(0.5, 2, (2, 6, 3)), numpy.normal(size=(2, 5, 3))
    # Small last steps, so that the direction is at the maximum and contributes nothing.
    config = replace(CONFIG, kind=kind, kernel=name, bandwidth=2.0, steps=60, first_step=0.5, last_step=1e-7)
    config = replace(config, direction="item", unbiased=False)
    with jax.enable_x64(True):
        x, y, move = [jnp.asarray(a, jnp.float64) for a in (x, y, move)]
        weight = jnp.full(2, 0.5, jnp.float64)

        @jax.jit
        def total(x):
            return jnp.sum(weight * mmd.discrepancy(x, y, weight, jax.random.key(0), config).value)

        slope = float(jnp.sum(jax.jit(jax.grad(total))(x) * move))
        numeric = float(total(x + 1e-5 * move) - total(x - 1e-5 * move)) / 2e-5
    assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_the_ascent_finds_what_a_grid_finds():
    """In two dimensions, for ten pairs of samples, with the default number of steps and restarts."""
    angles = jnp.linspace(0, jnp.pi, 2000)
    grid = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    config = replace(CONFIG, unbiased=False, direction="item")
    along = functools.partial(mmd.mmd_squared, kernel=mmd.kernel_of(config), unbiased=False)
    stretch = jnp.array([[1.0, 0.0], [0.6, 0.3]])
    x = jnp.stack([samples(seed, 10, 2) for seed in range(10)])
    y = jnp.stack([samples(50 + seed, 18, 2, shift=0.1 * seed) @ stretch for seed in range(10)])
    best = jax.jit(jax.vmap(lambda t: jax.vmap(lambda a, b: mmd._slice(t, a, b, along))(x, y)))(grid)
    found = measure(x, y, jnp.full(10, 0.1), jax.random.key(1), config)
    np.testing.assert_allclose(found.value, best.max(0), rtol=0.01)
    np.testing.assert_allclose(jnp.linalg.norm(found.direction, axis=1), 1, rtol=1e-5)
    cosine = jnp.abs(jnp.sum(found.direction * grid[best.argmax(0)], -1))
    assert jnp.median(cosine) > 0.99

    shared = measure(x, y, jnp.full(10, 0.1), jax.random.key(1), replace(config, direction="batch"))
    assert float(shared.value.mean()) == pytest.approx(float(best.mean(1).max()), rel=0.01)
    assert np.unique(np.asarray(shared.direction), axis=0).shape[0] == 1


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_what_is_searched_is_the_mmd_but_for_a_constant(name, unbiased):
    """And so is its derivative by the direction."""
    x, y, theta = samples(0, 5), samples(1, 8, shift=0.5), samples(2, 1)[0]
    between = functools.partial(mmd.mmd_squared, kernel=kernel(name), unbiased=unbiased)
    apart, shares = mmd.pairs(x[None], y[None], unbiased=unbiased)
    quick, plain = mmd.mmd_along(apart[0], shares, kernel(name)), lambda t: mmd._slice(t, x, y, between)
    own = 0.0 if unbiased else float(kernel(name)(jnp.zeros(()))) * (1 / 5 + 1 / 8)
    assert float(quick(theta)) + own == pytest.approx(float(plain(theta)), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(jax.grad(quick)(theta), jax.grad(plain)(theta), rtol=1e-3, atol=1e-5)


def test_a_state_without_weight_has_no_say_in_the_direction():
    x, y = jnp.stack([samples(0), samples(1)]), jnp.stack([samples(2, shift=2.0), samples(3)])
    y = y.at[1, :, 1].add(50.0)
    config = replace(CONFIG, restarts=4, steps=20)
    found = measure(x, y, jnp.array([1.0, 0.0]), jax.random.key(0), config)
    alone = measure(x[:1], y[:1], jnp.ones(1), jax.random.key(0), config)
    np.testing.assert_allclose(found.value[0], alone.value[0], rtol=0.02)
    both = measure(x, y, jnp.array([0.5, 0.5]), jax.random.key(0), config)
    assert abs(float(both.direction[0, 1])) > 0.9 > abs(float(found.direction[0, 1]))


def test_more_directions_never_do_worse_and_slicing_never_better():
    x, y = jnp.stack([samples(s) for s in range(4)]), jnp.stack([samples(9 + s, 8, shift=0.7) for s in range(4)])
    config, weight = replace(CONFIG, unbiased=False, direction="item"), jnp.full(4, 0.25)
    value = {
        kind: measure(x, y, weight, jax.random.key(2), replace(config, kind=kind)).value
        for kind in ("mmd", "msmmd", "sliced")
    }
    assert (value["msmmd"] > value["sliced"]).all()
    bare = measure(x, y, weight, jax.random.key(2), replace(config, steps=0)).value
    assert (value["msmmd"] >= bare * (1 - 1e-5)).all()


def test_the_scale_of_gradient_coordinates():
    """Twice the scale is the same as samples with gradients twice as long."""
    x, y = samples(0)[None], samples(1, shift=1.0)[None]
    doubled = jnp.array([1.0, 2.0, 2.0])[None, None]
    for kind in ("mmd", "msmmd", "sliced"):
        config = replace(CONFIG, kind=kind)
        scaled = measure(x, y, jnp.ones(1), jax.random.key(0), replace(config, gradient_scale=2.0)).value
        by_hand = measure(x * doubled, y * doubled, jnp.ones(1), jax.random.key(0), config).value
        np.testing.assert_allclose(scaled, by_hand, rtol=1e-5)


def test_one_dimension_needs_no_search():
    """On returns alone (no gradients) every direction is the same one."""
    x, y = samples(0, size=1)[None], samples(1, size=1, shift=1.0)[None]
    values = [
        float(measure(x, y, jnp.ones(1), jax.random.key(0), replace(CONFIG, kind=kind)).value[0])
        for kind in ("mmd", "msmmd", "sliced")
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


def test_equal_samples_give_zero_and_finite_gradients():
    x = samples(0)[None]
    for name in ("multiquadric", "energy"):
        config = replace(CONFIG, kernel=name, unbiased=False)
        value, slope = jax.value_and_grad(
            lambda z, config=config: measure(z, x, jnp.ones(1), jax.random.key(0), config).value[0]
        )(x)
        assert abs(float(value)) < 1e-4 and jnp.isfinite(slope).all()
    with pytest.raises(UserError, match="unknown discrepancy"):
        measure(x, x, jnp.ones(1), jax.random.key(0), misspelled("kind", "msmdm"))
