"""Starting a run from Python or the command line: checks, the lock of the run folder, training."""

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
    """Trains a run, resuming it if it exists, and returns its folder.

    `train("walker-walk", preset="laptop", settings={"seeds": (0, 1), "penalty.rho": 0.25})` is equivalent to
    `sobolev train walker-walk --preset laptop --seeds 0 1 --penalty.rho 0.25`. In place of a task, a complete
    TrainConfig may be given. Returns when the run is complete, or was interrupted and saved. Raises UserError for
    invalid settings, and if the run cannot start or continue.
    """
    if isinstance(task, TrainConfig):
        return start(task)[0]
    return start(configure(task, method=method, size=size, preset=preset, settings=settings))[0]


def start(config: TrainConfig) -> tuple[Path, int]:
    """Trains the run of a config; returns its folder and the exit status of the loop."""
    from sobolev.distributed import processes

    config = checked(config)
    processes.join(config.devices)  # before anything asks jax for its devices
    jax_setup.configure(config.compilation_cache)
    config = filled(config)
    views.wanted(config.log)  # raises before anything that takes long
    from sobolev.training import loop

    with ExitStack() as stack:
        run = processes.in_turn(lambda: _held(config, stack))
        status = loop.train(dataclasses.replace(config, run=run), run)
    return run, int(status or 0)


def _held(config: TrainConfig, stack: ExitStack) -> Path:
    """The run's folder, locked by the first of several processes until the stack ends; the others print nothing."""
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
