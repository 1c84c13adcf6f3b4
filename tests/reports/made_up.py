"""Run folders of made-up scores, in the files of real ones."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.config import configure, resolved, to_json
from sobolev.logs.sinks import field_name


def run(
    folder: Path,
    task: str = "walker-walk",
    method: str = "gpld",
    seeds: Sequence[int] = (0, 1, 2),
    *,
    end: int = 100_000,
    every: int = 5000,
    level: float = 800.0,
    evaluated: bool = True,
    seconds: float | None = None,
    **settings: Any,
) -> Path:
    """A run whose returns rise to about `level`; `seconds` of training go into a record, with two cores and a GPU."""
    folder.mkdir(parents=True)
    chosen = {name.replace("__", "."): value for name, value in settings.items()} | {
        "seeds": tuple(seeds),
        "steps": end,
    }
    (folder / "config.json").write_text(to_json(resolved(configure(task, method=method, settings=chosen), "cpu")))
    rng = np.random.default_rng([len(task), len(method), *folder.name.encode()])
    grid, episodes = np.arange(0, end + 1, every), np.arange(2000, end + 1, 2000)
    curves, training, finals = [], [], []
    for seed in seeds:
        top, speed = level * rng.normal(1, 0.05), end * rng.uniform(0.2, 0.3)
        head = {"task": field_name(task), "method": method, "seed": seed}
        values = [top * (1 - np.exp(-xs / speed)) + level * rng.normal(0, 0.03, len(xs)) for xs in (grid, episodes)]
        curves.append({**head, "xs": grid.tolist(), "ys": values[0].tolist()})
        training.append({**head, "xs": episodes.tolist(), "ys": values[1].tolist()})
        score = float(values[0][-1])
        finals.append({**head, "episodes": 20, "mean": score, "std": 0.0, "returns": [score] * 20, "env_steps": end})
    write(folder, "scores.json", curves)
    write(folder, "train_scores.json", training)
    if evaluated:
        write(folder, "evaluation.json", finals)
    if seconds is not None:
        write(folder, "record.json", {"processes": [record(seconds, end)]})
    return folder


def record(seconds: float, env_steps: int) -> dict[str, Any]:
    """An entry of a run's record."""
    machine = {"processor": "A Chip", "cores": 2, "memory_gib": 24.0, "devices": ["cpu"]}
    code = {"version": "0.1.0", "commit": "0123456789", "python": "3.11.7", "jax": "0.10.1", "machine": machine}
    times = {"started": "2026-11-20T08:00:00+00:00", "seconds": seconds, "env_steps": env_steps}
    return {"command": "sobolev train walker-walk", **code, **times}


def write(folder: Path, name: str, content: Any) -> None:
    """A JSON file in a folder."""
    (folder / name).write_text(json.dumps(content))


def sweep(folder: Path, tasks: Iterable[str], methods: Sequence[str] = ("dreamer", "gpld"), **settings: Any) -> Path:
    """A run of every task and method."""
    for number, task in enumerate(tasks):
        for method in methods:
            level = 300 + 37 * (number * 7 % 18) + 60 * (method == "gpld")
            run(folder / task.replace(":", "-") / method, task, method, level=float(level), **settings)
    return folder
