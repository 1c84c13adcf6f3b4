"""How far the latent tables of trained agents move when their inputs do (paper 1, Appendix F), from runs' folders."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from sobolev.dreamer.config import DreamerConfig
from sobolev.dreamer.rssm import Latents
from sobolev.dreamer.world_model import WorldModel
from sobolev.envs import VectorEnv, Workers, worker_count
from sobolev.errors import UserError
from sobolev.nn import cast_floating, over
from sobolev.smoothness import sensitivity as local
from sobolev.smoothness.sensitivity import MAGNITUDES
from sobolev.training.agent import State
from sobolev.training.config import TrainConfig
from sobolev.training.environments import AFTERWARDS, environments
from sobolev.training.evaluation import load_state
from sobolev.training.methods import agent_of
from sobolev.training.program import Program
from sobolev.training.run import identity, read_config
from sobolev.training.snapshot import kept_weights, read_weights

__all__ = ["MAGNITUDES", "TABLES", "grouped", "measure", "measure_runs", "play", "summary"]

TABLES = ("posterior", "prior")
"""The posterior has its tokens perturbed, the prior its deter."""
DIRECTIONS = 2
"""Random directions per state and magnitude."""


class Trajectories(NamedTuple):
    """Episodes of all seeds, one per environment, played together; steps after an environment's end are not valid."""

    observation: dict[str, np.ndarray]
    """[seeds, time, environments, …], as all that follows"""
    action: np.ndarray
    first: np.ndarray
    valid: np.ndarray
    returns: np.ndarray
    """[seeds, environments]"""


class Group(NamedTuple):
    """Runs of one label: the same settings but for their seeds."""

    label: str
    runs: list[tuple[Path, TrainConfig]]


