"""What a whole run costs beside its updates: acting, physics, replay, logging, checkpoints and evaluation.

    python benchmarks/whole_run.py --size 1m                # 40 iterations of training, an evaluation, a checkpoint
    python benchmarks/whole_run.py --size 12m --iterations 8

Runs `sobolev.train` as it is at the paper's protocol (16 environments, train ratio 512), with the clock around its
parts, and prints what each takes for every 5000 env steps, the distance of two evaluations, in which 1,250 updates are
made on average; a checkpoint counts as often as it falls due in that time (every 10 minutes). The parts of one
iteration are means over the iterations after the first one with updates, which is left out with its compilation. The
evaluation that counts is the one after the last iteration: the one before the first waits until it is compiled.
"""

import argparse
import contextlib
import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from _timing import record

from sobolev.agents.dreamer.config import SIZES
from sobolev.config import configure, resolved
from sobolev.envs import VectorEnv
from sobolev.system.jax_setup import use_large_buffers
from sobolev.training import loop, start
from sobolev.training.loop import Training
from sobolev.training.program import Program

PARTS: dict[str, tuple[type, str]] = {
    "updates": (Program, "learn"),
    "acting and replay": (Program, "step"),
    "sending actions": (VectorEnv, "send"),
    "waiting for physics": (VectorEnv, "receive"),
    "evaluation": (Training, "evaluate"),
    "checkpoints": (Training, "save"),
    "metrics": (Training, "write_metrics"),
    "rest of an iteration": (Training, "iterate"),
}
"""Methods by what they do; the time of one does not count those inside it."""

PERIOD = 5000
"""Env steps between two evaluations."""


class Clock:
    """Adds up the time of methods, each without those that it calls."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, float]] = []
        self.current: dict[str, float] = defaultdict(float)
        self.open: list[float] = []
        self.evaluating = False

    def around(self, part: str, method: Callable) -> Callable:
        """The method with the clock running; evaluation takes in all that happens inside it."""

        @functools.wraps(method)
        def timed(*arguments: Any, **named: Any) -> Any:
            if self.evaluating:
                return method(*arguments, **named)
            self.evaluating = part == "evaluation"
            self.open.append(0.0)
            start = time.perf_counter()
            result = method(*arguments, **named)
            if part == "updates":
                jax.block_until_ready(result)
            elapsed, inside = time.perf_counter() - start, self.open.pop()
            self.current[part] += elapsed - inside
            self.evaluating = False
            if self.open:
                self.open[-1] += elapsed
            if part == "rest of an iteration":
                self.seconds.append(self.current)
                self.current = defaultdict(float)
            return result

        return timed


def measure(size: str, iterations: int) -> tuple[dict[str, float], int]:
    """Seconds by part for every `PERIOD` env steps, and updates in that time."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as restored:
        config = configure("walker-walk", size=size, settings={"run": Path(folder) / "run"})
        steps = config.env.number * 2
        warmup = loop.Plan.of(resolved(config)).warmup
        end = (warmup + 1 + iterations) * steps
        settings = {"run": Path(folder) / "run", "steps": end, "evaluation.every": end}
        config = configure("walker-walk", size=size, settings=settings)
        for part, (owner, name) in PARTS.items():
            method = getattr(owner, name)
            setattr(owner, name, clock.around(part, method))
            restored.callback(setattr, owner, name, method)
        start.train(config)
    learning = [counted for counted in clock.seconds if counted["updates"]][1:]
    each = [name for name in PARTS if name not in ("evaluation", "checkpoints")]
    seconds = {name: sum(counted[name] for counted in learning) / len(learning) * PERIOD / steps for name in each}
    seconds["evaluation"] = clock.seconds[-1]["evaluation"]
    save = clock.current["checkpoints"]  # the one at the end, outside an iteration
    seconds["checkpoints"] = save * sum(seconds.values()) / (60 * config.checkpoint.minutes)
    return seconds, round(PERIOD / 2 * config.agent.train_ratio / (config.agent.batch_size * config.agent.batch_length))


def main() -> None:
    """Measure and print a table."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--size", default="1m", choices=list(SIZES))
    flags.add_argument("--iterations", type=int, default=40, help="with updates, beyond the first one")
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    seconds, updates = measure(chosen.size, chosen.iterations)
    whole = sum(seconds.values())
    print(f"{chosen.size}, for every {PERIOD} env steps ({updates} updates):")
    for name, taken in seconds.items():
        print(f"  {name:<22}{taken:>9.2f} s{taken / whole:>9.2%}")
    beside = 1 - seconds["updates"] / whole
    without = 1 - seconds["updates"] / (whole - seconds["evaluation"])
    print(f"all but the updates: {beside:.2%} of the run, {without:.2%} without evaluation")
    if chosen.write:
        row = {"what": "share of a run that is not updates", "size": chosen.size, "iterations": chosen.iterations}
        record(row | {"ratio": beside, "without_evaluation": without, "seconds": seconds})


if __name__ == "__main__":
    sys.exit(main())
