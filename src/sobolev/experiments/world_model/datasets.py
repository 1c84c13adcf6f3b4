"""Fixed datasets of episodes: of random behaviour, and of a mixture of scripted or trained behaviours.

random   actions are uniform and independent
mixed    actions are autoregressive noise, with a correlation and a scale for each episode drawn from `CORRELATIONS` and
         `SCALES`; with a trained policy, every other episode, the first one included, is played by the policy, with
         white noise of a scale in `POLICY_NOISE` added
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sobolev.checkpoints.run_folder import read_config
from sobolev.config.registry import agent_of
from sobolev.envs import Spaces, Transition, VectorEnv, Workers, default_repeat
from sobolev.errors import UserError
from sobolev.experiments.episodes import Chooser, acting, play_round
from sobolev.experiments.world_model.config import WorldModelConfig
from sobolev.training.evaluation import load_state
from sobolev.training.playing import Limit
from sobolev.training.program import Program

CORRELATIONS = (0.0, 0.8, 0.95)
"""Correlations between successive actions of the scripted behaviour."""
SCALES = (0.3, 0.6, 1.0)
"""Standard deviations of the scripted actions, which are clipped to [−1, 1]."""
POLICY_NOISE = (0.0, 0.3, 0.6)
"""Standard deviations of the noise added to a policy's actions."""
ENVIRONMENTS = 4
"""Number of environments per seed."""
TRAINING, HELD_OUT = 0, 1
"""Kinds of environments (see `VectorEnv`), so that no two episodes have the same seed, nor the same actions."""
VERSION = 2
"""Of the episodes that the settings give. Before, held-out episodes had the actions of the training episodes."""

Episode = dict[str, Any]
"""The steps of an episode, leaves [time, …]: observation (a dict), action, reward, first, last, terminal."""


class Noise:
    """Autoregressive noise [seeds, environments, A]: e' = c e + sqrt(1 − c²) ξ, times a scale per environment."""

    def __init__(
        self,
        envs: VectorEnv,
        seeds: Sequence[int],
        episode: int,
        correlations: Sequence[float],
        scales: Sequence[float],
    ):
        shape, size = (*envs.shape, 1), envs.spaces.action
        self.rngs = _generators(envs, seeds, episode)
        self.correlation = np.array([rng.choice(correlations) for rng in self.rngs]).reshape(shape)
        self.scale = np.array([rng.choice(scales) for rng in self.rngs]).reshape(shape)
        self.shape = (*envs.shape, size)
        self.value = self._draw()

    def __call__(self) -> Float[np.ndarray, "seeds environments action"]:
        """Returns the noise of the next step."""
        self.value = self.correlation * self.value + np.sqrt(1 - self.correlation**2) * self._draw()
        return self.scale * self.value

    def _draw(self) -> Float[np.ndarray, "seeds environments action"]:
        return np.stack([rng.normal(size=self.shape[-1]) for rng in self.rngs]).reshape(self.shape)


class TrainedPolicy:
    """The agent of a run's first seed, in all environments at once. Raises UserError if it does not fit them."""

    def __init__(self, run: Path, envs: VectorEnv):
        config = read_config(run)
        if config.task != envs.task:
            raise UserError(f"{run} was trained on {config.task}: give a run on {envs.task}, or leave --policy out")
        agent = agent_of(config, envs.spaces)
        state, _ = load_state(run, Program(agent, config.seeds))
        self.state, self.program = jax.tree.map(lambda leaf: leaf[:1], state), Program(agent, config.seeds[:1])

    def begin(self, envs: VectorEnv, episode: int) -> Chooser:
        """Returns the policy's actions in an episode, given its number. Kinds of environments have their own draws."""
        drawn = len((TRAINING, HELD_OUT)) * episode + envs.kind
        act = acting(self.program, self.state, envs.shape[0] * envs.shape[1], drawn)

        def choose(transition: Transition) -> np.ndarray:
            joined: Any = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), dict(transition))
            return act(joined).reshape(*envs.shape, -1)

        return choose


