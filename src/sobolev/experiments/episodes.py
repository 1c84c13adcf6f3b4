"""Plays episodes in vectorised environments, and records all observations and actions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from sobolev.agents.api import State
from sobolev.envs import Transition, VectorEnv
from sobolev.training.playing import Limit, Waiting, episodes
from sobolev.training.program import Program

Chooser = Callable[[Transition], np.ndarray]
"""A function from a transition to actions [seeds, environments, A]."""


class Round(NamedTuple):
    """One episode in every environment, all stepped together."""

    steps: dict[str, Any]
    """leaves [seeds, time, environments, …]: observation (a dict), action, reward, first, last, terminal"""
    valid: Bool[np.ndarray, "seeds time environments"]
    """False after the end of an environment's episode, while others still run"""

    def returns(self) -> Float[np.ndarray, "seeds environments"]:
        """Returns the return of every episode, summed step by step in float64, as in `evaluate`."""
        rewards = np.where(self.valid, self.steps["reward"].astype(np.float64), 0.0)
        return np.add.accumulate(rewards, 1)[:, -1]


def play_round(envs: VectorEnv, choose: Chooser, episode: int, limit: Limit) -> Round:
    """Plays the episode of a number in every environment, up to the end of the longest one. The last action is zero."""
    steps, valid, actions = [], [], list[np.ndarray]()

    def act(transition: Transition) -> np.ndarray:
        actions.append(choose(transition))
        return actions[-1]

    for transition, running in episodes(envs, episode, act, limit, watch=Waiting(print)):
        steps.append(transition)
        valid.append(running)
    actions.append(np.zeros((*envs.shape, envs.spaces.action), np.float32))
    taken = [{**transition, "action": action} for transition, action in zip(steps, actions, strict=True)]
    return Round(jax.tree.map(lambda *leaves: np.stack(leaves, 1), *taken), np.stack(valid, 1))


def acting(program: Program, state: State, environments: int, episode: int) -> Chooser:
    """Returns the actions of trained agents in the episode of a number, as in evaluation."""
    carry, step = program.initial_carry(environments), 0

    def act(transition: Transition) -> np.ndarray:
        nonlocal carry, step
        action, carry = program.act(state, carry, transition, "evaluate", (episode, step))
        step += 1
        return action

    return act
