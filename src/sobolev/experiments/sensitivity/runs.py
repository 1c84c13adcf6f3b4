"""Measures the sensitivity of trained agents, given the folders of their runs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from sobolev.agents.api import State
from sobolev.checkpoints.run_folder import identity, read_config
from sobolev.config import TrainConfig
from sobolev.config.registry import agent_of, method_of
from sobolev.envs import VectorEnv, Workers, worker_count
from sobolev.errors import UserError
from sobolev.experiments.api import Record, Say
from sobolev.experiments.episodes import acting, play_round
from sobolev.experiments.sensitivity.measure import TABLES, HasLatentTables, Measured, measure
from sobolev.system.columns import aligned
from sobolev.training.environments import AFTERWARDS, environments, spaces
from sobolev.training.evaluation import load_state
from sobolev.training.playing import Limit
from sobolev.training.program import Program
from sobolev.training.snapshot import kept_weights, read_weights


class Group(NamedTuple):
    """Runs with one label, which differ in their seeds only."""

    label: str
    runs: list[tuple[Path, TrainConfig]]


def grouped(runs: Sequence[Path]) -> list[Group]:
    """Groups runs by task, method and settings. The label of a group is the method's name, if that is unambiguous.

    Raises UserError if a folder is not a run, if its method has no latent distributions, or if two runs have the same
    settings and a seed in common.
    """
    groups: dict[str, list[tuple[Path, TrainConfig]]] = {}
    for run in dict.fromkeys(runs):
        config = read_config(run)
        if not isinstance(agent_of(config, spaces(config)), HasLatentTables):
            raise UserError(
                f"{run} is of method {config.method}, which has no latent distributions: give runs of a method whose "
                "agent has `latent_tables`, as those of gpld and dreamer have"
            )
        alike = identity(config)
        del alike["seeds"]
        groups.setdefault(repr(alike), []).append((run, config))
    named = []
    for members in groups.values():
        run, config = members[0]
        seeds = [seed for _, other in members for seed in other.seeds]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{run} and {members[-1][0]} are the same experiment with the same seed: leave one out")
        rivals = [m for m in groups.values() if (m[0][1].task, m[0][1].method) == (config.task, config.method)]
        named.append(Group(config.method if len(rivals) == 1 else f"{config.method} ({run.name})", members))
    return named


def measure_runs(runs: Sequence[Path], episodes: int, states: int, say: Say) -> list[Record]:
    """Returns a record per run, checkpoint and seed, with the numbers of `measure`. `say` gets a line per checkpoint.

    Raises UserError if a run has no checkpoint.
    """
    records = []
    for label, members in grouped(runs):
        for run, config in members:
            for env_steps, seeds in _of_run(run, config, episodes, states):
                records += [{"run": str(run), "label": label, "env_steps": env_steps, **seed} for seed in seeds]
                means = [f"{table} {np.mean([s[table]['sensitivity'] for s in seeds]):.3g}" for table in TABLES]
                say(f"{run}: {env_steps} env steps, sensitivity of {' and '.join(means)}")
    return records


def _of_run(run: Path, config: TrainConfig, episodes: int, states: int) -> Iterator[tuple[int, list[Record]]]:
    """Yields env steps and a record per seed, for every snapshot and for the newest checkpoint."""
    with Workers(worker_count(config.env, len(config.seeds) * episodes)) as workers:
        envs = environments(workers, config, episodes, AFTERWARDS)
        program = Program(agent_of(config, envs.spaces), config.seeds)
        newest, meta = load_state(run, program)
        for env_steps, path in kept_weights(run).items():
            if env_steps < meta["env_steps"]:
                yield env_steps, _of_state(read_weights(path, program.agent, newest), program, envs, config, states)
        yield meta["env_steps"], _of_state(newest, program, envs, config, states)


def _of_state(state: State, program: Program, envs: VectorEnv, config: TrainConfig, states: int) -> list[Record]:
    """Returns the numbers of every seed, on the first episodes of `evaluate`, played by the agent of that seed."""
    limit = Limit(config.evaluation.max_steps, config.env.repeat or 1)
    played, records = play_round(envs, acting(program, state, envs.shape[1], 0), 0, limit), []
    returns = played.returns()
    for index, seed in enumerate(program.seeds):
        own, steps = jax.tree.map(lambda leaf, at=index: leaf[at], (state, played.steps))
        valid = np.flatnonzero(played.valid[index])
        chosen = np.sort(np.random.default_rng(seed).permutation(valid)[:states])
        stream = {name: steps[name] for name in ("observation", "action", "first")}
        tables = measure_agent(program.agent, own, stream, chosen, jax.random.key(seed))
        numbers = jax.tree.map(lambda x: np.asarray(x).tolist(), tables)
        facts = {"task": config.task, "method": method_of(config).name, "size": config.size, "seed": seed}
        records.append({**facts, "states": len(chosen), "return": float(returns[index].mean()), **numbers})
    return records


@partial(jax.jit, static_argnums=0)
def measure_agent(
    agent: HasLatentTables,
    state: State,
    steps: dict[str, Any],
    chosen: Int[np.ndarray | Array, " states"],
    key: Key[Array, ""],
) -> dict[str, Measured]:
    """Applies `measure` to the agent of one seed, at the steps `chosen` of a recorded stream [time, batch, …]."""
    return measure(partial(agent.latent_tables, state, steps), chosen, key)


def table(records: Sequence[Record]) -> list[str]:
    """Returns the lines of a table: for each task, label and env steps, mean and standard deviation over seeds of every
    number."""
    rows = [["task", "method", "env steps", "seeds", *[f"{t} {n}" for n in ("KL/|d|", "|J|") for t in TABLES]]]
    keys = sorted({(r["task"], r["label"], r["env_steps"]) for r in records})
    for key in keys:
        seeds = [r for r in records if (r["task"], r["label"], r["env_steps"]) == key]
        cells = []
        for number in ("sensitivity", "jacobian_norm"):
            for name in TABLES:
                values = [r[name][number] for r in seeds]
                cells.append(f"{np.mean(values):.3g} ± {np.std(values):.2g}")
        rows.append([key[0], key[1], str(key[2]), str(len(seeds)), *cells])
    return aligned(rows)
