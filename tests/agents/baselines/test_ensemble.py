"""The ensemble: its law and loss by hand, members that learn apart, and that it finds a linear system."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sobolev.agents.baselines.config import EnsembleConfig, RatesConfig
from sobolev.agents.baselines.ensemble import Ensemble, Member
from sobolev.agents.dsdpg.config import NetworkConfig
from sobolev.agents.dsdpg.optimizer import descend, rectified_adam
from tests import tiny

SMALL = EnsembleConfig(network=NetworkConfig(16, 2), reward=NetworkConfig(16, 2), members=3)
ENSEMBLE = Ensemble.init(jax.random.key(0), 2, 1, SMALL)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def first() -> Member:
    return ENSEMBLE.member(jax.tree.map(lambda leaf: leaf[0], ENSEMBLE.transitions))


def test_log_variances_lie_between_the_bounds():
    far = 1e4 * jax.random.normal(jax.random.key(1), (100, 2))
    predictions = jax.vmap(first().distribution)(far, jnp.ones((100, 1)))
    logs = 2 * np.log(np.asarray(predictions.std))
    assert logs.min() >= -5 - 1e-4 and logs.max() <= -1 + 1e-4 and logs.max() - logs.min() > 3


def test_a_draw_and_the_loss_by_hand():
    member, s, a, noise = first(), jnp.array([0.3, -1.0]), jnp.array([0.5]), jnp.array([1.0, -2.0, 0.7])
    predicted, drawn = member.distribution(s, a), member.draw(s, a, noise)
    assert member.noise == 3
    np.testing.assert_allclose(drawn.change, predicted.mean + predicted.std * noise[:2], rtol=1e-6)
    np.testing.assert_allclose(drawn.reward, member.reward(s, a, drawn.change)[0], rtol=1e-6)
    outcome, following = jnp.array([0.2, 0.1, 1.5]), jnp.array([0.5, -0.9])
    likelihood = np.mean(np.square((outcome[:2] - predicted.mean) / predicted.std) + 2 * np.log(predicted.std))
    logit = float(member.ending(s, a, following)[0])
    by_hand = likelihood + (member.reward(s, a, outcome[:2])[0] - 1.5) ** 2 + np.log1p(np.exp(-logit))
    found = member.loss(s, a, outcome, following, jnp.asarray(1.0))
    assert float(found) == pytest.approx(float(by_hand), rel=1e-4)


def rows(key: jax.Array, batch: int):
    """A linear system with noise: Δs = [a, −s₀] + 0.3 ε, r = s₁ + a; the same shapes for every member."""
    keys = jax.random.split(key, 3)
    s = jax.random.normal(keys[0], (3, batch, 2))
    a = jax.random.uniform(keys[1], (3, batch, 1), minval=-1.0, maxval=1.0)
    change = jnp.concatenate([a, -s[..., :1]], -1) + 0.3 * jax.random.normal(keys[2], s.shape)
    outcome = jnp.concatenate([change, s[..., 1:] + a], -1)
    ended = (s[..., 0] + change[..., 0] > 1).astype(jnp.float32)
    return s, a, outcome, s + change, ended, jnp.full((3, batch), 1 / batch)


def test_members_learn_from_their_own_batches():
    data, other = rows(jax.random.key(2), 5), rows(jax.random.key(3), 5)
    mixed = tuple(part.at[1].set(new[1]) for part, new in zip(data, other, strict=True))
    slope = jax.jit(jax.grad(lambda ensemble, data: ensemble.loss(*data)))
    one, two = slope(ENSEMBLE, data).transitions, slope(ENSEMBLE, mixed).transitions
    same = [np.array_equal(one.output.kernel[i], two.output.kernel[i]) for i in range(3)]
    assert same == [True, False, True]


def test_it_finds_a_linear_system_and_its_noise():
    rule = rectified_adam(RatesConfig(), 1e-2, 5.0, 1e-4)

    @jax.jit
    def learned(ensemble: Ensemble) -> Ensemble:
        def once(i, carry):
            ensemble, memory = carry
            data = rows(jax.random.fold_in(jax.random.key(5), i), 64)
            slopes = jax.grad(lambda ensemble: ensemble.loss(*data))(ensemble)
            return descend(rule, ensemble, slopes, memory)

        return jax.lax.fori_loop(0, 400, once, (ensemble, rule.init(cast(Any, ensemble))))[0]

    found, (s, a, outcome, following, ended, _) = learned(ENSEMBLE), rows(jax.random.key(9), 300)
    for index in range(3):
        member = found.member(jax.tree.map(lambda leaf, i=index: leaf[i], found.transitions))
        predictions = jax.vmap(member.distribution)(s[0], a[0])
        truth = np.concatenate([a[0], -s[0, :, :1]], -1)
        assert np.sqrt(np.mean((predictions.mean - truth) ** 2)) < 0.15
        np.testing.assert_allclose(np.asarray(predictions.std).mean(0), 0.3, atol=0.06)
    reward = jax.vmap(member.reward)(s[0], a[0], outcome[0, :, :2])[:, 0]
    assert np.sqrt(np.mean((reward - outcome[0, :, 2]) ** 2)) < 0.2
    right = (jax.vmap(member.ending)(s[0], a[0], following[0])[:, 0] > 0) == (ended[0] > 0)
    assert right.mean() > 0.9


def test_rectified_adam_clips_entries_and_decays_weights():
    rule, x = rectified_adam(RatesConfig(), 0.1, 2.0, 0.5), jnp.array([1.0, -1.0])
    moved, _ = descend(rule, x, jnp.array([1e6, 0.0]), rule.init(x))
    # the first steps of RAdam are not rectified: the bias-corrected mean itself, here the clipped entry
    np.testing.assert_allclose(moved, [1 - 0.1 * (2 + 0.5), -1 + 0.1 * 0.5], rtol=1e-5)
    assert isinstance(rule, optax.GradientTransformation)
