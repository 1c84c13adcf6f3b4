"""Playing episodes with a run's agents: during training, from a checkpoint, and one observation at a time."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sobolev.agents.api import State
from sobolev.config import TrainConfig
from sobolev.config.registry import agent_of, method_of
from sobolev.envs import Environment, Workers, worker_count
from sobolev.envs.specs import check_finite
from sobolev.errors import UserError
from sobolev.training import dreams
from sobolev.training.checkpoint import Checkpoints
from sobolev.training.dreams import Recording
from sobolev.training.environments import AFTERWARDS, environment, environments, spaces
from sobolev.training.films import write_video
from sobolev.training.metrics import field_name
from sobolev.training.program import Program, program_of
from sobolev.training.run import read_config
from sobolev.training.together import Envs
from sobolev.training.trees import unflatten

FRAME_SIZE = (480, 480)


def play(
    program: Program,
    state: State,
    envs: Envs,
    episode: int,
    watch: Callable[[], None] = lambda: None,
    recording: Recording | None = None,
) -> np.ndarray:
    """One episode in every environment of every seed, all stepping together; returns [seeds, environments].

    `watch` is called at every step of the first environment's episode, its first one included. `recording` keeps the
    first steps.
    """
    seeds, number = envs.shape
    carry, transition = program.initial_carry(number), envs.reset(episode)
    returns, running, step = np.zeros((seeds, number)), np.ones((seeds, number), bool), 0
    while True:
        if running[0, 0]:
            watch()
        returns += np.where(running, transition["reward"].astype(np.float64), 0.0)
        running &= ~transition["last"]
        if not running.any():
            return returns
        action, carry = program.act(state, carry, transition, "evaluate", (episode, step))
        if recording is not None:
            recording.add(transition, action)
        envs.send(action)
        transition, step = envs.receive(), step + 1


def evaluate(run: Path, episodes: int, video: Path | None = None, dream: Path | None = None) -> list[dict[str, Any]]:
    """Plays `episodes` episodes per seed with a run's newest whole checkpoint.

    Returns per seed {task, method, seed, episodes, mean, std, returns, env_steps}; std is over episodes (population).
    With `video`, the first seed's first episode is written there as a film; with `dream`, what its world model foresees
    of episodes, as a film of images or a plot of vectors (`dreams.write`). Raises UserError where the run has no
    checkpoint, this machine cannot render, or the agent has nothing to dream of.
    """
    config = read_config(run)
    with Workers(worker_count(config.env, len(config.seeds) * episodes)) as workers:
        envs = environments(workers, config, episodes, AFTERWARDS)
        program = program_of(agent_of(config, envs.spaces), config.seeds, 1)
        if dream:
            dreams.check(program.agent, dream)
        state, meta = load_state(run, program)
        frames: list[np.ndarray] = []
        watch = (lambda: frames.append(envs.render(0, 0, *FRAME_SIZE))) if video else (lambda: None)
        recording = Recording() if dream else None
        returns = play(program, state, envs, 0, watch, recording)
    if video:
        write_video(video, frames)
    if dream and recording:
        found = dreams.dream(program, state, recording)
        assert found is not None, "checked above"
        dreams.write(found, dream)
    return [
        {
            "task": field_name(config.task),
            "method": method_of(config).name,
            "seed": seed,
            "episodes": episodes,
            "mean": float(found.mean()),
            "std": float(found.std()),
            "returns": found.tolist(),
            "env_steps": meta["env_steps"],
        }
        for seed, found in zip(config.seeds, returns, strict=True)
    ]


def load_state(run: Path, program: Program) -> tuple[State, dict[str, Any]]:
    """The agents of a run's newest whole checkpoint, and what the checkpoint says of itself."""
    loaded = Checkpoints(run / "checkpoint").load(growing="leave")
    if loaded is None:
        raise UserError(f"{run} has no checkpoint yet: it is written after some minutes of training, and at its end")
    arrays = {name.removeprefix("agent/"): x for name, x in loaded.state.items() if name.startswith("agent/")}
    return program.layout.placed(unflatten(program.state_shapes(), arrays)), loaded.meta


class Policy:
    """A trained policy for one environment; keeps its own recurrent state between calls.

    It acts as the agent does in evaluation, which samples with Dreamer; two policies of equal `seed` draw the same.
    """

    def __init__(self, program: Program, state: State, config: TrainConfig):
        self.config, self.spaces = config, program.agent.spaces
        self._program, self._state, self._episode = program, state, -1
        self.reset()

    def reset(self) -> None:
        """Forget the episode so far: the next observation is the first of a new one."""
        self._carry, self._step = self._program.initial_carry(1), 0
        self._episode += 1

    def environment(self) -> Environment:
        """A fresh environment of the run's task: `reset(seed)`, `step(action)`, `render(height, width)`."""
        return environment(self.config)

    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action float32[A] for one observation, each dimension clipped to [−1, 1].

        Raises UserError for an observation with other entries or shapes than the run's environment gives, or with NaN.
        """
        entries = {}
        for name, spec in self.spaces.observation:
            if name not in observation or np.shape(observation[name]) != spec.shape:
                found = f"shape {np.shape(observation[name])}" if name in observation else "nothing"
                raise UserError(f"the policy needs the observation '{name}' of shape {spec.shape} and got {found}")
            entries[name] = np.asarray(observation[name], spec.dtype)[None, None]
        check_finite(self.config.task, entries)
        flags = {"first": np.array([[self._step == 0]]), **dict.fromkeys(("last", "terminal"), np.array([[False]]))}
        transition: Any = {"observation": entries, "reward": np.zeros((1, 1), np.float32), **flags}
        action, self._carry = self._program.act(
            self._state, self._carry, transition, "evaluate", (self._episode, self._step)
        )
        self._step += 1
        return np.clip(action[0, 0], -1.0, 1.0)


def load_policy(run: str | Path, seed: int | None = None) -> Policy:
    """The policy of a run's newest checkpoint: `action = policy(observation)`, `policy.reset()` between episodes.

    `seed` is one of the run's seeds; None takes the first. Raises UserError where there is no such run, checkpoint or
    seed.
    """
    run = Path(run)
    config = read_config(run)
    seed = config.seeds[0] if seed is None else seed
    if seed not in config.seeds:
        raise UserError(f"{run} has no seed {seed}: it has {', '.join(map(str, config.seeds))}")
    agent = agent_of(config, spaces(config))
    everyone, alone = (program_of(agent, seeds, 1) for seeds in (config.seeds, (seed,)))
    state, _ = load_state(run, everyone)
    index = config.seeds.index(seed)
    own = jax.tree.map(lambda leaf: jax.device_put(leaf[index : index + 1], jax.devices()[0]), state)
    return Policy(alone, own, config)
