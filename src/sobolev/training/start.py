"""Starting a run from Python or the command line: check everything, hold the run folder, train."""

import dataclasses
import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from sobolev.checkpoints.run_folder import folder, opened
from sobolev.config import TrainConfig, checked, configure, filled
from sobolev.logs import views
from sobolev.logs.provenance import recorded
from sobolev.system import jax_setup


def train(
    task: str | TrainConfig,
    *,
    method: str = "gpld",
    size: str | None = None,
    preset: str | None = None,
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
    from sobolev.distributed import processes

    config = checked(config)
    processes.join(config.devices)  # before anything asks jax for its devices
    jax_setup.configure(config.compilation_cache)
    config = filled(config)
    views.wanted(config.log)  # what cannot be used is said before anything that takes long
    from sobolev.training import loop

    with ExitStack() as stack:
        run = processes.in_turn(lambda: _held(config, stack))
        status = loop.train(dataclasses.replace(config, run=run), run)
    return run, int(status or 0)


def _held(config: TrainConfig, stack: ExitStack) -> Path:
    """The run's folder, which the first of several processes holds until the stack ends; the others are silent."""
    from sobolev.distributed import processes

    if processes.leads():
        run = stack.enter_context(opened(config))
        stack.enter_context(recorded(config, run))
        return run
    stack.enter_context(_silence())
    return folder(config)


@contextmanager
def _silence() -> Generator[None, None, None]:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
