"""Agent steps per second of environments that draw an image at every step, and of the same ones that do not.

    python benchmarks/rendering.py --tasks walker-run quadruped-run --workers 1 2

All environments of a line are stepped together, as in training, with random actions at action repeat 2 and nothing
else on the machine. A line also tells what the image itself takes: the difference per step, over the workers. A line
takes a quarter of a minute, most of it starting.
"""

import argparse
import time

import numpy as np
from _timing import record

from sobolev.envs import VectorEnv, View, Workers
from sobolev.envs.rendering.backend import choose_backend


def rate(workers: Workers, task: str, environments: int, view: View, seconds: float) -> float:
    """Agent steps per second over all environments, after some to warm up."""
    envs = VectorEnv(workers, task, 2, [0], environments, 0, view=view)
    envs.reset(0)
    rng, steps = np.random.default_rng(0), 0
    shape = (1, environments, envs.spaces.action)
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or steps < 10:
        envs.send(rng.uniform(-1, 1, shape).astype(np.float32))
        envs.receive()
        steps += 1
        if steps == 5:
            start = time.perf_counter()
    envs.close()
    return (steps - 5) * environments / elapsed


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--tasks", nargs="+", default=["cartpole-swingup", "walker-run", "quadruped-run"])
    flags.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    flags.add_argument("--environments", type=int, default=16)
    flags.add_argument("--size", type=int, default=64)
    flags.add_argument("--seconds", type=float, default=5.0, help="time of each measurement")
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    backend = choose_backend()  # for the workers, too
    for task in chosen.tasks:
        for count in chosen.workers:
            with Workers(count) as workers:
                views = View("proprio"), View("pixels", chosen.size)
                plain, drawn = (rate(workers, task, chosen.environments, view, chosen.seconds) for view in views)
            image = max(count, 1) * (1 / drawn - 1 / plain)
            row = {
                "what": "agent steps per second, drawn and not",
                "task": task,
                "backend": backend,
                "workers": count,
                "environments": chosen.environments,
                "image_size": chosen.size,
                "steps_per_second": [drawn, plain],
                "seconds_per_image": image,
            }
            print(
                f"{task}, {backend}, {count} worker(s), {chosen.environments} environments: {drawn:.0f} steps/s with "
                f"images of {chosen.size}×{chosen.size}, {plain:.0f} without; {1e3 * image:.2f} ms an image",
                flush=True,
            )
            if chosen.write:
                record(row)


if __name__ == "__main__":
    main()
