"""Fixed datasets of episodes: of random behaviour, and of a mixture of scripted or trained behaviour of unlike quality.

random   every action uniform and independent
mixed    autoregressive noise, an episode's correlation and scale drawn from `CORRELATIONS` and `SCALES`; with a trained
         policy, every other round of episodes is the policy's instead, plus white noise of a scale in `POLICY_NOISE`
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobolev.checkpoints.run_folder import read_config
from sobolev.config.registry import agent_of
from sobolev.envs import Transition, VectorEnv
from sobolev.errors import UserError
from sobolev.training.evaluation import load_state
from sobolev.training.playing import Limit, Waiting, episodes
from sobolev.training.program import Program

CORRELATIONS = (0.0, 0.8, 0.95)
"""Of an action of the scripted behaviour with the one before it."""
SCALES = (0.3, 0.6, 1.0)
"""Standard deviations of scripted actions, which are clipped to [−1, 1]."""
POLICY_NOISE = (0.0, 0.3, 0.6)
"""Standard deviations of what is added to a policy's actions."""

Chooser = Callable[[Transition], np.ndarray]
"""From a transition to actions [seeds, environments, A]."""


Episode = dict[str, Any]
"""Steps from a first to a last one, leaves [time, …]: observation (a dict), action, reward, first, last, terminal."""


class Noise:
    """Noise [seeds, environments, A] of an episode: e' = c e + sqrt(1 − c²) ξ, times the scale of its environment."""

    def __init__(
        self,
        envs: VectorEnv,
        seeds: Sequence[int],
        episode: int,
        correlations: Sequence[float],
        scales: Sequence[float],
    ):
        shape, size = (*envs.shape, 1), envs.spaces.action
        self.rngs = [np.random.default_rng([seed, episode, e]) for seed in seeds for e in range(envs.shape[1])]
        self.correlation = np.array([rng.choice(correlations) for rng in self.rngs]).reshape(shape)
        self.scale = np.array([rng.choice(scales) for rng in self.rngs]).reshape(shape)
        self.shape = (*envs.shape, size)
        self.value = self._draw()

    def __call__(self) -> np.ndarray:
        """The next step's."""
        self.value = self.correlation * self.value + np.sqrt(1 - self.correlation**2) * self._draw()
        return self.scale * self.value

    def _draw(self) -> np.ndarray:
        return np.stack([rng.normal(size=self.shape[-1]) for rng in self.rngs]).reshape(self.shape)


class Policies:
    """The agent of a run's first seed, in every environment at once. Raises UserError where it does not fit them."""

    def __init__(self, run: Path, envs: VectorEnv):
        config = read_config(run)
        if config.task != envs.task:
            raise UserError(f"{run} was trained on {config.task}: give a run on {envs.task}, or leave --policy out")
        agent = agent_of(config, envs.spaces)
        state, _ = load_state(run, Program(agent, config.seeds))
        self.state, self.program = jax.tree.map(lambda leaf: leaf[:1], state), Program(agent, config.seeds[:1])

    def begin(self, episode: int) -> Chooser:
        """The policy's actions in that episode."""
        carry: Any = None
        step = 0

        def act(transition: Transition) -> np.ndarray:
            nonlocal carry, step
            seeds, number = transition["reward"].shape
            joined: Any = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), dict(transition))
            carry = self.program.initial_carry(seeds * number) if carry is None else carry
            action, carry = self.program.act(self.state, carry, joined, "evaluate", (episode, step))
            step += 1
            return action.reshape(seeds, number, -1)

        return act


def play(
    envs: VectorEnv, seeds: Sequence[int], behavior: str, number: int, limit: Limit, policies: Policies | None = None
) -> list[list[Episode]]:
    """So many episodes for each of `seeds`, those of `envs`; they depend on the seed and on nothing drawn before."""
    side = envs.shape[1]
    rounds = [
        _round(envs, _chooser(envs, seeds, behavior, at, policies), at, limit) for at in range(-(-number // side))
    ]
    return [[episode for played in rounds for episode in played[at]][:number] for at in range(len(seeds))]


def _chooser(envs: VectorEnv, seeds: Sequence[int], behavior: str, episode: int, policies: Policies | None) -> Chooser:
    if behavior == "random":
        rng = [np.random.default_rng([seed, episode, e]) for seed in seeds for e in range(envs.shape[1])]
        shape = (*envs.shape, envs.spaces.action)
        return lambda transition: np.stack([r.uniform(-1, 1, shape[-1]) for r in rng]).reshape(shape)
    if policies is None or episode % 2:
        noise = Noise(envs, seeds, episode, CORRELATIONS, SCALES)
        return lambda transition: noise()
    act, noise = policies.begin(episode), Noise(envs, seeds, episode, (0.0,), POLICY_NOISE)
    return lambda transition: act(transition) + noise()


def _round(envs: VectorEnv, choose: Chooser, number: int, limit: Limit) -> list[list[Episode]]:
    """One episode in every environment, [seeds][environments]."""
    steps, actions, lengths = [], list[np.ndarray](), np.zeros(envs.shape, int)

    def act(transition: Transition) -> np.ndarray:
        chosen = np.where(transition["last"][..., None], 0, np.clip(choose(transition), -1, 1))
        actions.append(chosen.astype(np.float32))
        return actions[-1]

    for transition, running in episodes(envs, number, act, limit, watch=Waiting(print)):
        steps.append(transition)
        lengths += running
    actions.append(np.zeros((*envs.shape, envs.spaces.action), np.float32))
    taken = [{**transition, "action": action} for transition, action in zip(steps, actions, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 2), *taken)
    return [
        [jax.tree.map(lambda leaf, s=s, e=e: leaf[s, e, : lengths[s, e]], stacked) for e in range(envs.shape[1])]
        for s in range(envs.shape[0])
    ]