def grouped(runs: Sequence[Path]) -> list[Group]:
    """The runs by task, method and settings; a method's name alone is the label where nothing else has it.

    Raises UserError where a folder is no run or its method has no latent tables, or where two runs have the same
    settings and a seed in common.
    """
    groups: dict[str, list[tuple[Path, TrainConfig]]] = {}
    for run in dict.fromkeys(runs):
        config = read_config(run)
        if not isinstance(config.agent, DreamerConfig):
            raise UserError(
                f"{run} is of method {config.method}, which has no latent tables: give runs of gpld or dreamer"
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


def measure_runs(
    runs: Sequence[Path], episodes: int, states: int, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """A JSON-able record per run, checkpoint and seed: see `measure` for its numbers. `say` gets a line per checkpoint.

    Raises UserError where a run has no checkpoint.
    """
    records = []
    for label, members in grouped(runs):
        for run, config in members:
            for env_steps, found in _of_run(run, config, episodes, states):
                records += [{"run": str(run), "label": label, "env_steps": env_steps, **seed} for seed in found]
                values = [f"{table} {np.mean([s[table]['sensitivity'] for s in found]):.3g}" for table in TABLES]
                say(f"{run}: {env_steps} env steps, sensitivity of {' and '.join(values)}")
    return records


def _of_run(run: Path, config: TrainConfig, episodes: int, states: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Env steps and a record per seed, for every kept copy of the networks and the newest checkpoint."""
    with Workers(worker_count(config.env, len(config.seeds) * episodes)) as workers:
        envs = environments(workers, config, episodes, AFTERWARDS)
        program = Program(agent_of(config, envs.spaces), config.seeds)
        newest, meta = load_state(run, program)
        for env_steps, path in kept_weights(run).items():
            if env_steps < meta["env_steps"]:
                yield env_steps, _of_state(read_weights(path, newest), program, envs, config, states)
        yield meta["env_steps"], _of_state(newest, program, envs, config, states)


def _of_state(
    state: State, program: Program, envs: VectorEnv, config: TrainConfig, states: int
) -> list[dict[str, Any]]:
    """The numbers of every seed, on episodes that its own agent plays."""
    played, records = play(program, state, envs), []
    for index, seed in enumerate(program.seeds):
        own = jax.tree.map(lambda leaf, at=index: leaf[at], state)
        agent: Any = program.agent
        world = agent.networks(own).world
        valid = np.flatnonzero(played.valid[index])
        chosen = np.sort(np.random.default_rng(seed).permutation(valid)[:states])
        observation = {name: entry[index] for name, entry in played.observation.items()}
        stream = (observation, played.action[index], played.first[index])
        found = measure(world, *stream, chosen, jax.random.key(seed), jnp.dtype(config.agent.precision))
        numbers = {table: jax.tree.map(lambda x: np.asarray(x).tolist(), found[table]) for table in TABLES}
        facts = {"task": config.task, "method": config.method, "size": config.size, "seed": seed}
        records.append({**facts, "states": len(chosen), "return": float(played.returns[index].mean()), **numbers})
    return records


def play(program: Program, state: State, envs: VectorEnv) -> Trajectories:
    """One episode in every environment, the same as `evaluate` plays first, with all that the agents saw and did."""
    carry, transition = program.initial_carry(envs.shape[1]), envs.reset(0)
    running, returns = np.ones(envs.shape, bool), np.zeros(envs.shape)
    observations, others = [], []
    while running.any():
        action, carry = program.act(state, carry, transition, "evaluate", (0, len(others)))
        returns += np.where(running, transition["reward"].astype(np.float64), 0.0)
        observations.append(transition["observation"])
        others.append((action, transition["first"], running))
        running = running & ~transition["last"]
        if running.any():
            envs.send(action)
            transition = envs.receive()
    names = observations[0]
    stacked = {name: np.stack([observation[name] for observation in observations], 1) for name in names}
    actions, first, valid = (np.stack(part, 1) for part in zip(*others, strict=True))
    return Trajectories(stacked, actions, first, valid, returns)


@partial(jax.jit, static_argnames="dtype")
def measure(
    world: WorldModel,
    observation: dict[str, Any],
    action: Float[Any, "time batch action"],
    first: Bool[Any, "time batch"],
    chosen: Int[Any, " states"],
    key: Key[Array, ""],
    dtype: Any,
) -> dict[str, dict[str, Array]]:
    """Sensitivity and Jacobians of one agent's tables at the steps `chosen` of a stream, counted time-major.

    The latents come from the networks in `dtype`, as the agent acts; what is measured at them is float32. For both
    tables: `sensitivity`, the mean of KL(r(u) || r(u + delta)) / ||delta|| over states, directions and magnitudes from
    0.1% to 10% of the mean norm of the perturbed input; `by_magnitude` and `sizes`, that mean and ||delta|| of each;
    `jacobian_norm`, the mean of ||J_i||_F over states and rows, J_i with respect to the whole input (deter and tokens
    for the posterior); `jacobian_energy`, that of ||J_i||_F^2: the penalty itself (equation 5).
    """
    latent_key, *keys = jax.random.split(key, 3)
    deter, tokens = latent_inputs(world, observation, action, first, latent_key, dtype)
    deter, tokens = deter[chosen], tokens[chosen]
    inputs = {
        "posterior": (world.rssm.posterior, jnp.concatenate([deter, tokens], -1), slice(deter.shape[-1], None)),
        "prior": (world.rssm.prior, deter, slice(None)),
    }
    found = {}
    for k, (name, (table, at, perturbed)) in zip(keys, inputs.items(), strict=True):
        moved = local.sensitivity(table, at, k, perturbed=perturbed, directions=DIRECTIONS)
        norms = local.jacobian_norms(table, at)
        found[name] = {
            "sensitivity": moved.value,
            "by_magnitude": moved.by_magnitude,
            "sizes": moved.sizes,
            "jacobian_norm": norms.mean(),
            "jacobian_energy": jnp.square(norms).mean(),
        }
    return found


def latent_inputs(
    world: WorldModel,
    observation: dict[str, Array],
    action: Float[Array, "time batch action"],
    first: Bool[Array, "time batch"],
    key: Key[Array, ""],
    dtype: Any,
) -> tuple[Float[Array, "steps deter"], Float[Array, "steps tokens"]]:
    """Deter and tokens, float32, along episodes: the encoder, and the recurrence with the actions that were taken."""
    latents, tokens = latents_along(cast_floating(world, dtype), observation, action, first, key)
    deter, tokens = (x.reshape(-1, x.shape[-1]).astype(jnp.float32) for x in (latents.deter, tokens))
    return deter, tokens


def latents_along(
    world: WorldModel,
    observation: dict[str, Array],
    action: Float[Array, "time batch action"],
    first: Bool[Array, "time batch"],
    key: Key[Array, ""],
) -> tuple[Latents, Float[Array, "time batch tokens"]]:
    """Posterior latents [time, batch, …] and encoder outputs along streams that begin with a first step."""
    rssm, batch = world.rssm, first.shape[1]
    tokens = over(world.encoder, 2)(observation)
    before = jnp.concatenate([jnp.zeros_like(action[:1]), action[:-1]])
    deter = jnp.zeros((batch, rssm.prior.first_kernel.shape[0]), tokens.dtype)
    stoch = jnp.zeros((batch, rssm.posterior.last_kernel.shape[1]), tokens.dtype)
    return rssm.observe(deter, stoch, before, tokens, first, key), tokens


def summary(records: Sequence[dict[str, Any]]) -> list[str]:
    """A table: per task, label and env steps, mean and standard deviation over seeds of every number."""
    rows = [["task", "method", "env steps", "seeds", *[f"{t} {n}" for n in ("KL/|d|", "|J|") for t in TABLES]]]
    keys = sorted({(r["task"], r["label"], r["env_steps"]) for r in records})
    for key in keys:
        seeds = [r for r in records if (r["task"], r["label"], r["env_steps"]) == key]
        cells = []
        for number in ("sensitivity", "jacobian_norm"):
            for table in TABLES:
                values = [r[table][number] for r in seeds]
                cells.append(f"{np.mean(values):.3g} ± {np.std(values):.2g}")
        rows.append([key[0], key[1], str(key[2]), str(len(seeds)), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
