"""Methods and agents as the rest sees them: presets, folders that keep their names, statistics that cost nothing."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.config import configure, from_json, resolved, to_json
from sobolev.config.codec import encode
from sobolev.config.registry import OURS, agent_of
from sobolev.training.program import Program
from tests import tiny


@pytest.mark.parametrize("method", OURS)
def test_every_method_has_every_preset_and_its_own_settings(method: str) -> None:
    known = OURS[method]
    assert known.name == method and tuple(known.presets) == ("paper", "laptop", "demo")
    for preset in known.presets.values():
        assert isinstance(preset.agent, known.config) and preset.size in known.sizes
        assert known.sizes[preset.size](preset.agent) == preset.agent
    config = resolved(configure("gym:Ant-v5", method=method), "cpu")
    assert type(config.agent) is known.config and from_json(to_json(config)) == config
    assert encode(config)["agent"]["precision"] == "float32"


def test_the_agent_is_that_of_the_config() -> None:
    config = tiny.config(method="dreamer")
    assert agent_of(config, tiny.SPACES) == Dreamer(config.agent, tiny.SPACES)


class CountingState(eqx.Module):
    model: jax.Array
    steps: jax.Array
    rewards: jax.Array


@dataclass(frozen=True)
class Counting:
    """An agent that only counts: its action is the number of steps it has observed."""

    config: Any = None
    spaces: Any = tiny.SPACES
    shown: Any = None

    def init(self, key):
        return CountingState(jax.random.normal(key, (3,)), jnp.zeros(()), jnp.zeros(()))

    def initial_carry(self, batch):
        return ()

    def extras(self):
        return {}

    def act(self, state, carry, transition, key, mode):
        environments = transition["reward"].shape[0]
        return jnp.full((environments, 1), state.steps), carry, {}

    def observe(self, state, transitions):
        seen = (state.steps + len(transitions["action"]), state.rewards + transitions["reward"].sum())
        return eqx.tree_at(lambda s: (s.steps, s.rewards), state, seen)

    def learn(self, state, replay, key, number):
        raise NotImplementedError


def transition(reward: np.ndarray) -> dict[str, Any]:
    observation = {name: np.zeros((*reward.shape, *spec.shape), np.float32) for name, spec in tiny.SPACES.observation}
    flags = dict.fromkeys(("first", "last", "terminal"), np.zeros(reward.shape, bool))
    return {"observation": observation, "reward": reward.astype(np.float32), **flags}


def places(tree: Any) -> list[int]:
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("seeds", [(4,), (4, 7, 9)], ids=str)
def test_an_agent_observes_every_step_once_and_the_rest_of_its_state_is_not_copied(seeds: tuple[int, ...]) -> None:
    program = Program(Counting(), seeds)
    state: Any = program.initial_state()
    carry, replay = program.initial_carry(2), program.initial_replay(2, 16)
    rewards = np.random.default_rng(0).normal(size=(5, len(seeds), 2))
    for iteration, reward in enumerate(rewards):
        before = places(state.model)
        step: Any = transition(reward)
        action, state, carry, replay = program.step(state, carry, replay, step, iteration)
        np.testing.assert_array_equal(action, np.full((len(seeds), 2, 1), 2.0 * iteration))
        assert places(state.model) == before
        program.act(state, carry, step, "evaluate", (0, iteration))
    np.testing.assert_array_equal(state.steps, [10.0] * len(seeds))
    np.testing.assert_allclose(state.rewards, rewards.sum((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(replay.steps["action"][0, 0, :5, 0], [0.0, 2.0, 4.0, 6.0, 8.0])
    assert int(replay.count) == 5


def test_dreamer_observes_for_free() -> None:
    """Its step gives back the very memory it was given."""
    program = tiny.program(tiny.agent(), (2,))
    state, carry, replay = program.initial_state(), program.initial_carry(2), program.initial_replay(2, 16)
    before, values = places(state), jax.tree.map(np.array, state)
    step: Any = transition(np.zeros((1, 2)))
    _, state, _, _ = program.step(state, carry, replay, step, 0)
    assert places(state) == before
    jax.tree.map(np.testing.assert_array_equal, state, values)
