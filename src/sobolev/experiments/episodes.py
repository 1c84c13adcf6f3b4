"""Episodes played in vectorised environments, with all that was observed and done in them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from sobolev.envs import Transition, VectorEnv
from sobolev.training.agent import State
from sobolev.training.program import Program

Chooser = Callable[[Transition], np.ndarray]
"""From a transition to actions [seeds, environments, A]."""


class Round(NamedTuple):
    """One episode in every environment, played side by side."""

    steps: dict[str, Any]
    """leaves [seeds, time, environments, …]: observation (a dict), action, reward, first, last, terminal"""
    valid: Bool[np.ndarray, "seeds time environments"]
    """False after the end of an environment's episode, where others still go on"""

    def returns(self) -> Float[np.ndarray, "seeds environments"]:
        """The return of every episode, added up step by step in float64, as `evaluate` does."""
        rewards = np.where(self.valid, self.steps["reward"].astype(np.float64), 0.0)
        return np.add.accumulate(rewards, 1)[:, -1]


def play_round(envs: VectorEnv, choose: Chooser, episode: int) -> Round:
    """The episode of this number in every environment, up to the end of the longest one."""
    transition, running, steps, valid = envs.reset(episode), np.ones(envs.shape, bool), [], []
    while running.any():
        action = choose(transition)
        steps.append({**transition, "action": action})
        valid.append(running)
        running = running & ~transition["last"]
        if running.any():
            envs.send(action)
            transition = envs.receive()
    return Round(jax.tree.map(lambda *leaves: np.stack(leaves, 1), *steps), np.stack(valid, 1))


def acting(program: Program, state: State, environments: int, episode: int) -> Chooser:
    """The actions of trained agents in the episode of that number, as they are evaluated."""
    carry, step = program.initial_carry(environments), 0

    def act(transition: Transition) -> np.ndarray:
        nonlocal carry, step
        action, carry = program.act(state, carry, transition, "evaluate", (episode, step))
        step += 1
        return action

    return act
