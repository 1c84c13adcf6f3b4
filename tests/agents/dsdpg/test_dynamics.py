"""The world model: densities by hand, draws and their derivatives, units, and that it learns a noisy system."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.config import AdamConfig, DynamicsConfig, NetworkConfig
from sobolev.agents.dsdpg.dynamics import Dynamics, Normal, bounded, normal_divergence
from sobolev.agents.dsdpg.normalizer import Moments
from sobolev.agents.dsdpg.optimizer import adam, descend
from sobolev.agents.dsdpg.units import Pairs, Statistics, imagination
from sobolev.nn import cast_floating, normal_log_prob

CONFIG = DynamicsConfig(network=NetworkConfig(units=16, layers=2), latent=3)


def test_densities_by_hand():
    p, q = Normal(jnp.array([0.5]), jnp.array([2.0])), Normal(jnp.array([-1.0]), jnp.array([0.5]))
    x = np.linspace(-12, 12, 20001)
    logs = [-(((x - m) / s) ** 2) / 2 - np.log(s) - np.log(2 * np.pi) / 2 for m, s in ((0.5, 2.0), (-1.0, 0.5))]
    np.testing.assert_allclose(normal_log_prob(*p, jnp.array([3.0])), np.interp(3.0, x, logs[0]), rtol=1e-5)
    quadrature = np.trapezoid(np.exp(logs[1]) * (logs[1] - logs[0]), x)
    np.testing.assert_allclose(normal_divergence(q, p), quadrature, rtol=1e-4)
    assert float(normal_divergence(p, p)) == pytest.approx(0, abs=1e-6)


def test_standard_deviations_keep_their_bounds():
    np.testing.assert_allclose(bounded(jnp.array([-50.0, 0.0, 50.0]), 0.01, 1.0), [0.01, 0.1, 1.0], rtol=1e-4)
    model = Dynamics.init(jax.random.key(0), 2, 1, CONFIG)
    s, a = jnp.ones(2), jnp.zeros(1)
    np.testing.assert_allclose(model.prior_at(s, a).std, 1, rtol=0.2)
    decoded = model.decode(s, a, jnp.zeros(3))
    assert (decoded.std > 0.5 * CONFIG.decoder_std).all() and (decoded.std < CONFIG.decoder_std).all()


def test_draws_are_smooth_in_state_and_action():
    """The Jacobian of a draw for fixed noise, through prior and decoder, against finite differences in float64."""
    with jax.enable_x64(True):
        model = cast_floating(Dynamics.init(jax.random.key(0), 2, 1, CONFIG), jnp.float64)
        noise = jax.random.normal(jax.random.key(1), (model.noise,), jnp.float64)

        @jax.jit
        def outcome(x, noise):
            drawn = model.draw(x[:2], x[2:], noise)
            return jnp.concatenate([drawn.change, drawn.reward[None]])

        x = jnp.array([0.3, -0.7, 0.5])
        exact, step = jax.jacrev(outcome)(x, noise), 1e-6 * jnp.eye(3)
        numeric = jnp.stack([(outcome(x + d, noise) - outcome(x - d, noise)) / 2e-6 for d in step], -1)
        np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-10)
        # The noise of z reaches the outcome, and so does the decoder's own.
        moved, base = [outcome(x, noise.at[i].add(1.0))[2] for i in (0, 5)], outcome(x, noise)[2]
        own = float(model.decode(x[:2], x[2:], jnp.zeros(3, jnp.float64)).std[2])
        assert abs(float(moved[0] - base)) > 1e-6 and float(moved[1] - base) == pytest.approx(own)


def test_the_bound_is_below_the_evidence():
    """−(likelihood + divergence) on average, against log p(outcome) by many draws of z from the prior."""
    model = Dynamics.init(jax.random.key(0), 2, 1, replace(CONFIG, latent=2, decoder_std=1.0))
    # A decoder that listens to z.
    model = replace(jax.tree.map(lambda leaf: 2 * leaf, model), spread=jnp.full(3, 1.5))
    s, a, outcome = jnp.array([0.1, -0.4]), jnp.array([0.7]), jnp.array([0.3, -0.2, 0.5])
    noise = jax.random.normal(jax.random.key(1), (20_000, 2))
    terms = jax.jit(jax.vmap(lambda n: model.losses(s, a, outcome, s, jnp.zeros(()), n)))(noise)
    bound = -float(terms.likelihood.mean() + terms.divergence.mean())
    prior = model.prior_at(s, a)

    def log_prob(n):
        decoded = model.decode(s, a, prior.mean + prior.std * n)
        return normal_log_prob(decoded.mean, decoded.std, outcome)

    logs = jax.jit(jax.vmap(log_prob))(noise)
    evidence = float(jax.nn.logsumexp(logs) - np.log(len(noise)))
    assert bound < evidence < bound + 3


def test_units_there_and_back():
    rng = np.random.default_rng(0)
    units = Statistics.init(2, 0.01, 10.0)
    rows, changes, rewards = (jnp.asarray(rng.normal(2, 3, (30, n)), jnp.float32) for n in (2, 2, 1))
    keep = jnp.ones(30, bool)
    units = replace(
        units,
        state=units.state.update(rows, keep),
        change=units.change.update(changes, keep),
        reward=units.reward.update(rewards, keep),
    )
    s, following, reward = rows[0], rows[0] + changes[0], rewards[0, 0]
    outcome = units.outcome(s, following, reward)
    moved = units.moved(units.normalised(s), outcome[:-1])
    np.testing.assert_allclose(moved, units.normalised(following), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(units.earned(outcome[-1]), reward, rtol=1e-5)
    # What is far outside is cut, and has no derivative.
    far = rows[0] + jnp.array([1e3, 0.0])
    assert units.normalised(far)[0] == units.outcome(s, far, reward)[0] == 10.0
    np.testing.assert_allclose(units.earned(units.outcome(s, following, reward + 1e3)[-1]), reward + 1e3, rtol=1e-5)
    slope = jax.jacobian(lambda change: units.moved(units.normalised(s), change))(outcome[:-1] + jnp.array([1e3, 0.0]))
    assert (slope[0] == 0).all() and slope[1, 1] > 0
    # An entry that hardly ever changed: a hundredth of the state's deviation is the least unit.
    still = replace(units, change=Moments(jnp.ones(()), jnp.zeros(2), jnp.zeros(2)))
    np.testing.assert_allclose(still.change_std, 0.01 * units.state.std(0.01), rtol=1e-5)


def test_a_network_of_the_reward_sees_the_change_of_state():
    model = Dynamics.init(jax.random.key(0), 2, 1, replace(CONFIG, reward="network"))
    assert model.reward is not None and model.noise == 3 + 2 + 1
    s, a, outcome = jnp.array([0.1, -0.4]), jnp.array([0.7]), jnp.array([0.3, -0.2, 0.5])
    drawn = model.draw(s, a, jax.random.normal(jax.random.key(1), (model.noise,)))
    np.testing.assert_allclose(drawn.reward, model.reward(s, a, drawn.change)[0], rtol=1e-6)
    terms = model.losses(s, a, outcome, s, jnp.zeros(()), jnp.zeros(3), (2 * s, 2 * a))
    np.testing.assert_allclose(terms.reward, (model.reward(s, a, outcome[:2])[0] - 0.5) ** 2, rtol=1e-6)
    # Nothing else depends on the reward.
    others = model.losses(s, a, outcome.at[2].add(1.0), s, jnp.zeros(()), jnp.zeros(3), (2 * s, 2 * a))
    assert others[:3] == terms[:3] and others.reward != terms.reward
    # What the decoder has in common with a model without this network is the same.
    usual = Dynamics.init(jax.random.key(0), 2, 1, CONFIG)
    assert usual.reward is None and (usual.prior.output.kernel == model.prior.output.kernel).all()


@functools.cache
def learned(reward):
    """A model after 600 updates on s' = s + 0.5 a + noise that is four times as large where s > 0; r = s a.

    Episodes end where s' > 1.
    """
    config, rule = replace(CONFIG, latent=2, reward=reward), adam(AdamConfig(), 5e-3)
    model, units = Dynamics.init(jax.random.key(0), 1, 1, config), Statistics.init(1, 0.01, 10.0)

    def batch(key):
        keys = jax.random.split(key, 3)
        s, a = (jax.random.uniform(k, (128, 1), minval=-1.0, maxval=1.0) for k in keys[:2])
        following = s + 0.5 * a + jnp.where(s > 0, 0.4, 0.1) * jax.random.normal(keys[2], s.shape)
        ended = (following[:, 0] > 1).astype(jnp.float32)
        return Pairs(s, a, s[:, 0] * a[:, 0], following, ended, jnp.ones(128, bool))

    seen = batch(jax.random.key(9))
    units = replace(
        units,
        state=units.state.update(seen.state, seen.valid),
        change=units.change.update(seen.following - seen.state, seen.valid),
        reward=units.reward.update(seen.reward[:, None], seen.valid),
    )

    def loss(model, pairs, key):
        noise = jax.random.normal(key, (128, 2))
        normal = jax.vmap(units.normalised)
        outcome = jax.vmap(units.outcome)(pairs.state, pairs.following, pairs.reward)
        terms = (normal(pairs.state), pairs.action, outcome, normal(pairs.following), pairs.terminal, noise)
        return sum(term.mean() for term in jax.vmap(model.losses)(*terms))

    def step(now, key):
        (model, memory), keys = now, jax.random.split(key)
        return descend(rule, model, jax.grad(loss)(model, batch(keys[0]), keys[1]), memory), None

    keys = jax.random.split(jax.random.key(1), 600)
    (model, _), _ = jax.jit(lambda begin: jax.lax.scan(step, begin, keys))((model, rule.init(model)))
    return model, units


@pytest.mark.long
@pytest.mark.parametrize("reward", ["decoder", "network"])
@pytest.mark.parametrize(("s", "a", "noise"), [(-0.5, 0.5, 0.1), (0.5, -0.5, 0.4), (0.6, 0.8, 0.4)])
def test_a_noisy_system_is_learned(reward, s, a, noise):
    """Mean and deviation of the next state, reward, its action gradient, and how often the episode ends."""
    model, units = learned(reward)
    draw = imagination(model, units)
    states, actions = units.normalised(jnp.array([s])), jnp.array([a])
    epsilon = jax.random.normal(jax.random.key(2), (4000, model.noise))
    drawn = jax.jit(jax.vmap(draw, (None, None, 0)))(states, actions, epsilon)
    following = jax.vmap(lambda row: units.state.undo(row, 0.01))(drawn[0])[:, 0]
    assert float(following.mean()) == pytest.approx(s + 0.5 * a, abs=0.08)
    assert float(following.std()) == pytest.approx(noise, rel=0.25)
    assert float(drawn[1].mean()) == pytest.approx(s * a, abs=0.06)
    slope = jax.jit(jax.vmap(jax.grad(lambda a, e: draw(states, a, e)[1]), (None, 0)))(actions, epsilon).mean()
    assert float(slope) == pytest.approx(s, abs=0.25)
    assert set(np.unique(np.asarray(drawn[2]))) <= {0.0, 1.0}
    assert float(drawn[2].mean()) == pytest.approx(float((following > 1).mean()), abs=0.08)
