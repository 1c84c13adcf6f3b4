"""Playing episodes with a run's agents: during training, from a checkpoint, and one observation at a time."""

import itertools
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobolev.agents.api import State
from sobolev.checkpoints.pytree_io import check_spaces, unflatten
from sobolev.checkpoints.run_folder import read_config
from sobolev.checkpoints.slots import Checkpoints
from sobolev.config import TrainConfig
from sobolev.config.registry import agent_of, method_of
from sobolev.distributed.processes import Envs
from sobolev.envs import Environment, Transition, Workers, worker_count
from sobolev.envs.wrappers.checks import entry
from sobolev.errors import UserError
from sobolev.logs import dreams
from sobolev.logs.dreams import Recording
from sobolev.logs.sinks import field_name
from sobolev.logs.videos import write_video
from sobolev.system.jax_setup import check_devices
from sobolev.system.output import Guard
from sobolev.training import playing
from sobolev.training.environments import AFTERWARDS, environment, environments, spaces
from sobolev.training.playing import Limit, Waiting, rounds
from sobolev.training.program import Program, program_of

FRAME_SIZE = (480, 480)


def play(
    program: Program,
    state: State,
    envs: Envs,
    episode: int,
    number: int,
    limit: Limit,
    waiting: Waiting,
    recording: Recording | None = None,
    watch: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Plays `number` episodes of every seed, in the rounds and environments of `rounds(number)`.

    Returns their returns [seeds, number], and a mask of those that were truncated by the limit. These do not depend on
    the number of rounds: the random numbers of an episode and its policy depend on the episode's number alone.
    `waiting` reports progress. `watch` is called at every step of the first environment's episode, including its first
    one. `recording` keeps the first steps.
    """
    (count, size), (seeds, _) = rounds(number), envs.shape
    returns, truncated = np.zeros((seeds, count * size)), np.zeros((seeds, count * size), bool)
    for first in range(0, count * size, size):
        part = None if count == 1 else (count * size, first)
        which = "" if part is None else f", episodes {first + 1} to {min(first + size, number)} of {number}"
        act = _acting(program, state, size, episode, part, None if first else recording)
        watching = partial(waiting, what=which)
        running, last = np.ones((seeds, size), bool), np.zeros((seeds, size), bool)
        for transition, running in playing.episodes(envs, episode, act, limit, first=first, watch=watching):
            last = transition["last"]
            returns[:, first : first + size] += np.where(running, transition["reward"].astype(np.float64), 0.0)
            if running[0, 0] and not first:
                watch()
        truncated[:, first : first + size] = running & ~last
    waiting.show("")
    return returns[:, :number], truncated[:, :number]


def _acting(
    program: Program,
    state: State,
    environments: int,
    episode: int,
    part: tuple[int, int] | None,
    recording: Recording | None,
) -> Callable[[Transition], np.ndarray]:
    """A function that returns the agents' actions, called step after step of an episode."""
    carry, steps = program.initial_carry(environments), itertools.count()

    def act(transition: Transition) -> np.ndarray:
        nonlocal carry
        action, carry = program.act(state, carry, transition, "evaluate", (episode, next(steps)), part)
        if recording is not None:
            recording.add(transition, action)
        return action

    return act


def evaluate(
    run: Path,
    episodes: int,
    video: Path | None = None,
    dream: Path | None = None,
    max_steps: int | None = None,
    say: Callable[[str], None] = print,
    show: Callable[[str], None] = lambda text: None,
    filmed: Callable[[list[np.ndarray]], None] = lambda frames: None,
) -> list[dict[str, Any]]:
    """Plays `episodes` episodes per seed with a run's newest whole checkpoint.

    Returns {task, method, seed, episodes, mean, std, returns, truncated, env_steps} for each seed. std is the
    population standard deviation over episodes. `truncated` is the number of episodes that did not end within
    `max_steps` env steps (None: the run's setting), whose returns so far count. With `video`, the first episode of the
    first seed is written there as a film; with `dream`, the predictions of its world model, as a film of images or a
    plot of vectors (`dreams.write`). `say` and `show` get progress reports, see `Waiting`; `filmed` gets the frames of
    the video, uint8[480, 480, 3]. A film or plot that cannot be written is reported on stderr. Raises UserError if the
    run has no checkpoint, this machine cannot render, or the agent has no world model that predicts observations.
    """
    config, (_, size) = read_config(run), rounds(episodes)
    limit = Limit(max_steps or config.evaluation.max_steps, config.env.repeat or 1, "--max-steps")
    with Workers(worker_count(config.env, len(config.seeds) * size)) as workers:
        envs = environments(workers, config, size, AFTERWARDS)
        program = program_of(agent_of(config, envs.spaces), config.seeds, 1)
        if dream:
            dreams.check(program.agent, dream)
        state, meta = load_state(run, program)
        frames: list[np.ndarray] = []
        watch = (lambda: frames.append(envs.render(0, 0, *FRAME_SIZE))) if video else (lambda: None)
        recording = Recording() if dream else None
        returns, truncated = play(program, state, envs, 0, episodes, limit, Waiting(say, show), recording, watch)
    if truncated.any():
        say(limit.sentence())
    if video:
        Guard(f"--video {video}", Exception)(write_video, video, frames)
        filmed(frames)
    if dream and recording:
        found = dreams.dream(partial(program.dream, state), recording)
        assert found is not None, "checked above"
        Guard(f"--dream {dream}", Exception)(dreams.write, found, dream)
    return [
        {
            "task": field_name(config.task),
            "method": method_of(config).name,
            "seed": seed,
            "episodes": episodes,
            "mean": float(found.mean()),
            "std": float(found.std()),
            "returns": found.tolist(),
            "truncated": int(cut.sum()),
            "env_steps": meta["env_steps"],
        }
        for seed, found, cut in zip(config.seeds, returns, truncated, strict=True)
    ]


def load_state(run: Path, program: Program) -> tuple[State, dict[str, Any]]:
    """The agents of a run's newest whole checkpoint, and the checkpoint's metadata.

    Reports on stderr if a newer checkpoint is damaged. Raises UserError if there is none, or if it belongs to an
    environment with other observations or actions.
    """
    loaded = Checkpoints(run / "checkpoint").load(growing="leave", finite=["agent/"])
    if loaded is None:
        raise UserError(f"{run} has no checkpoint yet: it is written after some minutes of training, and at its end")
    for note in loaded.notes:
        print(f"{run}: {note}", file=sys.stderr, flush=True)
    check_spaces(loaded.state, program.agent.spaces, "the environment", "take the environment it was made with")
    arrays = {name.removeprefix("agent/"): x for name, x in loaded.state.items() if name.startswith("agent/")}
    return program.layout.placed(unflatten(program.state_shapes(), arrays)), loaded.meta


class Policy:
    """A trained policy for one environment; keeps its own recurrent state between calls.

    It acts as in evaluation, where Dreamer's actions are samples. Two policies with equal `seed` draw the same samples.
    """

    def __init__(self, program: Program, state: State, config: TrainConfig):
        self.config, self.spaces = config, program.agent.spaces
        self._program, self._state, self._episode = program, state, -1
        self.reset()

    def reset(self) -> None:
        """Begins a new episode: the next observation is its first one."""
        self._carry, self._step = self._program.initial_carry(1), 0
        self._episode += 1

    def environment(self) -> Environment:
        """Creates an environment of the run's task: `reset(seed)`, `step(action)`, `render(height, width)`."""
        return environment(self.config)

    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action float32[A] for one observation, each dimension clipped to [−1, 1].

        Raises UserError for an observation with NaN, or with other entries or shapes than the run's environment has.
        """
        entries = {}
        for name, spec in self.spaces.observation:
            if name not in observation or np.shape(observation[name]) != spec.shape:
                found = f"shape {np.shape(observation[name])}" if name in observation else "nothing"
                raise UserError(f"the policy needs the observation '{name}' of shape {spec.shape} and got {found}")
            found = entry(self.config.task, name, spec.shape, np.dtype(spec.dtype), observation[name])
            entries[name] = found[None, None]
        transition: Transition = {
            "observation": entries,
            "reward": np.zeros((1, 1), np.float32),
            "first": np.array([[self._step == 0]]),
            "last": np.array([[False]]),
            "terminal": np.array([[False]]),
        }
        action, self._carry = self._program.act(
            self._state, self._carry, transition, "evaluate", (self._episode, self._step)
        )
        self._step += 1
        return np.clip(action[0, 0], -1.0, 1.0)


def load_policy(run: str | Path, seed: int | None = None) -> Policy:
    """The policy of a run's newest checkpoint: `action = policy(observation)`, `policy.reset()` between episodes.

    `seed` is one of the run's seeds, None for the first. Raises UserError if there is no such run, checkpoint or seed.
    """
    run = Path(run).expanduser()
    config = read_config(run)
    check_devices()
    seed = config.seeds[0] if seed is None else seed
    if seed not in config.seeds:
        raise UserError(f"{run} has no seed {seed}: it has {', '.join(map(str, config.seeds))}")
    agent = agent_of(config, spaces(config))
    everyone, alone = (program_of(agent, seeds, 1) for seeds in (config.seeds, (seed,)))
    state, _ = load_state(run, everyone)
    index = config.seeds.index(seed)
    own = jax.tree.map(lambda leaf: jax.device_put(leaf[index : index + 1], jax.devices()[0]), state)
    return Policy(alone, own, config)
