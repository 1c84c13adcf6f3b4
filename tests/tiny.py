"""A run small enough for tests: a toy environment, an agent of a few units, and programs that are compiled only once.

The toy has the shapes of cartpole-swingup, so that both take the same compiled programs.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.api import Agent
from sobolev.agents.dreamer.agent import Dreamer
from sobolev.config import TrainConfig, configure, resolved
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.training import evaluation, loop
from sobolev.training.program import Program
from sobolev.training.schedule import Plan

TASK = "gym:tests.spring:Spring-v0"
SPACES = Spaces((("position", ArraySpec((3,), "float32")), ("velocity", ArraySpec((2,), "float32"))), 1)
ENVIRONMENTS = 2
PARTS = ("encoder", "decoder", "prior", "posterior", "reward", "continue", "actor", "critic")
SETTINGS: dict[str, Any] = {
    "model.deter": 32,
    "model.hidden": 16,
    "model.classes": 4,
    "model.units": 16,
    "model.rows": 4,
    "model.blocks": 4,
    "model.bins": 41,
    **{f"model.{part}_layers": 1 for part in PARTS},
    "batch_size": 4,
    "batch_length": 8,
    "train_ratio": 32.0,
    "behavior.horizon": 3,
    "optimizer.learning_rate": 3e-3,
    "optimizer.warmup": 10,
    "env.number": ENVIRONMENTS,
    "env.workers": 0,
    "steps": 160,
    "evaluation.every": 60,
    "evaluation.episodes": ENVIRONMENTS,
    "log.every": 40,
    "log.dreams": 0,
    "log.tensorboard": False,
}
"""80 iterations, the first 24 without updates, then two updates each; evaluations at 0, 60 and 120 env steps."""

DOT = "gym:tests.spring:Dot-v0"
PIXELS: dict[str, Any] = {"observations": "pixels", "env.image_size": 16, "model.depth": 1}
"""What makes a run of `DOT` one from images of 16×16."""

CAPACITY = 100_000
"""Steps per environment of a replay that is large beside everything else in a tiny program."""


def config(task: str = TASK, method: str = "gpld", **settings: Any) -> TrainConfig[Any]:
    """A tiny run; dots of a setting are written as two underscores."""
    chosen = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
    return resolved(configure(task, method=method, settings=chosen))


def flags() -> list[str]:
    """The settings of `config()` as the command line takes them."""
    named = [(f"--{name.replace('_', '-')}", str(value)) for name, value in SETTINGS.items()]
    return [TASK, *[part for pair in named if pair[1] != "False" for part in pair], "--log.no-tensorboard"]


def program(agent: Agent, seeds: tuple[int, ...], data: int = 1) -> Program:
    """The program of these agents, one for all tests: it holds nothing but what is compiled."""
    return _program(agent, seeds, data)


_program = functools.cache(Program)


def agent(method: str = "gpld") -> Dreamer:
    """The agent of a tiny run."""
    return Dreamer(config(method=method).agent, SPACES)


@functools.cache
def compiled_learn(seeds: tuple[int, ...]) -> Any:
    """The compiled update of `program(agent(), seeds)` on a replay of `CAPACITY`; `learn` then calls the same."""
    ours = program(agent(), seeds)
    with quickly():
        return ours.trace("update", ENVIRONMENTS, CAPACITY).lower().compile()


@contextmanager
def quickly() -> Iterator[None]:
    """Compiles with little optimisation, beside the options that all tests have from conftest.py: an update takes 3 s
    in place of 17."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def quick_environment(devices: int = 1) -> dict[str, str]:
    """Environment variables of a process that compiles as `quickly` does, to the same bits, for so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}


def share_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs and evaluations of equal agents use the same compiled program."""
    for module in (loop, evaluation):
        monkeypatch.setattr(module, "program_of", program)


def large_replay(monkeypatch: pytest.MonkeyPatch, capacity: int = CAPACITY) -> None:
    """Gives runs the replay of `CAPACITY`, whose programs other tests compile too, in place of one cut to their length.

    What is sampled does not depend on it, unless it is smaller."""
    of = Plan.of
    monkeypatch.setattr(Plan, "of", staticmethod(lambda config: dataclasses.replace(of(config), capacity=capacity)))


Values = Callable[[np.random.Generator, tuple[int, ...]], dict[str, Any]]


def random_steps(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Any]:
    """Steps of any content: observations, actions and rewards normal, episodes of ten steps, half of them terminal."""
    number = np.broadcast_to(np.arange(shape[-1]), shape)
    last = number % 10 == 9
    observation = {name: rng.normal(size=(*shape, *spec.shape)).astype(np.float32) for name, spec in SPACES.observation}
    return {
        "observation": observation,
        "action": np.where(last[..., None], 0, rng.normal(size=(*shape, SPACES.action))).astype(np.float32),
        "reward": rng.normal(size=shape).astype(np.float32),
        "first": number % 10 == 0,
        "last": last,
        "terminal": last & (number % 20 == 9),
    }


def filled(program: Program, seed_numbers: Sequence[int], count: int = 400, steps: Values = random_steps) -> Any:
    """A replay of `CAPACITY` with `count` steps; the data of a seed depends on its number alone."""
    replay = program.initial_replay(ENVIRONMENTS, CAPACITY)
    parts = [steps(np.random.default_rng(seed), (ENVIRONMENTS, count)) for seed in seed_numbers]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    written = jax.tree.map(lambda ring, new: ring.at[:, :, :count].set(new), replay.steps, stacked)
    return dataclasses.replace(replay, steps=written, count=jnp.asarray(count, jnp.int32))
