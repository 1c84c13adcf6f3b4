"""Returns, running scale, and actor and critic losses against calculations by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.behavior import (
    ReturnScale,
    actor_loss,
    imagination_losses,
    lambda_return,
    replay_value_loss,
)
from sobolev.agents.dreamer.config import BehaviorConfig
from sobolev.nn import BoundedNormal, TwoHot, over
from tests import tiny
from tests.nn.two_hot import target

BINS = 41


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def column(*values: float) -> jax.Array:
    return jnp.array(values, jnp.float32)[:, None]


def test_lambda_return_by_hand():
    """R_2 = r_3 + d_3 v_3, and so on backwards."""
    reward, discount, trace, value = column(1, 2, 3), column(0.9, 0.5, 0.8), column(0.5, 0.25, 1), column(10, 20, 30)
    last = 3 + 0.8 * 30
    middle = 2 + 0.5 * (0.75 * 20 + 0.25 * last)
    first = 1 + 0.9 * (0.5 * 10 + 0.5 * middle)
    np.testing.assert_allclose(lambda_return(reward, discount, trace, value)[:, 0], [first, middle, last], rtol=1e-6)


def logits(seed: int, *shape: int) -> jax.Array:
    return 3 * jax.random.normal(jax.random.key(seed), (*shape, BINS))


def replayed(last, terminal, reward=(0, 1, 2, 3, 4), bootstrap=(5, 6, 7, 8, 9)):
    ended, over_for_good = (jnp.array(flags, bool)[:, None] for flags in (last, terminal))
    values, slow = logits(0, 5, 1), logits(1, 5, 1)
    loss = jax.jit(partial(replay_value_loss, config=BehaviorConfig()))
    return loss(column(*reward), ended, over_for_good, column(*bootstrap), values, slow), values, slow


def test_replayed_returns_are_cut_at_last_and_ended_at_terminal():
    d, t = 1 - 1 / 333, 0.95
    (_, plain), _, _ = replayed([0] * 5, [0] * 5)
    wanted = [0.0] * 4
    following = 9.0
    for i in (3, 2, 1, 0):
        following = wanted[i] = (i + 1) + d * ((1 - t) * (6 + i) + t * following)
    np.testing.assert_allclose(plain[:, 0], wanted, rtol=1e-5)

    (_, cut), _, _ = replayed([0, 0, 1, 0, 0], [0] * 5)
    np.testing.assert_allclose(cut[1, 0], 2 + d * 7, rtol=1e-6)
    np.testing.assert_allclose(cut[2:], plain[2:], rtol=1e-6)

    (_, ended), _, _ = replayed([0, 0, 1, 0, 0], [0, 0, 1, 0, 0])
    assert float(ended[1, 0]) == 2
    np.testing.assert_allclose(ended[0, 0], 1 + d * ((1 - t) * 6 + t * 2), rtol=1e-6)


def test_the_replayed_loss_is_masked_at_last_steps():
    (plain, returns), values, slow = replayed([0] * 5, [0] * 5)
    (masked, _), _, _ = replayed([0, 0, 1, 0, 0], [0] * 5)
    assert float(masked[2, 0]) == 0 and float(plain[2, 0]) > 0
    bins = TwoHot(BINS)
    for t in range(4):
        both = target(bins, returns[t, 0]) + target(bins, bins.mean(slow[t, 0]))
        np.testing.assert_allclose(plain[t, 0], -np.sum(both * jax.nn.log_softmax(values[t, 0])), rtol=1e-4)


def test_the_running_scale():
    config, scale = BehaviorConfig(), ReturnScale.init()
    assert float(scale.scale(config)) == 1
    scale = scale.update(jnp.arange(101.0)[:, None], config)
    np.testing.assert_allclose([scale.low, scale.high], [0.01 * 5, 0.01 * 95], rtol=1e-5)
    assert float(scale.scale(config)) == 1
    for _ in range(3):
        scale = scale.update(jnp.arange(101.0)[:, None], config)
    share = 1 - 0.99**4
    assert float(scale.scale(config)) == pytest.approx(90 * share, rel=1e-4)


def test_the_actors_loss_is_reinforce():
    policy = BoundedNormal(jnp.zeros((1, 1, 2)), jnp.full((1, 1, 2), 0.5))
    action, one = jnp.array([[[0.3, -0.1]]]), jnp.ones((1, 1))
    loss = actor_loss(policy, action, 2.0 * one, 0.5 * one, 3e-4)
    wanted = -0.5 * (2 * policy.log_prob(action) + 3e-4 * policy.entropy())
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)

    def mean_gradient(mean, action, advantage, weight):
        policy = BoundedNormal(mean, jnp.full((1, 1, 2), 0.5))
        return actor_loss(policy, action, advantage, weight, 3e-4).sum()

    to = jax.grad(mean_gradient, (0, 1, 2, 3))(jnp.zeros((1, 1, 2)), action, 2.0 * one, 0.5 * one)
    np.testing.assert_allclose(to[0], -0.5 * 2 * action / 0.25, rtol=1e-5)
    assert not any(np.any(gradient) for gradient in to[1:])


@partial(jax.jit, static_argnums=6)
def imagined(reward, cont, value_logits, slow_logits, final_value, scale, config):
    horizon, batch = reward.shape
    policy = BoundedNormal(jnp.zeros((horizon, batch, 1)), jnp.ones((horizon, batch, 1)))
    action = jnp.full((horizon, batch, 1), 0.5)
    return imagination_losses(reward, cont, action, policy, value_logits, final_value, slow_logits, scale, config)


def test_imagined_returns_weights_and_advantages_by_hand():
    """Two steps; the continue probabilities hold the discount, and weights begin with that of the start."""
    config = BehaviorConfig()
    values, slow, bins = logits(2, 2, 1), logits(3, 2, 1), TwoHot(BINS)
    cont = column(0.9, 0.8, 0.7)
    out = imagined(column(1.0, 2.0), cont, values, slow, jnp.array([3.0]), ReturnScale.init(), config)
    v0, v1 = (float(bins.mean(values[t, 0])) for t in (0, 1))
    r1 = 2 + 0.7 * 3
    r0 = 1 + 0.8 * (0.05 * v1 + 0.95 * r1)
    np.testing.assert_allclose(out.returns[:, 0], [r0, r1], rtol=1e-4)
    scale = float(out.scale.scale(config))
    log_prob, entropy = -0.125 - 0.5 * np.log(2 * np.pi), 0.5 * np.log(2 * np.pi * np.e)
    advantages = [(r0 - v0) / scale, (r1 - v1) / scale]
    policy = [-w * (log_prob * a + 3e-4 * entropy) for w, a in zip((0.9, 0.72), advantages, strict=True)]
    np.testing.assert_allclose(out.policy[:, 0], policy, rtol=1e-3)
    for t, (weight, wanted) in enumerate(((0.9, r0), (0.72, r1))):
        both = target(bins, jnp.float32(wanted)) + target(bins, bins.mean(slow[t, 0]))
        wanted = -weight * float(np.sum(both * jax.nn.log_softmax(values[t, 0])))
        assert float(out.value[t, 0]) == pytest.approx(wanted, rel=1e-3)


def test_targets_carry_no_gradient():
    """Only the critic's logits of the states in which it is trained get one, and only through their own loss."""
    config, shape = BehaviorConfig(), (3, 2)

    def loss(reward, cont, value_logits, slow_logits, final_value):
        out = imagined(reward, cont, value_logits, slow_logits, final_value, ReturnScale.init(), config)
        return out.policy.sum(), out.value.sum()

    values = (jnp.ones(shape), jnp.full((4, 2), 0.9), logits(4, *shape), logits(5, *shape), jnp.ones(2))
    policy, value = jax.jit(jax.jacrev(loss, tuple(range(5))))(*values)
    assert not any(np.any(gradient) for gradient in policy)
    assert [bool(np.any(gradient)) for gradient in value] == [False, False, True, False, False]
    weight = jnp.cumprod(values[1], 0)[:-1]
    np.testing.assert_allclose(value[2].sum(-1), 0, atol=1e-4)
    out = imagined(*values, ReturnScale.init(), config)
    bins = TwoHot(BINS)
    two_hot, mean = jax.jit(over(partial(target, bins), 2)), jax.jit(over(bins.mean, 2))
    both = two_hot(out.returns) + two_hot(mean(values[3]))
    wanted = weight[..., None] * (2 * jax.nn.softmax(values[2]) - both)
    np.testing.assert_allclose(value[2], wanted, rtol=1e-3, atol=1e-4)
