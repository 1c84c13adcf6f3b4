"""Updates per second of dsdpg, mage, td3, mmd and iqn, and how dsdpg's time grows with samples and action dimensions.

    python benchmarks/critics.py --preset laptop --repeats 50

Sizes, batch and samples are those of the preset; the task's spaces are random numbers of that many dimensions. MAGE's
time holds its share of the trainings of the model: a whole period of updates is timed. With several seeds, which are in
one program, the updates of all of them are counted. With `--write` the lines are appended to benchmarks/results.jsonl.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from _timing import record

from sobolev.config import TrainConfig, configure
from sobolev.config.registry import agent_of
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.training.program import Program

METHODS = ("dsdpg", "mmd", "iqn", "mage", "td3")
HOPPER = (11, 3)
"""Entries of observation and action of gym:Hopper-v5."""
STORED = 2000


def seconds(config: TrainConfig, state: int, action: int, repeats: int) -> float:
    """Seconds of one update of all seeds, on average over so many, or over a period of MAGE's model if that is more."""
    spaces = Spaces((("observation", ArraySpec((state,), "float32")),), action)
    program = Program(agent_of(config, spaces), config.seeds)
    replay = program.initial_replay(1, STORED)
    fill = {"observation": replay.steps["observation"], "action": replay.steps["action"]}
    drawn = jax.tree.map(lambda x: jax.random.uniform(jax.random.key(0), x.shape, minval=-1.0, maxval=1.0), fill)
    replay = replace(replay, steps={**replay.steps, **drawn}, count=jnp.asarray(STORED, jnp.int32))
    first = {**jax.tree.map(lambda ring: ring[:, 0], replay.steps)}
    current = jax.vmap(program.agent.observe)(program.initial_state(), first)
    period = getattr(program.agent, "period", 1)
    number = max(repeats, period)
    number -= number % period
    for update in (0, 1):  # compiles; the first one trains MAGE's model too
        current, replay, report = program.learn(current, replay, update)
    jax.block_until_ready(report)
    begun = time.perf_counter()
    for update in range(2 * period, 2 * period + number):
        current, replay, report = program.learn(current, replay, update)
    jax.block_until_ready((current, report))
    return (time.perf_counter() - begun) / number


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--preset", default="laptop", choices=["paper", "laptop"])
    flags.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    flags.add_argument("--samples", nargs="*", type=int, default=[5, 10, 20, 40], help="of dsdpg's critics")
    flags.add_argument("--actions", nargs="*", type=int, default=[1, 3, 8, 17], help="dimensions, for dsdpg")
    flags.add_argument("--seeds", type=int, default=1, help="how many, in one program")
    flags.add_argument("--repeats", type=int, default=50)
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    cells: list[tuple[str, dict[str, Any], int]] = [(method, {}, HOPPER[1]) for method in chosen.methods]
    cells += [("dsdpg", {"critic.samples": samples}, HOPPER[1]) for samples in chosen.samples]
    cells += [("dsdpg", {}, action) for action in chosen.actions]
    for method, settings, action in cells:
        settings = settings | {"precision": "float32", "seeds": tuple(range(chosen.seeds))}
        config = configure("gym:Hopper-v5", method=method, preset=chosen.preset, settings=settings)
        taken = seconds(config, HOPPER[0], action, chosen.repeats) / chosen.seeds
        samples = getattr(config.agent.critic, "samples", None)
        told = (f", {samples} samples" if samples else "") + (f", {chosen.seeds} seeds" if chosen.seeds > 1 else "")
        print(
            f"{method}, {config.size}, batch {config.agent.batch_size}{told}, {HOPPER[0]} states, {action} actions: "
            f"{1 / taken:.1f} updates/s ({1000 * taken:.2f} ms)",
            flush=True,
        )
        if chosen.write:
            row = {"what": "update", "method": method, "size": config.size, "batch": config.agent.batch_size}
            record(row | {"samples": samples, "actions": action, "seeds": chosen.seeds, "seconds": taken})


if __name__ == "__main__":
    main()
