"""Means over states, made a few states at a time together with their gradient, against plain ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sobolev.smoothness import jacobian_penalty, joint_energies, means, row_energies
from sobolev.smoothness.means import mean_of_sums
from tests import tiny

STATES = 10


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


@pytest.fixture(params=[3, 4, 64], ids=["four parts, two filled up", "three parts", "one part"])
def _part(request, monkeypatch):
    monkeypatch.setattr(means, "PART", request.param)


def setting(seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((STATES, 3), (STATES, 2), (3, 2))]


def plain(states, probes, kernel):
    """Sums over states of two energies, with a map that is not finite at zero."""
    unit = states / jnp.linalg.norm(states, axis=-1, keepdims=True)
    return jnp.sum(jnp.sin(unit @ kernel) * probes**2, 0)


def both(states, probes, kernel):
    return mean_of_sums(lambda states, probes: plain(states, probes, kernel), states, probes)


@pytest.mark.usefixtures("_part")
@pytest.mark.parametrize("mode", ["reverse", "forward", "seeds"])
def test_values_and_derivatives_are_those_of_the_plain_mean(mode):
    states, probes, kernel = setting()
    weights = jnp.array([0.3, -2.0])

    def ours(states, kernel):
        value, energies = both(states, probes, kernel)
        return 0.7 * value + weights @ energies

    def wanted(states, kernel):
        energies = plain(states, probes, kernel) / STATES
        return 0.7 * energies.mean() + weights @ energies

    def found(function):
        if mode == "reverse":
            return jax.value_and_grad(function, (0, 1))(states, kernel)
        if mode == "forward":
            return jax.jvp(function, (states, kernel), (2 * states + 1, kernel**2))
        several = jnp.stack([states, 2 * states + 1]), jnp.stack([kernel, kernel**2])
        return jax.vmap(jax.value_and_grad(function, (0, 1)))(*several)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found(ours), found(wanted))


@pytest.mark.usefixtures("_part")
def test_both_means():
    states, probes, kernel = setting()
    value, energies = jax.jit(both)(states, probes, kernel)
    np.testing.assert_allclose(energies, plain(states, probes, kernel) / STATES, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, energies.mean(), rtol=1e-5)


@pytest.mark.parametrize("estimator", ["rows", "joint"])
def test_penalty_of_many_states_equals_its_energies(make_network, make_inputs, estimator, monkeypatch):
    """Value, rows and gradients, in parts of four states, of two layers and some of the rows."""
    monkeypatch.setattr(means, "PART", 4)
    network, inputs, key = make_network(layers=2, rows=5), make_inputs(states=STATES), jax.random.key(3)
    _, key_probes = jax.random.split(key)
    probes = jax.random.rademacher(key_probes, (STATES, 3, 4), jnp.float32)

    def ours(network, inputs):
        found = jacobian_penalty(network, inputs, key, estimator=estimator, rows=3)
        return found.value, found.rows

    def wanted(network, inputs):
        if estimator == "joint":
            energies = joint_energies(network, inputs, probes, jnp.arange(3))[:, None]
        else:
            energies = row_energies(network, inputs, probes, jnp.arange(3))
        return energies.mean(), energies.mean(0)

    found, expected = (
        jax.jit(jax.value_and_grad(function, (0, 1), has_aux=True))(network, inputs) for function in (ours, wanted)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def test_gradient_and_hessian_of_the_penalty_against_finite_differences(make_network, make_inputs, monkeypatch):
    monkeypatch.setattr(means, "PART", 2)
    with jax.enable_x64(True):
        network = make_network(inputs=3, hidden=4, rows=2, classes=3, dtype="float64")
        inputs = make_inputs(states=3, inputs=3, dtype="float64")
        point, unflatten = ravel_pytree((network, inputs))
        direction = jnp.asarray(np.random.default_rng(0).standard_normal(point.shape))

        def value(point):
            network, inputs = unflatten(point)
            return jacobian_penalty(network, inputs, jax.random.key(0)).value

        gradient = jax.jit(jax.value_and_grad(value))
        (up, up_gradient), (down, down_gradient) = (gradient(point + step * direction) for step in (1e-5, -1e-5))
        np.testing.assert_allclose(gradient(point)[1] @ direction, (up - down) / 2e-5, rtol=1e-6)
        forward = jax.jit(lambda point: jax.jvp(jax.grad(value), (point,), (direction,))[1])(point)
        wanted = (up_gradient - down_gradient) / 2e-5
        np.testing.assert_allclose(forward, wanted, rtol=1e-5, atol=1e-6 * float(jnp.abs(wanted).max()))


def test_memory_is_less_than_an_array_of_all_states(make_network, make_inputs):
    """On a CPU the gradient takes less than one array of [states, rows, hidden]."""
    network, inputs = make_network(inputs=8, hidden=64, rows=16, classes=4), make_inputs(states=1024, inputs=8)

    def value(network, inputs):
        return jacobian_penalty(network, inputs, jax.random.key(0)).value

    plan: Any = jax.jit(jax.grad(value, (0, 1))).lower(network, inputs).compile().memory_analysis()
    if jax.default_backend() == "cpu":
        assert plan.temp_size_in_bytes < 1024 * 16 * 64 * 4
