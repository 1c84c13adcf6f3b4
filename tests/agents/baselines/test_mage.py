"""MAGE: gradients of the target against finite differences, the loss by hand, the model's schedule, and resets."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.baselines.mage import MAGE, dealt
from sobolev.nn import cast_floating
from tests import tiny
from tests.agents import family
from tests.agents.baselines.test_td3 import batch

CONFIG: Any = family.config("mage").agent
AGENT = MAGE(CONFIG, family.SPACES)
INIT, UPDATE = jax.jit(AGENT.init), jax.jit(AGENT.update)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


@pytest.fixture(scope="module")
def state() -> Any:
    """An agent whose targets are not its networks, and that has seen something."""
    seen = {"observation": {k: 2 * jax.random.normal(jax.random.key(4), (50, 2)) for k in family.SPACES.keys}}
    seen |= {"reward": jnp.arange(50.0), "first": jnp.zeros(50, bool)}
    with tiny.quickly():
        fresh, other = INIT(jax.random.key(0)), INIT(jax.random.key(1))
        return jax.jit(AGENT.observe)(dataclasses.replace(fresh, targets=other.targets), seen)


def huber(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def test_the_targets_gradient_is_that_of_the_target(state):
    """∂y/∂a through model, reward, target policy and target critics, against central differences in float64."""
    with jax.enable_x64(True):
        wide, size = cast_floating(state, jnp.float64), 4
        config = copy.copy(CONFIG)
        vars(config)["precision"] = "float64"  # which no run has
        agent = dataclasses.replace(AGENT, config=config)
        states, actions = (jax.random.normal(jax.random.key(i), (size, n), jnp.float64) for i, n in ((0, 6), (1, 2)))
        actions, key = 0.3 * actions, jax.random.key(2)
        targets = jax.jit(lambda a: agent.targets(wide, states, a, key))
        found, step = np.asarray(targets(actions)), 1e-6
        for axis in range(2):
            move = step * jnp.eye(2)[axis][None]
            slope = (targets(actions + move) - targets(actions - move))[:, 0] / (2 * step)
            np.testing.assert_allclose(found[:, 1 + axis], slope, rtol=1e-5, atol=1e-7)
    assert np.abs(found[:, 1:]).min() > 0


def test_the_loss_by_hand(state):
    pairs, key = batch(), jax.random.key(7)
    metrics = UPDATE(state, pairs, key, jnp.asarray(1))[2]
    states = jax.jit(jax.vmap(state.statistics.normalised))(pairs.state)
    actions = jax.jit(jax.vmap(state.model.actor))(states)
    wanted = np.asarray(jax.jit(AGENT.targets)(state, states, actions, jax.random.split(key)[0]))[1:]
    errors, slopes = [], []
    for which in range(2):
        q = lambda s, a, which=which: state.model.critics(s, a, jnp.zeros((2, 0)))[which]  # noqa: E731
        found, gradients = jax.jit(jax.vmap(jax.value_and_grad(q, 1)))(states[1:], actions[1:])
        errors.append(huber(wanted[:, 0] - found))
        slopes.append(huber(np.linalg.norm(wanted[:, 1:] - gradients, axis=1)))
    assert float(metrics["loss/critic_error"]) == pytest.approx(np.mean(errors), rel=1e-4)
    assert float(metrics["loss/critic_gradient"]) == pytest.approx(np.mean(slopes), rel=1e-4)
    assert float(metrics["loss/critic"]) == pytest.approx(np.mean(errors) + 5 * np.mean(slopes), rel=1e-4)


def test_the_model_is_trained_on_its_own_schedule():
    """Every 5 agent steps, which are 10 updates; between these only actor and critics change.

    The 24 random steps have 4 trainings, which are the first 4 updates, and before which nothing else learns.
    """
    program = family.program("mage")
    steps = family.steps_of(np.random.default_rng(0), 5, 60, lambda n, a: a.sum(-1), terminal=True)
    state, replay = family.observed(program, [steps])
    for number, trains in ((0, True), (3, True), (10, True), (11, False), (19, False), (20, True)):
        before = jax.tree.map(np.array, state.model)
        after, replay, report = program.learn(state, replay, number)
        state: Any = after
        kernels = before.dynamics.transitions.output.kernel, state.model.dynamics.transitions.output.kernel
        assert (not np.array_equal(*kernels)) == trains
        biases = [model.critics.both.perceptron.output.bias for model in (before, state.model)]
        assert np.array_equal(*biases) == (number < 4)
        moved = not np.array_equal(before.actor.perceptron.output.bias, state.model.actor.perceptron.output.bias)
        assert moved == (number >= 4 and number % 2 == 1)
        assert report.finite.all() and not report.metrics["reset"].any()
    assert float(state.statistics.change.count[0]) > 100


def test_divergence_renews_actor_and_critics_but_not_the_model(state):
    gradient = dataclasses.replace(CONFIG.gradient, reset_critic=1e-9)
    agent = MAGE(dataclasses.replace(CONFIG, gradient=gradient), family.SPACES)
    after, finite, metrics = jax.jit(agent.update)(state, batch(), jax.random.key(7), jnp.asarray(1))
    assert finite and metrics["reset"] == 1
    jax.tree.map(np.testing.assert_array_equal, after.targets.critics, after.model.critics)
    jax.tree.map(np.testing.assert_array_equal, after.model.dynamics, state.model.dynamics)
    fresh = INIT(jax.random.split(jax.random.key(7))[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.model.actor, fresh.model.actor)
    assert not UPDATE(state, batch(), jax.random.key(7), jnp.asarray(1))[2]["reset"]


def test_a_batch_is_dealt_out_in_order():
    np.testing.assert_array_equal(dealt(jnp.arange(12.0).reshape(6, 2), 3)[1], [[4, 5], [6, 7]])


def test_the_published_settings():
    from sobolev.config import defaults

    agent = defaults("gym:Hopper-v5", "mage").agent
    model, critic = agent.ensemble, agent.critic
    assert (model.members, model.network.layers, model.network.units, model.low, model.high) == (8, 4, 512, -5.0, -1.0)
    assert (model.batch_size, model.every, model.batches, model.learning_rate, model.weight_decay) == (
        256,
        25,
        120,
        1e-4,
        1e-4,
    )
    assert (agent.actor.network.layers, agent.actor.network.units, critic.network.units) == (2, 384, 384)
    assert (agent.batch_size, agent.updates_per_step, agent.actor.delay, critic.rate, critic.discount) == (
        1024,
        10,
        2,
        0.005,
        0.99,
    )
    assert (agent.optimizer.actor, agent.optimizer.critic, agent.gradient.weight, agent.gradient.clip) == (
        1e-4,
        1e-4,
        5.0,
        5.0,
    )
    assert (agent.exploration.noise, agent.exploration.random_steps, critic.smoothing, critic.smoothing_clip) == (
        0.1,
        1000,
        0.2,
        0.5,
    )
    assert (agent.gradient.reset_critic, agent.gradient.reset_actor) == (100.0, 1e5)
