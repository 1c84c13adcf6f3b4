"""The target by autodiff against the formula by hand, and what is drawn, dropped and held constant."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.config import CriticConfig, NetworkConfig
from sobolev.agents.dsdpg.networks import Generator, TwinCritic
from sobolev.agents.dsdpg.target import backup, keep_smallest, kept_targets, target_samples
from sobolev.experiments.linear_system import example
from sobolev.nn import cast_floating
from tests import tiny

SMALL = NetworkConfig(units=8, layers=1)
KINDS = ("pooled", "critic")
CONFIG = CriticConfig(network=SMALL, noise=3, samples=5, drop=0.2, discount=0.9)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def test_autodiff_gives_the_formula_of_the_paper():
    """f(x) = r + γx for the return; ∂_a r + γ (∂_a s')ᵀ [∂_s x + (∂_s π)ᵀ x_a] for the gradient. On a linear system."""
    with jax.enable_x64(True):
        system = cast_floating(example(), jnp.float64)
        critic = cast_floating(Generator.init(jax.random.key(0), 2, 1, 3, SMALL), jnp.float64)
        target = jax.jit(lambda s, a, noises: backup(system.model, system.policy, critic, s, a, noises, 0.9))
        value = jax.jit(jax.value_and_grad(critic, (0, 1)))
        for seed in range(5):
            keys = jax.random.split(jax.random.key(seed), 5)
            s, a, epsilon, xi, smoothing = [
                jax.random.normal(k, (n,), jnp.float64) for k, n in zip(keys, (2, 1, 2, 3, 1), strict=True)
            ]
            found = target(s, a, (epsilon, xi, 0.1 * smoothing))
            following = system.a @ s + system.b @ a + system.noise @ epsilon
            later = system.policy_gain @ following + 0.1 * smoothing
            x, (x_s, x_a) = value(following, later, xi)
            by_hand = -(s @ system.state_cost @ s) - a @ system.action_cost @ a + 0.9 * x
            gradient = -2 * system.action_cost @ a + 0.9 * system.b.T @ (x_s + system.policy_gain.T @ x_a)
            np.testing.assert_allclose(found, jnp.concatenate([by_hand[None], gradient]), rtol=1e-12)


def test_an_end_cuts_the_future_off_without_a_gradient_of_its_own():
    critic = Generator.init(jax.random.key(0), 2, 1, 3, SMALL)

    def model(ends):
        """Ends with certainty or not at all, by a number that depends on the action."""
        return lambda s, a, e: (s + a[0], a[0] * a[0], ends + 0.0 * a[0])

    s, a, noises = jnp.ones(2), jnp.array([0.5]), (jnp.zeros(1), jnp.ones(3), jnp.zeros(1))
    over = backup(model(1.0), lambda s: s[:1], critic, s, a, noises, 0.9)
    np.testing.assert_allclose(over, [0.25, 1.0], rtol=1e-6)
    soft = lambda s, a, e: (s, a[0], jax.nn.sigmoid(a[0]))  # noqa: E731
    value = lambda s, a, xi: jnp.asarray(10.0)  # noqa: E731
    found = backup(soft, lambda s: s[:1], value, s, a, noises, 0.9)
    np.testing.assert_allclose(found, [0.5 + 9 * (1 - float(jax.nn.sigmoid(0.5))), 1.0], rtol=1e-6)


def test_largest_returns_go_with_their_gradients():
    samples = jnp.array([[3.0, 30.0], [1.0, 10.0], [2.0, 20.0], [0.0, 0.0]])
    np.testing.assert_array_equal(keep_smallest(samples, 3), [[0, 0], [1, 10], [2, 20]])
    numbers = {0.0: 10, 0.1: 9, 0.29: 8, 0.5: 5, 0.99: 2}
    assert {drop: kept_targets(replace(CONFIG, drop=drop)) for drop in numbers} == numbers
    of_each = {0.0: 10, 0.1: 10, 0.29: 8, 0.5: 6, 0.99: 2}
    assert {drop: kept_targets(replace(CONFIG, drop=drop, truncation="critic")) for drop in of_each} == of_each


@functools.partial(jax.jit, static_argnums=2)
def samples_of(critics, key, config):
    where = (jnp.array([0.3, -0.5]), jnp.array([0.2]))
    return target_samples(example().model, 2, example().policy, critics, *where, key, config)


def test_every_sample_has_its_own_draws_from_both_critics():
    critics, key = TwinCritic.init(jax.random.key(0), 2, 1, 3, SMALL), jax.random.key(0)
    everything = replace(CONFIG, drop=0.0)
    found = samples_of(critics, key, everything)
    assert found.shape == (10, 2) and len(np.unique(np.asarray(found[:, 0]))) == 10
    assert (jnp.diff(found[:, 0]) > 0).all()
    np.testing.assert_array_equal(samples_of(critics, key, CONFIG), found[:8])
    assert not np.array_equal(samples_of(critics, jax.random.key(1), everything), found)
    # One critic lifted far above the other: half of the samples are its own.
    bias = critics.both.perceptron.output.bias + jnp.array([[0.0], [1000.0]])
    lifted = eqx.tree_at(lambda critics: critics.both.perceptron.output.bias, critics, bias)
    assert int((samples_of(lifted, key, everything)[:, 0] > 500).sum()) == 5
    # Pooled, the dropped ones are all of the lifted critic; of each critic alone, one of each.
    high = {kind: int((samples_of(lifted, key, replace(CONFIG, truncation=kind))[:, 0] > 500).sum()) for kind in KINDS}
    assert high == {"pooled": 3, "critic": 4}
    each = samples_of(critics, key, replace(CONFIG, truncation="critic"))
    assert each.shape == (8, 2) and (jnp.diff(each[:, 0]) > 0).all()


def test_targets_are_constants():
    critics = TwinCritic.init(jax.random.key(0), 2, 1, 3, SMALL)
    slopes = jax.grad(lambda critics: samples_of(critics, jax.random.key(0), CONFIG).sum())(critics)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slopes))


def test_smoothing_moves_the_next_action_by_no_more_than_its_clip_and_not_out_of_range():
    """With a critic that is the next action, the target's return is r + γ (K s' + smoothing), the action in [-1, 1]."""
    config = replace(CONFIG, smoothing=10.0, smoothing_clip=0.5, drop=0.0, discount=1.0, samples=50)
    twins = TwinCritic.init(jax.random.key(0), 2, 1, 3, NetworkConfig(units=1, layers=0))
    kernel = jnp.zeros_like(twins.both.perceptron.output.kernel).at[:, 2].set(1.0)
    twins = eqx.tree_at(lambda critics: critics.both.perceptron.output.kernel, twins, kernel)
    still = replace(example(), noise=jnp.zeros((2, 2)))
    s, a = jnp.array([0.3, -0.5]), jnp.array([0.2])

    def found(config: CriticConfig):
        sample = jax.jit(lambda key: target_samples(still.model, 2, still.policy, twins, s, a, key, config))
        return sample(jax.random.key(0))[:, 0]

    samples, middle = found(config), still.reward(s, a) + still.policy(still.a @ s + still.b @ a)[0]
    np.testing.assert_allclose([samples.min(), samples.max()], [middle - 0.5, middle + 0.5], atol=1e-5)
    samples = found(replace(config, smoothing_clip=5.0)) - still.reward(s, a)
    np.testing.assert_allclose([samples.min(), samples.max()], [-1, 1], atol=1e-5)
