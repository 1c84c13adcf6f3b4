"""Predicts the time and disk space of the runs of a sweep, from earlier runs on this machine or else by measuring.

A measurement steps the environments until training would begin, then times a few updates, and where some take longer
than the others (`LongUpdates`) one of those. Compiling, logging,
checkpoints and other programs on the machine are left out, so real runs take somewhat longer.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sobolev.agents.api import LongUpdates
from sobolev.checkpoints.run_folder import identity, read_config
from sobolev.config import TrainConfig
from sobolev.config.codec import encode
from sobolev.config.registry import agent_of, method_of
from sobolev.envs import Workers, worker_count
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.logs import provenance
from sobolev.sweeps.run_status import saved_steps
from sobolev.training import requirements, snapshot
from sobolev.training.environments import TRAINING, environments, spaces
from sobolev.training.program import Program
from sobolev.training.schedule import Plan

UPDATES, SECONDS = 3, 2.0
"""The smallest numbers of updates and of seconds that a measurement takes, after an update that compiles: the time of a
single update of a few milliseconds is not accurate."""
EPISODE = 1000
"""Env steps of an evaluation episode on DeepMind Control; those of other tasks may be shorter."""


EARLIER_RUNS, MEASURED = "earlier runs", "measured now"


class Cost(NamedTuple):
    """Seconds for all seeds of a run together: an iteration without updates, an update, an env step of evaluation."""

    iteration: float
    update: float
    evaluation: float

    def seconds(self, config: TrainConfig) -> float:
        """Returns the seconds of a whole run with a resolved config."""
        plan = Plan.of(config)
        evaluations = 0 if not plan.evaluate_every else 1 + plan.env_steps(plan.total) // plan.evaluate_every
        steps = evaluations * EPISODE / plan.repeat
        return plan.total * self.iteration + plan.updates_due(plan.total) * self.update + steps * self.evaluation


def kind(config: TrainConfig) -> str:
    """Returns a key for runs of nearly equal speed: all settings without the task, the seeds (their number counts) and
    the penalty."""
    other = ("task", "seeds", "method", "size", "agent", "warm_start", "warm_start_parts", "replay")
    tree = {name: value for name, value in identity(config).items() if name not in other}
    agent = {name: value for name, value in encode(config.agent).items() if name not in ("penalty", "precision")}
    maker = method_of(config).make
    shared = len(config.seeds), config.devices.data
    return json.dumps([maker.__module__, maker.__qualname__, agent, tree, *shared], sort_keys=True)


def recorded_speeds(runs: Iterable[Path], machine: dict[str, Any]) -> dict[str, list[float]]:
    """Returns the env steps per second and seed of runs that were trained on such a machine, by `kind`, with everything
    included.

    Leaves out runs with less than a tenth of their steps, and folders that cannot be read."""
    speeds: dict[str, list[float]] = {}
    for run in runs:
        try:
            config, entries = read_config(run), provenance.read_record(run)
        except UserError:
            continue
        seconds = sum(entry["seconds"] for entry in entries)
        steps = saved_steps(run)
        if seconds > 0 and steps >= config.steps / 10 and all(entry["machine"] == machine for entry in entries):
            speeds.setdefault(kind(config), []).append(steps / seconds)
    return speeds


def measure(config: TrainConfig) -> Cost:
    """Measures the cost of a resolved config on this machine, with a run up to its first few updates."""
    plan = Plan.of(config)
    with Workers(worker_count(config.env, len(config.seeds) * config.env.number)) as workers:
        envs = environments(workers, config, config.env.number, TRAINING)
        agent = agent_of(config, envs.spaces)
        program = Program(agent, config.seeds)
        state, carry = program.initial_state(), program.initial_carry(config.env.number)
        replay = program.initial_replay(config.env.number, plan.warmup + 1, config.replay.memory)
        transition = envs.reset(0)
        began = 0.0
        for iteration in range(plan.warmup + 1):
            if iteration == 1:  # not the first, which compiled the program
                began = time.perf_counter()
            action, state, carry, replay = program.step(state, carry, replay, transition, iteration)
            envs.send(action)
            transition = envs.receive()
        per_iteration = (time.perf_counter() - began) / plan.warmup
        is_long = agent.is_long if isinstance(agent, LongUpdates) else lambda number: False
        due = plan.updates_due(plan.total)
        longs = sum(map(is_long, range(due)))
        usual = (number for number in itertools.count(1) if not is_long(number))

        def update(number: int) -> float:
            """Makes an update, and returns the seconds it took."""
            nonlocal state, replay
            began = time.perf_counter()
            state, replay, report = program.learn(state, replay, number)
            jax.block_until_ready(report.finite)
            return time.perf_counter() - began

        update(0)  # compiles
        seconds: list[float] = []
        while len(seconds) < UPDATES or sum(seconds) < SECONDS:
            seconds.append(update(next(usual)))
        per_update = sum(seconds) / len(seconds)
        if longs:
            per_update += (update(0) - per_update) * longs / due
        # a step without updates is mostly acting, so a step of evaluation is assumed to cost the same
        return Cost(per_iteration, per_update, per_iteration)


def disk(config: TrainConfig, shapes: Spaces) -> int:
    """Returns the bytes of a run's checkpoints at their largest, and of the snapshots of its networks."""
    plan, program = Plan.of(config), Program(agent_of(config, shapes), config.seeds)
    every = config.checkpoint.snapshots
    copies = (
        config.steps // every * requirements.size(snapshot.kept(program.agent, program.state_shapes())) if every else 0
    )
    return requirements.Needs.of(program, plan).disk + copies


class Estimate(NamedTuple):
    """The predicted time and disk space of a run."""

    seconds: float
    disk: int
    source: str
    """source of the seconds: `EARLIER_RUNS` or `MEASURED`"""


def estimates(
    configs: Sequence[TrainConfig], runs: Iterable[Path], say: Callable[[str], None] = lambda line: None
) -> list[Estimate]:
    """Returns an estimate for each resolved config. `runs` are folders that may hold earlier runs.

    `say` gets a line before each measurement. Raises UserError if an environment cannot be created.
    """
    speeds, costs, known_spaces = recorded_speeds(runs, provenance.machine()), dict[str, Cost](), dict[str, Spaces]()
    guesses = []
    for config in configs:
        known = speeds.get(kind(config))
        if known:
            seconds, source = config.steps * len(known) / sum(known), EARLIER_RUNS
        else:
            if kind(config) not in costs:
                seeds = f"{len(config.seeds)} seed{'s' if len(config.seeds) > 1 else ''}"
                say(f"measuring a few updates of {method_of(config).name} {config.size} with {seeds}")
                costs[kind(config)] = measure(config)
            seconds, source = costs[kind(config)].seconds(config), MEASURED
        shapes = json.dumps([config.task, config.observations, encode(config.env)])
        if shapes not in known_spaces:
            known_spaces[shapes] = spaces(config)
        guesses.append(Estimate(seconds, disk(config, known_spaces[shapes]), source))
    return guesses
