"""What the benchmarks share: an update on random replay, runs in turn, paired ratios, and the file of results."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.config import SIZES, BehaviorConfig, DreamerConfig
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.system.jax_setup import compute_in_this_thread
from sobolev.training.program import Program, Stored

compute_in_this_thread()  # as a run does, and before anything here asks JAX for its devices

SHAPES = {"height": (), "orientations": (14,), "velocity": (9,)}
WALKER = Spaces(tuple((name, ArraySpec(shape, "float32")) for name, shape in SHAPES.items()), 6)


def random_replay(program: Program, length: int, memory: str = "device") -> Stored:
    """A full replay of 16 environments and `length` steps each, whose observations are random."""
    replay, key, host = program.initial_replay(16, length, memory), jax.random.key(0), memory == "host"

    def random(ring: Any) -> Any:
        image = ring.dtype == jnp.uint8
        values = jax.random.bits(key, ring.shape, jnp.uint8) if image else jax.random.normal(key, ring.shape)
        return np.array(values) if host else values

    observation = jax.tree.map(random, replay.steps["observation"])
    count: Any = np.asarray(length, np.int32) if host else jnp.asarray(length, jnp.int32)
    return replace(replay, steps={**replay.steps, "observation": observation}, count=count)


class Update:
    """A compiled update on random replay; calling it makes one and waits for it."""

    def __init__(self, config: DreamerConfig, seeds: int = 1, spaces: Spaces = WALKER, memory: str = "device"):
        self.program, self.number = Program(Dreamer(config, spaces), range(seeds)), 0
        self.state = self.program.initial_state()
        self.replay = random_replay(self.program, 4 * config.batch_length, memory)

    def __call__(self) -> None:
        self.state, self.replay, report = self.program.learn(self.state, self.replay, self.number)
        jax.block_until_ready((self.state, report))
        self.number += 1


def alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, called in turn, after one call each to warm up; what returns a float returns its own seconds."""
    times = ([], [])
    first()
    second()
    for _ in range(repeats):
        for taken, function in zip(times, (first, second), strict=True):
            start = time.perf_counter()
            own = function()
            taken.append(own if isinstance(own, float) else time.perf_counter() - start)
    return times


def interval(ratios: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (draws, len(ratios))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))


def add_flags(flags: argparse.ArgumentParser, repeats: int | None) -> None:
    """The flags that every benchmark of updates has."""
    flags.add_argument("--batch", type=int, nargs=2, default=(16, 64), metavar=("SIZE", "LENGTH"))
    flags.add_argument("--horizon", type=int, default=25)
    flags.add_argument("--repeats", type=int, default=repeats, help="pairs of calls")
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")


def config_of(size: str, chosen: argparse.Namespace) -> DreamerConfig:
    """The agent that the flags name, at that size, in float32."""
    return DreamerConfig(
        batch_size=chosen.batch[0],
        batch_length=chosen.batch[1],
        precision="float32",
        model=SIZES[size],
        behavior=BehaviorConfig(horizon=chosen.horizon),
    )


RESULTS = Path(__file__).with_name("results.jsonl")

SAME = ("what", "size", "seeds", "batch", "horizon", "penalty", "image_size", "cores")
"""What two results have in common that can be compared."""


def before(row: dict[str, Any]) -> str:
    """How a ratio compares with the last recorded one of the same kind, in words; empty where there is none."""
    row = {"cores": os.cpu_count()} | row
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    earlier = [old for line in lines if all((old := json.loads(line)).get(name) == row.get(name) for name in SAME)]
    if not earlier:
        return ""
    last = earlier[-1]
    return f"; {row['ratio'] / last['ratio']:.2f} times that of {last['date'][:10]} ({last['commit']})"


def record(row: dict[str, Any]) -> None:
    """Append a result to benchmarks/results.jsonl, with date, commit, cores and jax's version."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    commit, date = head.stdout.strip(), datetime.now(UTC).isoformat(timespec="seconds")
    row = row | {"date": date, "commit": commit, "jax": jax.__version__, "cores": os.cpu_count()}
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
