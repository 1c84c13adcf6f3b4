"""The law that is known on a linear system, and critics that learn it."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.experiments.linear_critic import experiment as study
from sobolev.experiments.linear_system import exact_law, example, rollout_return
from sobolev.nn import cast_floating


def test_the_exact_law_against_many_rollouts():
    """Sampled means and covariances of return and gradient, within four standard errors."""
    system, s, a = example(), jnp.array([0.8, -0.5]), jnp.array([0.3])
    noise = jax.random.normal(jax.random.key(0), (10_000, 40, 2))
    value = jax.value_and_grad(lambda a, n: rollout_return(system, s, a, n))
    returns, slopes = jax.jit(jax.vmap(value, (None, 0)))(a, noise)
    drawn = np.concatenate([returns[:, None], slopes], 1).astype(np.float64)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x), jnp.float64) for x in (s, a)]
        law = jax.tree.map(np.asarray, jax.jit(exact_law)(cast_floating(system, jnp.float64), *wide))
    spread = np.sqrt(np.diagonal(law.covariance))
    np.testing.assert_allclose(drawn.mean(0), law.mean, atol=4 * spread.max() / np.sqrt(len(drawn)))
    np.testing.assert_allclose(np.cov(drawn.T), law.covariance, rtol=0.1, atol=0.02)
    assert spread[1] > 0.1 and abs(law.covariance[0, 1]) > 0.05


def test_one_step_by_hand():
    """Without a future (discount 0) the return is the reward, and nothing varies."""
    system = replace(example(), discount=0.0)
    law = jax.jit(exact_law, static_argnums=3)(system, jnp.array([1.0, 2.0]), jnp.array([0.5]), 3)
    # s'Qs = 1 + 2 · 0.2 · 2 + 0.5 · 4 = 3.8; a'Ra = 0.125
    np.testing.assert_allclose(law.mean, [-3.925, -0.5], rtol=1e-5)
    np.testing.assert_allclose(law.covariance, 0, atol=1e-6)


CONFIG = study.LinearConfig(updates=800, batch=32, samples=8, units=24, rate=5e-3)


@functools.cache
def found(name):
    """Errors of a critic that is trained for a few seconds."""
    kind = study.kinds(CONFIG)[name]
    quick = replace(kind.agent.discrepancy, steps=5, restarts=1, search=16)
    kind = kind._replace(agent=replace(kind.agent, discrepancy=quick))
    train = jax.jit(functools.partial(study.fit, example(), kind, CONFIG.updates))
    states = study.SPREAD * jax.random.normal(jax.random.key(10_000), (32, 2))
    law = jax.jit(study.laws, static_argnums=1)(
        train(jax.random.key(0)), kind.agent.critic.noise, states, example(), jax.random.key(1)
    )
    return study.errors(law, study.exact_laws(example(), states))


def test_a_critic_learns_the_law_of_return_and_gradient():
    """Means to a fifth of a standard deviation, deviations to a fifth of themselves, correlation to 0.2."""
    errors = found("msmmd")
    assert errors.mean_return < 0.2 and errors.mean_gradient < 0.2, errors
    assert errors.std_return < 0.2 and errors.std_gradient < 0.2, errors
    assert errors.correlation < 0.2, errors


def test_a_deterministic_critic_learns_the_means_alone():
    """MAGE: its means are near, but for what the Huber loss and the smaller of two critics shift; nothing varies."""
    errors = found("mage")
    assert errors.mean_return < 0.3 and errors.mean_gradient < 0.2, errors
    np.testing.assert_allclose([errors.std_return, errors.std_gradient], 1, atol=1e-3)


def test_errors_of_the_exact_law_are_none():
    exact = study.exact_laws(example(), jnp.zeros((3, 2)))
    twice = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), exact)
    np.testing.assert_allclose(study.errors(twice, exact), 0, atol=1e-12)
    wider = twice._replace(covariance=4 * twice.covariance)
    np.testing.assert_allclose(study.errors(wider, exact), [0, 0, 1, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": ()}, "--seeds"),
        ({"critics": ()}, "--critics is empty"),
        ({"critics": ("mdd",)}, "did you mean mmd"),
        ({"updates": 0}, "--updates is 0"),
        ({"samples": 1}, "at least 2"),
        ({"rate": 0.0}, "--rate"),
    ],
)
def test_mistakes(wrong, message):
    with pytest.raises(UserError, match=message):
        study.check(replace(study.LinearConfig(), **wrong))
