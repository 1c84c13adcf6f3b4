"""Runs for an experiment: trains and evaluates them, and visits states with the trained agents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sobolev.agents.api import Agent, State
from sobolev.checkpoints.run_folder import read_config
from sobolev.config import TrainConfig
from sobolev.config.codec import encode
from sobolev.config.registry import agent_of
from sobolev.envs import Workers
from sobolev.experiments.api import Record
from sobolev.experiments.episodes import acting, play_round
from sobolev.reports.results.scores import read
from sobolev.training.environments import AFTERWARDS, environments
from sobolev.training.evaluation import evaluate, load_state
from sobolev.training.playing import Limit
from sobolev.training.program import Program
from sobolev.training.start import start


def trained(config: TrainConfig, episodes: int) -> tuple[Path, Record]:
    """Trains a run and evaluates it; one that is complete is not trained again.

    Returns its folder, and a record with `returns` [seeds] (means over the episodes after training) and `curve`
    (`steps` and `returns` of the evaluations in training). Raises SystemExit with the status of a run that a signal
    ended.
    """
    folder, status = start(config)
    if status:
        raise SystemExit(status)
    returns = [seed["mean"] for seed in evaluate(folder, episodes)]
    scores = read(folder / "scores.json")
    curve = {"steps": scores[0]["xs"], "returns": [score["ys"] for score in scores]}
    return folder, {"returns": returns, "curve": curve}


def settings_of(config: TrainConfig) -> Record:
    """Returns the settings of a run without its folder, which changes nothing that is computed."""
    found = encode(config)
    del found["run"]
    return found


class Visited(NamedTuple):
    """Steps of episodes that the agent of a seed played; leaves have a leading axis of these steps."""

    seed: int
    state: State
    """of the agent"""
    now: dict[str, Any]
    """observation, action, reward, first, last and terminal"""
    following: dict[str, Any]
    """the same of the steps that followed"""


def visited(run: Path, episodes: int, number: int) -> tuple[Agent[Any, Any], list[Visited]]:
    """Plays episodes with the newest policies of a run, one in each of `episodes` environments.

    Returns the agent, and for each seed `number` of its steps, drawn at random (all of them, if there are fewer).
    """
    config = read_config(run)
    with Workers(0) as workers:
        envs = environments(workers, config, episodes, AFTERWARDS)
        program = Program(agent_of(config, envs.spaces), config.seeds)
        state, _ = load_state(run, program)
        limit = Limit(config.evaluation.max_steps, config.env.repeat or 1)
        played = play_round(envs, acting(program, state, envs.shape[1], 0), 0, limit)
    found = []
    for index, seed in enumerate(config.seeds):
        own, steps = jax.tree.map(lambda leaf, at=index: leaf[at], (state, played.steps))
        valid = np.argwhere(played.valid[index] & ~steps["last"])
        times, places = valid[np.sort(np.random.default_rng(seed).permutation(len(valid))[:number])].T
        now, following = (_rows(steps, times + ahead, places) for ahead in (0, 1))
        found.append(Visited(seed, own, now, following))
    return program.agent, found


def _rows(steps: dict[str, Any], times: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    return jax.tree.map(lambda leaf: leaf[times, places], steps)


def final_returns(record: Record) -> Sequence[float]:
    """Returns the mean return of every seed's episodes after training."""
    return record["returns"]


def returns_while_training(record: Record) -> Sequence[float]:
    """Returns the mean of every seed's evaluation returns during training, which is high if a method learns early."""
    steps, returns = record["curve"]["steps"], np.array(record["curve"]["returns"])
    return (np.trapezoid(returns, steps) / (steps[-1] - steps[0])).tolist()