def datasets(config: WorldModelConfig, behavior: str) -> tuple[Spaces, list[list[Episode]], list[list[Episode]]]:
    """Returns the spaces of the environment, and for each seed the episodes to train on and those to measure on.

    Raises UserError for an environment with images, and if episodes are too short for the settings.
    """
    played, limit = [], Limit(config.max_steps, default_repeat(config.task), "--max-steps")
    with Workers(min(2, len(config.seeds) * ENVIRONMENTS)) as workers:
        for kind, number in ((TRAINING, config.episodes[-1]), (HELD_OUT, config.held_out)):
            envs = VectorEnv(workers, config.task, None, config.seeds, min(ENVIRONMENTS, number), kind)
            if any(spec.dtype != "float32" for _, spec in envs.spaces.observation):
                raise UserError(f"{config.task} gives images: this study is of vector observations")
            policy = TrainedPolicy(config.policy, envs) if config.policy and behavior == "mixed" else None
            played.append(play(envs, config.seeds, behavior, number, limit, policy))
            spaces = envs.spaces
            envs.close()
    training, held_out = played
    shortest = min(len(episode["first"]) for seed in (*training, *held_out) for episode in seed)
    if shortest <= max(config.horizon, config.batch_length):
        raise UserError(
            f"an episode of {config.task} has {shortest} steps: --horizon and --batch-length must be smaller than that"
        )
    return spaces, training, held_out


def play(
    envs: VectorEnv,
    seeds: Sequence[int],
    behavior: str,
    episodes: int,
    limit: Limit,
    policy: TrainedPolicy | None = None,
) -> list[list[Episode]]:
    """Plays so many episodes for each of `seeds`, those of `envs`. They depend on the seed and `envs.kind` only."""
    rounds = range(-(-episodes // envs.shape[1]))
    played = [_cut(envs, _chooser(envs, seeds, behavior, number, policy), number, limit) for number in rounds]
    return [[episode for one in played for episode in one[seed]][:episodes] for seed in range(len(seeds))]


def _chooser(
    envs: VectorEnv, seeds: Sequence[int], behavior: str, episode: int, policy: TrainedPolicy | None
) -> Chooser:
    """Returns the actions of a round of episodes, within [−1, 1], and zero after a last step."""
    wanted = _unclipped(envs, seeds, behavior, episode, policy)

    def choose(transition: Transition) -> np.ndarray:
        action = np.clip(wanted(transition), -1, 1)
        return np.where(transition["last"][..., None], 0, action).astype(np.float32)

    return choose


def _unclipped(
    envs: VectorEnv, seeds: Sequence[int], behavior: str, episode: int, policy: TrainedPolicy | None
) -> Chooser:
    if behavior == "random":
        rngs, shape = _generators(envs, seeds, episode), (*envs.shape, envs.spaces.action)
        return lambda transition: np.stack([rng.uniform(-1, 1, shape[-1]) for rng in rngs]).reshape(shape)
    scripted = Noise(envs, seeds, episode, CORRELATIONS, SCALES)
    if policy is None:
        return lambda transition: scripted()
    act, added = policy.begin(envs, episode), Noise(envs, seeds, episode, (0.0,), POLICY_NOISE)
    of_policy = np.arange(envs.shape[1])[:, None] % 2 == 0
    return lambda transition: np.where(of_policy, act(transition) + added(), scripted())


def _generators(envs: VectorEnv, seeds: Sequence[int], episode: int) -> list[np.random.Generator]:
    """Returns a random generator for every environment of every seed."""
    numbers = range(envs.shape[1])
    return [np.random.default_rng([seed, episode, number, envs.kind]) for seed in seeds for number in numbers]


def _cut(envs: VectorEnv, choose: Chooser, number: int, limit: Limit) -> list[list[Episode]]:
    """Plays a round of episodes, and returns each one up to its end: [seeds][environments]."""
    steps, valid = play_round(envs, choose, number, limit)
    lengths, (seeds, environments) = valid.sum(1), envs.shape
    return [
        [jax.tree.map(lambda leaf, s=s, e=e: leaf[s, : lengths[s, e], e], steps) for e in range(environments)]
        for s in range(seeds)
    ]
