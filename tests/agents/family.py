"""Tiny agents of every method with a deterministic policy, and replays to train them on; compiled once for all tests.

All have the spaces of the point mass: goal, position and velocity, and actions in the plane.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sobolev.agents.dsdpg.networks import drawn
from sobolev.config import TrainConfig, configure, resolved
from sobolev.config.registry import agent_of
from sobolev.envs import make
from sobolev.training.program import Program, Stored
from tests import tiny

TASK = "toy:point-mass-2"
METHODS = ("dsdpg", "mage", "td3", "mmd", "iqn")
SPACES = make(TASK).spaces
SEED = (2,)
SETTINGS: dict[str, Any] = {
    "batch_size": 32,
    "updates_per_step": 2,
    "actor.network.units": 24,
    "critic.network.units": 24,
    "critic.discount": 0.8,
    "critic.rate": 0.05,
    "critic.smoothing": 0.0,
    "optimizer.actor": 3e-3,
    "optimizer.critic": 3e-3,
    "exploration.random_steps": 24,
    "env.number": tiny.ENVIRONMENTS,
    "env.workers": 0,
    "steps": 120,
    "evaluation.every": 50,
    "evaluation.episodes": tiny.ENVIRONMENTS,
    "log.every": 40,
    "log.tensorboard": False,
}
"""60 iterations, the first 13 without updates, then four updates each."""
OWN: dict[str, dict[str, Any]] = {
    "dsdpg": {
        "critic.samples": 4,
        "critic.noise": 2,
        "critic.drop": 0.0,
        "dynamics.network.units": 24,
        "dynamics.latent": 2,
        "dynamics.warmup": 20,
        "optimizer.dynamics": 3e-3,
        "discrepancy.steps": 2,
    },
    "mage": {
        "ensemble.members": 2,
        "ensemble.network.units": 24,
        "ensemble.reward.units": 24,
        "ensemble.batch_size": 32,
        "ensemble.batches": 20,
        "ensemble.every": 5,
        "ensemble.learning_rate": 3e-3,
        "gradient.weight": 5.0,
    },
    "td3": {},
}


def config(method: str, **settings: Any) -> TrainConfig[Any]:
    """A tiny run; dots of a setting are written as two underscores."""
    own = OWN.get(method, OWN["dsdpg"])
    changes = SETTINGS | own | {name.replace("__", "."): value for name, value in settings.items()}
    return resolved(configure(TASK, method=method, preset="laptop", settings=changes))


def program(method: str, seeds: tuple[int, ...] = SEED, **settings: Any) -> Program:
    """The program of a tiny run's agents, one for all tests."""
    return tiny.program(agent_of(config(method, **settings), SPACES), seeds)


def steps_of(
    rng: np.random.Generator, length: int, count: int, reward: Any, terminal: bool, told: bool = True
) -> dict[str, Any]:
    """Episodes of `length` steps, [environments, count, …], with random actions; of what is observed, position[0] is
    random and independent from step to step, all else 0: as much noise as the latent of a tiny world model can hold.

    reward(number, action) is that of the step after one of that number; `terminal`: whether the last step is that;
    `told`: whether goal[0] is the step's number.
    """
    shape = (tiny.ENVIRONMENTS, count)
    number = np.broadcast_to(np.arange(count) % length, shape)
    observation = {name: np.zeros((*shape, 2), np.float32) for name in SPACES.keys}
    observation["position"][..., 0] = rng.normal(size=shape)
    if told:
        observation["goal"][..., 0] = number
    last = number == length - 1
    action = np.where(last[..., None], 0, rng.uniform(-1, 1, (*shape, 2))).astype(np.float32)
    earned = np.zeros(shape, np.float32)
    earned[:, 1:] = reward(number[:, :-1], action[:, :-1])
    flags = {"first": number == 0, "last": last, "terminal": last & terminal}
    return {"observation": observation, "action": action, "reward": np.where(number == 0, 0, earned), **flags}


def observed(program: Program, steps: Sequence[dict[str, Any]]) -> tuple[Any, Stored]:
    """A fresh state and a replay of these steps, one dict per seed, of which the agents have taken notice."""
    count = steps[0]["reward"].shape[1]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
    replay = program.initial_replay(tiny.ENVIRONMENTS, tiny.CAPACITY)
    rings = jax.tree.map(lambda ring, new: ring.at[:, :, :count].set(new), replay.steps, stacked)
    replay = dataclasses.replace(replay, steps=rings, count=jnp.asarray(count, jnp.int32))
    flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:]), stacked)
    return jax.vmap(program.agent.observe)(program.initial_state(), flat), replay


def learned(program: Program, steps: dict[str, Any], updates: int) -> Any:
    """The state of one seed after so many updates on a replay of these steps."""
    state, replay = observed(program, [steps])
    for update in range(updates):
        state, replay, report = program.learn(state, replay, update)
        assert np.all(report.finite)
    return jax.tree.map(lambda leaf: leaf[0], state)


def policy(state: Any, rows: np.ndarray) -> np.ndarray:
    """π(s) for observations [states, 6]: goal, position, velocity."""
    return np.asarray(jax.vmap(lambda row: state.model.actor(state.statistics.normalised(row)))(jnp.asarray(rows)))


def value(agent: Any, state: Any, rows: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The mean return that both critics predict at observations [states, 6] and actions [states, 2]."""
    critic = agent.config.critic
    xi = drawn(jax.random.key(0), (256,), critic) if hasattr(critic, "noise") else jnp.zeros((1, 0))

    def at(row: jax.Array, action: jax.Array) -> jax.Array:
        seen = state.statistics.normalised(row)
        return jax.vmap(lambda n: state.model.critics(seen, action, jnp.stack([n, n])))(xi).mean()

    return np.asarray(jax.vmap(at)(jnp.asarray(rows), jnp.asarray(actions)))
