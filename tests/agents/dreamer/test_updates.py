"""One update of the agent: what changes, what does not, and what goes back to replay. And acting."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Carry, compact
from sobolev.agents.dreamer.config import DreamerConfig, without_penalty
from sobolev.agents.dreamer.rssm import Latents
from sobolev.config import defaults
from sobolev.nn import TwoHot
from tests import tiny

SEED = (2,)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


@pytest.fixture
def program():
    tiny.compiled_learn(SEED)
    return tiny.program(tiny.agent(), SEED)


def host(tree):
    """Copies: what is donated afterwards must not be seen through a view."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


def leaves_equal(a, b) -> list[bool]:
    return [np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]


def warm(program, updates=12):
    """A state whose learning rate has left zero."""
    state, replay = program.initial_state(), tiny.filled(program, SEED)
    for update in range(updates):
        state, replay, _ = program.learn(state, replay, update)
    return state, replay


def test_an_update_changes_what_it_should(program):
    state, replay = warm(program)
    before, steps, latents = host(state), host(replay.steps), host(replay.latents)
    state, replay, report = program.learn(state, replay, 12)
    assert report.finite.all() and int(state.updates[0]) == 13
    changed = [not same for same in leaves_equal(before.model, state.model)]
    assert all(changed)
    assert all(leaves_equal(steps, replay.steps)) and int(replay.count) == 400
    assert not all(leaves_equal(latents, replay.latents))
    share = 0.02
    for old, fast, new in zip(*map(jax.tree.leaves, (before.slow, state.model.critic, state.slow)), strict=True):
        np.testing.assert_allclose(new, (1 - share) * old + share * np.asarray(fast), rtol=1e-5, atol=1e-8)


def test_refreshed_latents_go_to_the_steps_of_the_windows_and_nowhere_else(program):
    state, replay = warm(program)
    before = host(replay.latents)
    _, replay, report = program.learn(state, replay, 12)
    batch, after = host(report.batch), host(replay.latents)
    touched = np.zeros((tiny.ENVIRONMENTS, tiny.CAPACITY), bool)
    for environment, start in zip(batch.environment[0], batch.start[0], strict=True):
        touched[environment, start + 1 : start + 9] = True
    assert np.array_equal((before["deter"] != after["deter"]).any(-1)[0], touched)
    deter = after["deter"].view(np.float16)[0][touched]
    assert (np.abs(deter) <= 1).all() and np.isfinite(deter).all()
    assert after["stoch"][0][touched].max() < 4


def test_a_non_finite_update_changes_nothing(program):
    """One NaN in replay: the report says so, state and latents stay bit for bit; the update after it is as usual."""
    state, replay = warm(program)
    saved, latents, clean = host(state), host(replay.latents), host(replay.steps)
    bad = jax.tree.map(jnp.array, replay.steps)
    bad["observation"]["velocity"] = jnp.full_like(bad["observation"]["velocity"], jnp.nan)
    state, replay, report = program.learn(state, dataclasses.replace(replay, steps=bad), 12)
    assert not report.finite.any() and not np.isfinite(report.metrics["loss"]).any()
    assert np.isnan(report.batch.steps["observation"]["velocity"]).all()
    assert all(leaves_equal(saved, state)) and all(leaves_equal(latents, replay.latents))
    replay = dataclasses.replace(replay, steps=jax.tree.map(jnp.array, clean))
    state, _, report = program.learn(state, replay, 13)
    assert report.finite.all() and not all(leaves_equal(saved.model, state.model))


def test_an_infinite_reward_is_masked_too(program):
    state, replay = warm(program, 2)
    saved = host(state)
    steps = replay.steps | {"reward": jnp.full_like(replay.steps["reward"], jnp.inf)}
    state, _, report = program.learn(state, dataclasses.replace(replay, steps=steps), 2)
    assert not report.finite.any() and all(leaves_equal(saved, state))


def transition(rng, **flags):
    shape = (1, tiny.ENVIRONMENTS)
    found = {name: np.broadcast_to(np.array(flags.get(name, False)), shape) for name in ("first", "last", "terminal")}
    observation = {name: rng.normal(size=(*shape, *s.shape)).astype(np.float32) for name, s in tiny.SPACES.observation}
    return {"observation": observation, "reward": np.zeros(shape, np.float32), **found}


def random_carry(program, scale=0.5) -> Carry:
    keys = iter(jax.random.split(jax.random.key(5), 3))
    carry = program.initial_carry(tiny.ENVIRONMENTS)
    return jax.tree.map(lambda leaf: scale * jax.random.normal(next(keys), leaf.shape), carry)


def test_a_first_step_forgets_and_a_last_one_does_not_act(program):
    state, rng = program.initial_state(), np.random.default_rng(0)
    seen = transition(rng, first=[True, False], last=[False, True])
    action, carry = program.act(state, random_carry(program), seen, "evaluate", (0, 0))
    fresh, fresh_carry = program.act(state, program.initial_carry(2), seen, "evaluate", (0, 0))
    np.testing.assert_array_equal(action[0, 0], fresh[0, 0])
    np.testing.assert_array_equal(carry.deter[0, 0], fresh_carry.deter[0, 0])
    assert not np.array_equal(carry.deter[0, 1], fresh_carry.deter[0, 1])
    assert action[0, 0].any() and not action[0, 1].any() and not carry.action[0, 1].any()
    np.testing.assert_array_equal(carry.action, action)
    again, _ = program.act(state, random_carry(program), seen, "evaluate", (0, 0))
    other, _ = program.act(state, random_carry(program), seen, "evaluate", (0, 1))
    np.testing.assert_array_equal(again, action)
    assert not np.array_equal(other[0, 0], action[0, 0])


