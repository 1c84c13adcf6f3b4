"""From `sobolev train` to the first update: seconds with an empty compilation cache, then with a warm one.

    python benchmarks/startup.py --size 12m

Every start is a process of its own, of the paper's protocol but for the train ratio (one update per vectorised step,
so that the first one can be told from its followers), ended when it has logged its first update. Told apart are the
first evaluation; the moment at which the update is compiled and begins, when the run says what memory it takes, after
the imports, the environments, the evaluation and the steps that are collected before training; and the moment at which
its metrics are written.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _timing import record

from sobolev.agents.dreamer.config import SIZES

MOMENTS = ("first evaluation", "first update begins", "first update is logged")


def moments(arguments: list[str], cache: Path) -> list[float]:
    """Seconds until each of `MOMENTS` of a run."""
    with tempfile.TemporaryDirectory() as folder:
        run, said = Path(folder) / "run", Path(folder) / "said"
        command = [sys.executable, "-m", "sobolev", "train", *arguments, "--run", str(run)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # a user's own, which is not empty
        start, found = time.perf_counter(), dict.fromkeys(MOMENTS, float("nan"))
        with said.open("w") as output:
            child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=output)
        try:
            while child.poll() is None:
                lines = read(run / "metrics.jsonl")
                true = (
                    any("evaluation/return" in line for line in lines),
                    "\nmemory " in said.read_text(),
                    any("loss" in line for line in lines),
                )
                for name, holds in zip(MOMENTS, true, strict=True):
                    if holds and math.isnan(found[name]):
                        found[name] = time.perf_counter() - start
                if true[-1]:
                    return list(found.values())
                time.sleep(0.05)
            raise SystemExit(f"the run ended with status {child.returncode} before its first update")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def read(path: Path) -> list[dict[str, float]]:
    """The whole lines of a file of JSON lines, none where there is no file yet."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def main() -> None:
    """Start runs and print how long it took."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--task", default="walker-walk")
    flags.add_argument("--size", default="12m", choices=list(SIZES))
    flags.add_argument("--repeats", type=int, default=3, help="starts with a warm cache; half as many with a cold one")
    flags.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags of sobolev train")
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    arguments = [chosen.task, "--size", chosen.size, "--train-ratio", "64", "--log.every", "32", *chosen.flags]
    with tempfile.TemporaryDirectory() as folder:
        caches = [Path(folder) / str(number) for number in range(max(1, chosen.repeats // 2))]
        times = {"cold": [moments(arguments, cache) for cache in caches]}
        times["warm"] = [moments(arguments, caches[0]) for _ in range(chosen.repeats)]
        size = sum(file.stat().st_size for file in caches[0].rglob("*") if file.is_file())
    for what, found in times.items():
        columns = dict(zip(MOMENTS, zip(*found, strict=True), strict=True))
        told = [f"{name} {describe(column)}" for name, column in columns.items()]
        print(f"{chosen.size}, {what} compilation cache: {', '.join(told)}; it holds {size / 1e6:.0f} MB", flush=True)
        if chosen.write:
            row = {"what": f"first update, {what} cache", "size": chosen.size, "task": chosen.task}
            seconds = {name: round(statistics.median(column), 2) for name, column in columns.items()}
            record(row | {"seconds": seconds, "starts": len(found)})


def describe(seconds: Sequence[float]) -> str:
    """Median and range."""
    return f"after {statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"


if __name__ == "__main__":
    main()
