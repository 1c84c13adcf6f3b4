"""How far a run is, from what it has written; nothing here touches it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sobolev.checkpoints.slots import Checkpoints

TAIL = 65536
"""Bytes at the end of metrics.jsonl from which the speed is read."""


class Seen(NamedTuple):
    """A run from outside."""

    env_steps: int = 0
    """of the newest line of metrics"""
    speed: float | None = None
    """env steps per second and seed over the newest lines; None where too few are there"""
    score: float | None = None
    """mean over seeds of the newest evaluation: the one after training, else the last of those on the way"""
    when: float | None = None
    """when the newest line was written, in seconds since 1970"""


def seen(run: Path, since: float = 0.0) -> Seen:
    """What a run's files tell; speed from lines written after `since`. A run that has written nothing gives zeros."""
    lines = [line for line in _tail(run / "metrics.jsonl") if "step" in line and "time" in line]
    if not lines:
        return Seen(score=_score(run))
    fresh = [line for line in lines if line["time"] >= since and "updates" in line]
    speed = None
    if len(fresh) > 1 and fresh[-1]["time"] > fresh[0]["time"] and fresh[-1]["step"] > fresh[0]["step"]:
        speed = (fresh[-1]["step"] - fresh[0]["step"]) / (fresh[-1]["time"] - fresh[0]["time"])
    return Seen(lines[-1]["step"], speed, _score(run), lines[-1]["time"])


def saved_steps(run: Path) -> int:
    """Env steps of the run's newest checkpoint; 0 where there is none."""
    told = Checkpoints(run / "checkpoint").newest()
    return 0 if told is None else int(told["env_steps"])


def evaluated(run: Path, episodes: int) -> bool:
    """Whether evaluation.json is of the newest checkpoint, over at least so many episodes."""
    found = _json(run / "evaluation.json")
    if not isinstance(found, list) or not found:
        return False
    return all(r.get("env_steps") == saved_steps(run) and r.get("episodes", 0) >= episodes for r in found)


def _score(run: Path) -> float | None:
    final = _json(run / "evaluation.json")
    if isinstance(final, list) and final and all(r.get("env_steps") == saved_steps(run) for r in final):
        return _mean([r["mean"] for r in final])
    curves = _json(run / "scores.json")
    return _mean([curve["ys"][-1] for curve in curves if curve["ys"]] if isinstance(curves, list) else [])


def _mean(values: list[float | None]) -> float | None:
    """The mean; None where there is nothing, or null, which stands for a number that was not finite."""
    return None if not values or None in values else float(np.mean(np.array(values, float)))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _tail(path: Path) -> list[dict[str, Any]]:
    """The whole lines at the end of a file of JSON lines."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - TAIL)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return []
    whole = lines[1 if start else 0 : -1]  # the first may be cut, and what follows the last newline is half a line
    return [json.loads(line) for line in whole if line]