def test_stored_latents_are_the_agents_in_fewer_bits():
    agent, index = tiny.agent(), jnp.array([[0, 1, 2, 3], [3, 3, 0, 0], [1, 2, 1, 2]])
    stoch = jax.nn.one_hot(index, 4)
    latents = Latents(jnp.linspace(-1, 1, 96).reshape(3, 32), stoch.reshape(3, 16), stoch, index)
    stored = compact(latents)
    assert {name: (x.shape[1:], x.dtype) for name, x in stored.items()} == {
        name: (x.shape, x.dtype) for name, x in agent.extras().items()
    }
    deter, back = agent.expand(stored)
    np.testing.assert_allclose(deter, latents.deter, atol=2.0**-12)
    np.testing.assert_array_equal(back, latents.stoch)


def test_the_methods_differ_by_the_penalty_alone():
    gpld, dreamer = (defaults("walker-walk", method).agent for method in ("gpld", "dreamer"))
    assert dreamer == without_penalty(gpld) != gpld
    assert dreamer.penalty.posterior == dreamer.penalty.prior == 0
    assert gpld == DreamerConfig() and (gpld.penalty.posterior, gpld.penalty.rho) == (0.5, 0.5)


def constant(value):
    """Episodes of one step after the first: reward `value` there, and the end."""

    def steps(rng, shape):
        number = np.broadcast_to(np.arange(shape[-1]), shape)
        last = number % 2 == 1
        observation = {
            name: np.broadcast_to(last[..., None], (*shape, *spec.shape)).astype(np.float32)
            for name, spec in tiny.SPACES.observation
        }
        action = np.where(last, 0, rng.uniform(-1, 1, shape)).astype(np.float32)[..., None]
        paid = value(action[..., 0])
        reward = np.where(last, np.concatenate([np.zeros((*shape[:-1], 1)), paid[..., :-1]], -1), 0)
        flags = {"first": ~last, "last": last, "terminal": last}
        return {"observation": observation, "action": action, "reward": reward.astype(np.float32), **flags}

    return steps


def trained(program, value, updates):
    state, replay = program.initial_state(), tiny.filled(program, SEED, 400, constant(value))
    for update in range(updates):
        state, replay, report = program.learn(state, replay, update)
    assert report.finite.all()
    return state, host(report.metrics)


def first_state(program, state, number=50):
    """Latents and actions of first steps, as the probes give them."""
    seen = transition(np.random.default_rng(0), first=True)
    seen["observation"] = jax.tree.map(np.zeros_like, seen["observation"])
    found = [program.act(state, program.initial_carry(2), seen, "evaluate", (0, i)) for i in range(number)]
    return found[0][1], np.concatenate([action[0] for action, _ in found])


def test_probe_the_critic_learns_a_known_value(program):
    """One step to go, worth e - 1 whatever is done: that is the value of the first state."""
    worth = float(np.expm1(1))
    state, metrics = trained(program, lambda action: worth + 0 * action, 400)
    assert metrics["loss/reward"] < 0.05 and metrics["loss/cont"] < 0.05
    carry, _ = first_state(program, state, 1)
    critic = jax.tree.map(lambda leaf: leaf[0], state.model.critic)
    logits = jax.jit(jax.vmap(critic))(carry.deter[0], carry.stoch[0])
    values = jax.jit(jax.vmap(TwoHot(logits.shape[-1]).mean))(logits)
    np.testing.assert_allclose(values, worth, rtol=0.15)


def test_probe_the_actor_finds_the_better_action(program):
    """The reward is twice the action, up to 1: the policy goes to its upper end."""
    state, _ = trained(program, lambda action: 2 * np.clip(action, -1, 1), 400)
    _, actions = first_state(program, state)
    assert np.mean(actions) > 0.6


def probe(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Episodes of three steps, told by position[0]; the reward of a step is 1 − 2 (a − 0.4)² for the action before."""
    number = np.broadcast_to(np.arange(shape[-1]) % 3, shape)
    observation = {name: np.zeros((*shape, *spec.shape), np.float32) for name, spec in tiny.SPACES.observation}
    observation["position"][..., 0] = number
    last = number == 2
    action = np.where(last[..., None], 0, rng.uniform(-1, 1, (*shape, 1))).astype(np.float32)
    reward = np.zeros(shape, np.float32)
    reward[..., 1:] = np.where(number[..., 1:] == 0, 0, 1 - 2 * (action[..., :-1, 0] - 0.4) ** 2)
    flags = {"first": number == 0, "last": last, "terminal": last}
    return {"observation": observation, "action": action, "reward": reward, **flags}


@pytest.mark.long
def test_the_best_action_of_a_probe_environment_and_its_value(program):
    """From replay of random actions: actions near 0.4, and returns of 2, 1 and 0 from the three steps on average."""
    state, replay, actions, returns = program.initial_state(), tiny.filled(program, SEED, 900, probe), [], []
    start: Any = transition(np.random.default_rng(0), first=True)
    start["observation"] = {name: np.zeros_like(entry) for name, entry in start["observation"].items()}
    for update in range(1200):
        state, replay, report = program.learn(state, replay, update)
        if update >= 800:
            returns.append(float(report.metrics["return/imagined"][0]))
        if update >= 800 and update % 25 == 0:
            carry = program.initial_carry(tiny.ENVIRONMENTS)
            actions.append(program.act(state, carry, start, "evaluate", (0, update))[0].mean())
    assert np.mean(actions) == pytest.approx(0.4, abs=0.2)
    assert np.mean(returns) == pytest.approx(1.0, abs=0.3)
