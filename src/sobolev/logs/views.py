"""The registry of log sinks, which open views of a run's metrics. A new sink is a class that follows `View`, and a line
of `SINKS`.

A sink of another package is given as `--log.sinks my_package.my_module:SINK`, or by the name of an entry point in the
group `sobolev.sinks`.
"""

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sobolev.config.train import LogConfig
from sobolev.logs.rows import Row, View
from sobolev.logs.tensorboard import TensorBoard
from sobolev.logs.weights_and_biases import WeightsAndBiases, check_project, module
from sobolev.plugins import Registry
from sobolev.system.output import Guard


@dataclass(frozen=True)
class Origin:
    """The run that is logged, and the point from which it is logged."""

    run: Path
    seeds: tuple[int, ...]
    step: int | None
    """env step of the checkpoint from which the run resumes; None for a new run"""
    rows: int
    """number of rows that earlier processes have logged"""
    adds: bool = False
    """true for `sobolev evaluate`, which adds a row to a run that is not training: rows after `step` stay valid"""


@dataclass(frozen=True)
class Sink:
    """A place to log to, and how a view of it is opened."""

    called: Callable[[Path], str]
    """its name in messages, for a run's folder"""
    opened: Callable[[Origin, LogConfig], View]
    """opens a view; if it raises, that is reported once, and the run continues"""
    wanted: Callable[[LogConfig], bool] = lambda log: False
    """whether the settings ask for it; a sink without settings of its own is named in `--log.sinks`"""
    check: Callable[[LogConfig], None] = lambda log: None
    """raises UserError if it cannot be used with these settings or on this machine"""


def _tensorboard(origin: Origin, log: LogConfig) -> View:
    if origin.adds:
        return TensorBoard(origin.run / "tensorboard", None)
    view = TensorBoard(origin.run / "tensorboard", origin.step)
    for seed in origin.seeds:
        with suppress(OSError):  # reported when the first row cannot be written
            view.begin(seed)
    return view


def _weights_and_biases(origin: Origin, log: LogConfig) -> View:
    return WeightsAndBiases(origin.run, log.wandb or "sobolev", origin.rows, origin.adds)


def check_wandb(log: LogConfig) -> None:
    """Raises UserError if wandb is not installed, or if the project's name is invalid."""
    check_project(log.wandb or "sobolev")
    module()


SINKS: Registry[Sink] = Registry(
    "log sink",
    Sink,
    {
        "wandb": Sink(
            lambda run: "Weights & Biases", _weights_and_biases, lambda log: log.wandb is not None, check_wandb
        ),
        "tensorboard": Sink(lambda run: str(run / "tensorboard"), _tensorboard, lambda log: log.tensorboard),
    },
    "sobolev.sinks",
)


def names(log: LogConfig) -> list[str]:
    """Returns the names of the sinks in a run's settings, without duplicates."""
    ours = [name for name in SINKS.ours if SINKS.ours[name].wanted(log)]
    return list(dict.fromkeys([*ours, *log.sinks]))


def wanted(log: LogConfig) -> list[Sink]:
    """Returns the sinks in a run's settings. Raises UserError if one does not exist or cannot be used."""
    sinks = [SINKS.find(name) for name in names(log)]
    for sink in sinks:
        sink.check(log)
    return sinks


def views(origin: Origin, log: LogConfig) -> list[tuple[Guard, View]]:
    """Opens the views in a run's settings, each with the guard through which to call it. Raises like `wanted`."""
    found: list[tuple[Guard, View]] = []
    for name, sink in zip(names(log), wanted(log), strict=True):
        guard = Guard(name, Exception)
        try:
            guard = Guard(sink.called(origin.run), Exception)
            found.append((guard, sink.opened(origin, log)))
        except Exception as error:  # a full disk, no network, no login: metrics.jsonl has the same rows
            guard.tell(error)
    return found


def add(origin: Origin, log: LogConfig, row: Row) -> list[str]:
    """Adds a row to the views of a run that no process is training. Returns the names of the sinks that took it.

    A sink that cannot be used on this machine, or cannot be written, is reported on stderr and left out.
    """
    taken = [Guard(name, Exception)(_add, name, origin, log, row) for name in names(log)]
    return [called for called in taken if called is not None]


def _add(name: str, origin: Origin, log: LogConfig, row: Row) -> str:
    sink = SINKS.find(name)
    sink.check(log)
    with closing(sink.opened(origin, log)) as view:
        view.write(row)
    return sink.called(origin.run)
