"""IQN: its loss by hand, what minimises it, and quantiles that come back out of their features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.config import CriticConfig
from sobolev.agents.dsdpg.critic import quantile_loss
from sobolev.agents.dsdpg.networks import drawn, quantile_of

QUANTILES = CriticConfig(noise=5, draws="quantile")


def test_features_of_quantiles_and_back():
    xi = drawn(jax.random.key(0), (4000, 3), QUANTILES)
    assert xi.shape == (4000, 3, 5)
    tau = quantile_of(xi)
    for k in range(5):
        np.testing.assert_allclose(xi[..., k], np.cos(np.pi * (k + 1) * np.asarray(tau)), atol=2e-3)
    spread = np.quantile(np.asarray(tau), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread, [0.1, 0.5, 0.9], atol=0.02)
    noise = drawn(jax.random.key(0), (4000, 3), dataclasses.replace(QUANTILES, draws="noise"))
    assert noise.shape == (4000, 3, 5) and float(noise.std()) == pytest.approx(1, abs=0.02)


def test_the_loss_by_hand():
    found, wanted, tau = np.array([0.0, 2.0]), np.array([1.0, -0.5, 5.0]), np.array([0.2, 0.9])
    total = 0.0
    for z, t in zip(found, tau, strict=True):
        for y in wanted:
            u = y - z
            total += abs(t - float(u < 0)) * (0.5 * u**2 if abs(u) < 1 else abs(u) - 0.5) / 3
    assert float(quantile_loss(*map(jnp.float32, (found, wanted, tau)))) == pytest.approx(total, rel=1e-5)


def test_it_is_least_at_the_quantiles():
    """Of a law so wide that the bend of the Huber loss does not matter."""
    wanted = 100 * np.random.default_rng(0).normal(size=2000).astype(np.float32)
    tau = jnp.array([0.1, 0.5, 0.8])
    exact = np.quantile(wanted, tau)
    slope = jax.grad(lambda z: quantile_loss(z, jnp.asarray(wanted), tau))
    assert np.abs(slope(jnp.asarray(exact, jnp.float32))).max() < 0.01
    assert (slope(jnp.asarray(exact + 20, jnp.float32)) > 0.03).all()
    assert (slope(jnp.asarray(exact - 20, jnp.float32)) < -0.03).all()
