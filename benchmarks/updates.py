"""Time of one update of the Dreamer agent, as a ratio to a matrix product measured in the same run.

    python benchmarks/updates.py --sizes 1m 12m --seeds 1

Every line alternates the update with the calibration product (1024³ in float32), so that a slow moment of the
machine hits both. `--penalty` instead alternates the update with the penalty and the one without it, and prints the
paired ratio with its interval. Results are appended to benchmarks/results.jsonl by date and commit with `--write`.
"""

import argparse
import json
import statistics
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sobolev.dreamer.agent import Dreamer
from sobolev.dreamer.config import SIZES, BehaviorConfig, DreamerConfig, without_penalty
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.training.program import Program

SHAPES = {"height": (), "orientations": (14,), "velocity": (9,)}
WALKER = Spaces(tuple((name, ArraySpec(shape, "float32")) for name, shape in SHAPES.items()), 6)


class Update:
    """A compiled update on random replay; calling it makes one and waits for it."""

    def __init__(self, config: DreamerConfig, seeds: int):
        program = Program(Dreamer(config, WALKER), range(seeds))
        replay = program.initial_replay(16, 4 * config.batch_length)
        key = jax.random.key(0)
        observation = jax.tree.map(lambda x: jax.random.normal(key, x.shape), replay.steps["observation"])
        count = jnp.asarray(replay.steps["first"].shape[2], jnp.int32)
        self.replay = replace(replay, steps={**replay.steps, "observation": observation}, count=count)
        self.state, self.program, self.number = program.initial_state(), program, 0

    def __call__(self) -> None:
        self.state, self.replay, report = self.program.learn(self.state, self.replay, self.number)
        jax.block_until_ready((self.state, report))
        self.number += 1


def calibration() -> None:
    """A 1024³ product in float32."""
    jax.block_until_ready(_product(_ONES, _ONES))


_product, _ONES = jax.jit(jnp.matmul), jnp.ones((1024, 1024))


def alternate(first, second, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of both, called in turn, after one call each to warm up."""
    times = ([], [])
    first()
    second()
    for _ in range(repeats):
        for taken, function in zip(times, (first, second), strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return times


def interval(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (draws, len(ratios))), axis=1)
    return float(np.quantile(medians, 0.025)), float(np.quantile(medians, 0.975))


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["1m"], choices=list(SIZES))
    flags.add_argument("--seeds", type=int, default=1)
    flags.add_argument("--batch", type=int, nargs=2, default=(16, 64), metavar=("SIZE", "LENGTH"))
    flags.add_argument("--horizon", type=int, default=25)
    flags.add_argument("--repeats", type=int, default=7)
    flags.add_argument("--penalty", action="store_true", help="the update with the penalty against the one without")
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    for size in chosen.sizes:
        config = DreamerConfig(
            batch_size=chosen.batch[0],
            batch_length=chosen.batch[1],
            precision="float32",
            model=SIZES[size],
            behavior=BehaviorConfig(horizon=chosen.horizon),
        )
        update = Update(config, chosen.seeds)
        other = Update(without_penalty(config), chosen.seeds) if chosen.penalty else calibration
        ours, theirs = alternate(update, other, chosen.repeats)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        row = {
            "what": "with penalty / without" if chosen.penalty else "update / 1024^3 product",
            "size": size,
            "seeds": chosen.seeds,
            "batch": list(chosen.batch),
            "horizon": chosen.horizon,
            "seconds": statistics.median(ours),
            "ratio": statistics.median(ratios),
            "interval": [low, high],
        }
        print(
            f"{size}, {chosen.seeds} seed(s), {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}: "
            f"{row['seconds']:.3f} s per update; {row['what']} {row['ratio']:.3f} [{low:.3f}, {high:.3f}]",
            flush=True,
        )
        if chosen.write:
            head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
            commit, date = head.stdout.strip(), datetime.now(UTC).isoformat(timespec="seconds")
            row |= {"date": date, "commit": commit, "jax": jax.__version__}
            with Path(__file__).with_name("results.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
