"""TD3: its target and loss by hand, what moves when, and what counts."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.baselines.td3 import TD3, cautious
from sobolev.agents.dsdpg.target import clipped_normal
from sobolev.agents.dsdpg.units import Pairs
from tests import tiny
from tests.agents import family

AGENT: Any = TD3(family.config("td3").agent, family.SPACES)
INIT, UPDATE = jax.jit(AGENT.init), jax.jit(AGENT.update)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def batch(count: int = 8) -> Pairs:
    """Random transitions; the last two end the episode, the first one is none."""
    keys = jax.random.split(jax.random.key(3), 4)
    return Pairs(
        state=jax.random.normal(keys[0], (count, 6)),
        action=jax.random.uniform(keys[1], (count, 2), minval=-1.0, maxval=1.0),
        reward=jax.random.normal(keys[2], (count,)),
        following=jax.random.normal(keys[3], (count, 6)),
        terminal=(jnp.arange(count) >= count - 2).astype(jnp.float32),
        valid=jnp.arange(count) > 0,
    )


@pytest.fixture(scope="module")
def state() -> Any:
    """An agent whose targets are not its networks."""
    with tiny.quickly():
        fresh, other = INIT(jax.random.key(0)), INIT(jax.random.key(1))
    return dataclasses.replace(fresh, targets=other.targets)


def test_target_and_loss_by_hand(state):
    pairs, none = batch(), jnp.zeros((2, 0))
    wanted, losses = [], []
    for i in range(1, 8):
        following = pairs.following[i]
        later = state.targets.critics(following, state.targets.actor(following), none).min()
        wanted.append(float(pairs.reward[i] + 0.8 * (0.0 if i >= 6 else later)))
        for q in state.model.critics(pairs.state[i], pairs.action[i], none):
            error = abs(wanted[-1] - float(q))
            losses.append(0.5 * error**2 if error < 1 else error - 0.5)
    _, finite, metrics = UPDATE(state, pairs, jax.random.key(5), jnp.asarray(0))
    assert finite
    assert float(metrics["return/target"]) == pytest.approx(np.mean(wanted), rel=1e-4)
    assert float(metrics["loss/critic"]) == pytest.approx(np.mean(losses), rel=1e-4)


def test_actor_and_targets_move_every_second_update(state):
    def moved(after: Any) -> list[bool]:
        parts = [(after.model.critics, state.model.critics), (after.model.actor, state.model.actor)]
        parts.append((after.targets, state.targets))
        pairs = [zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True) for a, b in parts]
        return [not all(np.array_equal(a, b) for a, b in leaves) for leaves in pairs]

    after = [UPDATE(state, batch(), jax.random.key(5), jnp.asarray(number))[0] for number in (5, 4)]
    assert [moved(one) for one in after] == [[True, True, True], [True, False, False]]
    kernel = lambda tree: tree.actor.perceptron.output.kernel  # noqa: E731
    slow = 0.95 * kernel(state.targets) + 0.05 * kernel(after[0].model)
    np.testing.assert_allclose(kernel(after[0].targets), slow, rtol=1e-5, atol=1e-7)


def test_what_is_no_transition_does_not_count(state):
    pairs = batch()
    other = dataclasses.replace(
        pairs, reward=pairs.reward.at[0].set(77.0), state=pairs.state.at[0].set(9.0), action=pairs.action.at[0].set(0.9)
    )
    one, two = (UPDATE(state, p, jax.random.key(5), jnp.asarray(0))[0].model for p in (pairs, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), one, two)


def test_the_target_action_is_smoothed_and_clipped(state):
    noise = clipped_normal(jax.random.key(0), (20_000,), 0.2, 0.3)
    assert float(jnp.abs(noise).max()) == pytest.approx(0.3)
    assert float(jnp.mean(jnp.abs(noise) < 0.2)) == pytest.approx(0.683, abs=0.02)
    s, a = jnp.ones(6), jnp.array([1.7, 0.5])
    both = state.targets.critics(s, jnp.array([1.0, 0.5]), jnp.zeros((2, 0)))
    assert float(cautious(state.targets.critics, s, a)) == pytest.approx(float(both.min()))
    assert float(both[0]) != float(both[1])


def test_acting(state):
    """Uniform until `random_steps` are seen, then the policy's with noise; the policy's in evaluation; 0 at the end."""
    shape, act = (500,), jax.jit(AGENT.act, static_argnames="mode")
    observation = {name: jnp.zeros((*shape, 2)) for name in family.SPACES.keys}
    step = {"observation": observation, "first": jnp.zeros(shape, bool), "last": jnp.arange(500) == 7}
    policy = np.asarray(state.model.actor(jnp.zeros(6)))
    early, _, extras = act(state, (), step, jax.random.key(0), mode="train")
    late = act(dataclasses.replace(state, steps=jnp.asarray(24)), (), step, jax.random.key(0), mode="train")[0]
    still = act(state, (), step, jax.random.key(0), mode="evaluate")[0]
    assert extras == {} and not any(np.asarray(x)[7].any() for x in (early, late, still))
    others = np.delete(np.arange(500), 7)
    assert np.asarray(early)[others].std() == pytest.approx(3**-0.5, rel=0.1)
    assert (np.asarray(late)[others] - policy).std() == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(np.asarray(still)[others] - policy, 0, atol=1e-6)
