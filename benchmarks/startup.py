"""From `sobolev train` to the first update: seconds with an empty compilation cache, then with a warm one.

    python benchmarks/startup.py --size 12m

Every start is a process of its own, of the paper's protocol but for the train ratio (one update per vectorised step,
so that the first one can be told from its followers), ended when it has logged its first update. Its time covers the
imports, the environments, the first evaluation, the compiler, the steps that are collected before training, and the
update itself.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import record

from sobolev.dreamer.config import SIZES


def first_update(arguments: list[str], cache: Path) -> tuple[float, float]:
    """Seconds until a run has made its first update, and until it has printed its first evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "sobolev", "train", *arguments, "--run", str(run)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        start, evaluated = time.perf_counter(), float("nan")
        child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
        try:
            while child.poll() is None:
                lines = read(run / "metrics.jsonl")
                if any("evaluation/return" in line for line in lines) and evaluated != evaluated:
                    evaluated = time.perf_counter() - start
                if any("loss" in line for line in lines):
                    return time.perf_counter() - start, evaluated
                time.sleep(0.05)
            raise SystemExit(f"the run ended with status {child.returncode} before its first update")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def read(path: Path) -> list[dict[str, float]]:
    """The whole lines of a file of JSON lines, none where there is no file yet."""
    text = path.read_text() if path.exists() else ""
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
        times = {"cold": [first_update(arguments, cache) for cache in caches]}
        times["warm"] = [first_update(arguments, caches[0]) for _ in range(chosen.repeats)]
        size = sum(file.stat().st_size for file in caches[0].rglob("*") if file.is_file())
    for what, found in times.items():
        whole, evaluated = (statistics.median(column) for column in zip(*found, strict=True))
        every = ", ".join(f"{seconds:.1f}" for seconds, _ in found)
        print(
            f"{chosen.size}, {what} compilation cache: first update after {whole:.1f} s (of {every}), first evaluation "
            f"after {evaluated:.1f} s; the cache holds {size / 1e6:.0f} MB",
            flush=True,
        )
        if chosen.write:
            row = {"what": f"first update, {what} cache", "size": chosen.size, "task": chosen.task}
            record(row | {"seconds": whole, "evaluation_seconds": evaluated, "starts": len(found)})


if __name__ == "__main__":
    main()
