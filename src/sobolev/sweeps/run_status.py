"""Reads the progress of a run from the files in its folder."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.checkpoints.slots import Checkpoints
from sobolev.system.json_lines import last_lines


class RunStatus(NamedTuple):
    """The progress of a run, according to its files."""

    env_steps: int = 0
    """env steps of the newest line of metrics"""
    speed: float | None = None
    """env steps per second and seed over the newest lines; None if there are too few"""
    score: float | None = None
    """mean over seeds of the evaluation after training, or else of the last one during training"""
    when: float | None = None
    """time of the newest line, in seconds since 1970"""


def run_status(run: Path, since: float = 0.0) -> RunStatus:
    """Returns the progress of a run, with its speed over lines written after `since`. All fields are 0 or None before
    the first line."""
    lines = [line for line in last_lines(run / "metrics.jsonl") if "step" in line and "time" in line]
    if not lines:
        return RunStatus(score=_score(run))
    fresh = [line for line in lines if line["time"] >= since and "updates" in line]
    speed = None
    if len(fresh) > 1 and fresh[-1]["time"] > fresh[0]["time"] and fresh[-1]["step"] > fresh[0]["step"]:
        speed = (fresh[-1]["step"] - fresh[0]["step"]) / (fresh[-1]["time"] - fresh[0]["time"])
    return RunStatus(lines[-1]["step"], speed, _score(run), lines[-1]["time"])


def saved_steps(run: Path) -> int:
    """Returns the env steps of the run's newest checkpoint; 0 if there is none."""
    checkpoint = Checkpoints(run / "checkpoint").newest()
    return 0 if checkpoint is None else int(checkpoint["env_steps"])


def evaluated(run: Path, episodes: int) -> bool:
    """Returns whether evaluation.json belongs to the newest checkpoint and has at least so many episodes."""
    results = _json(run / "evaluation.json")
    if not isinstance(results, list) or not results:
        return False
    return all(r.get("env_steps") == saved_steps(run) and r.get("episodes", 0) >= episodes for r in results)


def _score(run: Path) -> float | None:
    final = _json(run / "evaluation.json")
    if isinstance(final, list) and final and all(r.get("env_steps") == saved_steps(run) for r in final):
        return _mean([r["mean"] for r in final])
    curves = _json(run / "scores.json")
    return _mean([curve["ys"][-1] for curve in curves if curve["ys"]] if isinstance(curves, list) else [])


def _mean(values: list[float | None]) -> float | None:
    """Returns the mean; None if there are no values, or if one is None, as a number that was not finite."""
    return None if not values or None in values else float(np.mean(np.array(values, float)))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
