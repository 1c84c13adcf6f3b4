"""The moments that are known on a linear system, and critics that learn them."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.experiments.linear_critic import critics, figures
from sobolev.experiments.linear_critic.critics import LinearConfig
from sobolev.experiments.linear_critic.experiment import check
from sobolev.experiments.linear_critic.moments import critic_moments, errors, exact_at, statistics
from sobolev.experiments.linear_system import exact_moments, example, rollout_return
from sobolev.nn import cast_floating
from tests.experiments import drawn


@pytest.mark.long
def test_the_exact_moments_against_many_rollouts():
    """Sampled means and covariances of return and gradient, within four standard errors."""
    system, s, a = example(), jnp.array([0.8, -0.5]), jnp.array([0.3])
    noise = jax.random.normal(jax.random.key(0), (10_000, 40, 2))
    value = jax.value_and_grad(lambda a, n: rollout_return(system, s, a, n))
    returns, slopes = jax.jit(jax.vmap(value, (None, 0)))(a, noise)
    drawn = np.concatenate([returns[:, None], slopes], 1).astype(np.float64)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x), jnp.float64) for x in (s, a)]
        exact = jax.tree.map(np.asarray, jax.jit(exact_moments)(cast_floating(system, jnp.float64), *wide))
    spread = np.sqrt(np.diagonal(exact.covariance))
    np.testing.assert_allclose(drawn.mean(0), exact.mean, atol=4 * spread.max() / np.sqrt(len(drawn)))
    np.testing.assert_allclose(np.cov(drawn.T), exact.covariance, rtol=0.1, atol=0.02)
    assert spread[1] > 0.1 and abs(exact.covariance[0, 1]) > 0.05


def test_one_step_by_hand():
    """Without a future (discount 0) the return is the reward, and nothing varies."""
    system = replace(example(), discount=0.0)
    exact = jax.jit(exact_moments, static_argnums=3)(system, jnp.array([1.0, 2.0]), jnp.array([0.5]), 3)
    # s'Qs = 1 + 2 · 0.2 · 2 + 0.5 · 4 = 3.8; a'Ra = 0.125
    np.testing.assert_allclose(exact.mean, [-3.925, -0.5], rtol=1e-5)
    np.testing.assert_allclose(exact.covariance, 0, atol=1e-6)


CONFIG = LinearConfig(updates=800, batch=32, samples=8, units=24, rate=5e-3)


@functools.cache
def trained(name):
    """Errors of a critic that is trained for a few seconds."""
    kind = critics.kinds(CONFIG)[name]
    quick = replace(kind.agent.discrepancy, steps=5, restarts=1, search=16)
    kind = kind._replace(agent=replace(kind.agent, discrepancy=quick))
    train = jax.jit(functools.partial(critics.fit, example(), kind, CONFIG.updates))
    states = critics.SPREAD * jax.random.normal(jax.random.key(10_000), (32, 2))
    learned = jax.jit(critic_moments, static_argnums=1)(
        train(jax.random.key(0)), kind.agent.critic.noise, states, example(), jax.random.key(1)
    )
    return errors(learned, exact_at(example(), states))


@pytest.mark.long
def test_a_critic_learns_the_moments_of_return_and_gradient():
    """Means to a fifth of a standard deviation, deviations to a fifth of themselves, correlation to 0.2."""
    off = trained("msmmd")
    assert off.mean_return < 0.2 and off.mean_gradient < 0.2, off
    assert off.std_return < 0.2 and off.std_gradient < 0.2, off
    assert off.correlation < 0.2, off


@pytest.mark.long
def test_a_deterministic_critic_learns_the_means_alone():
    """MAGE: its means are near, but for what the Huber loss and the smaller of two critics shift; nothing varies."""
    off = trained("mage")
    assert off.mean_return < 0.3 and off.mean_gradient < 0.2, off
    np.testing.assert_allclose([off.std_return, off.std_gradient], 1, atol=1e-3)


def test_errors_of_the_exact_moments_are_none():
    exact = exact_at(example(), jnp.zeros((3, 2)))
    twice = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), exact)
    np.testing.assert_allclose(errors(twice, exact), 0, atol=1e-12)
    wider = twice._replace(covariance=4 * twice.covariance)
    np.testing.assert_allclose(errors(wider, exact), [0, 0, 1, 1, 0], atol=1e-12)


def test_the_figure_shows_what_each_critic_learned():
    exact = exact_at(example(), jnp.array([[0.1, 0.2], [-0.3, 0.5], [0.6, -0.1]]))
    record = {"name": "MMD", "exact_mean": exact.mean.tolist(), "exact_covariance": exact.covariance.tolist()}
    shifted = np.stack([exact.mean, exact.mean + 1])
    record |= {"mean": shifted.tolist(), "covariance": [record["exact_covariance"]] * 2}
    axes = figures.draw([record], "a note").axes
    assert [ax.get_title() for ax in axes] == list(figures.PANELS) and axes[0].get_ylabel() == "MMD"
    known_moments = statistics(np.asarray(exact.mean), np.asarray(exact.covariance))
    for column, (ax, known) in enumerate(zip(axes, known_moments, strict=True)):
        _, first, second = ax.lines
        np.testing.assert_allclose(drawn.x(first), known)
        np.testing.assert_allclose(drawn.y(first), known)
        np.testing.assert_allclose(drawn.y(second), known + (column < 2))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": ()}, "--seeds needs one seed"),
        ({"critics": ()}, "--critics is empty"),
        ({"critics": ("mdd",)}, "did you mean mmd"),
        ({"updates": 0}, "--updates is 0"),
        ({"samples": 1}, "at least 2"),
        ({"rate": 0.0}, "--rate"),
    ],
)
def test_mistakes(wrong, message):
    with pytest.raises(UserError, match=message):
        check(replace(LinearConfig(), **wrong))
