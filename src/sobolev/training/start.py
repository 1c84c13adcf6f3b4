"""Starting a run from Python or the command line: check everything, hold the run folder, train."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sobolev.training import jaxconfig
from sobolev.training.config import TrainConfig, configure, resolved
from sobolev.training.record import recorded
from sobolev.training.run import opened


def train(
    task: str | TrainConfig,
    *,
    method: str = "gpld",
    size: str | None = None,
    preset: str = "paper",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Train, or go on with, the run that a config stands for, and return its folder.

    `train("walker-walk", preset="laptop", settings={"seeds": (0, 1), "penalty.rho": 0.25})` does what
    `sobolev train walker-walk --preset laptop --seeds 0 1 --penalty.rho 0.25` does. A whole TrainConfig may be given
    instead of a task. Returns when the run is complete, or was interrupted and saved. Raises UserError.
    """
    if isinstance(task, TrainConfig):
        return start(task)[0]
    return start(configure(task, method=method, size=size, preset=preset, settings=settings))[0]


def start(config: TrainConfig) -> tuple[Path, int]:
    """Train the run of a config; returns its folder and the exit status, 0 unless the loop says another."""
    jaxconfig.configure(config.compilation_cache)
    config = resolved(config)
    from sobolev.training import loop

    with opened(config) as run, recorded(config, run):
        status = loop.train(dataclasses.replace(config, run=run), run)
    return run, int(status or 0)
