"""The views of a run's metrics, by name: another one is a class that follows `View`, and a line of `SINKS`.

From a package of one's own it is `--log.sinks my_package.my_module:SINK`, or an entry point `sobolev.sinks`.
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
    """The run that is logged, and where its log starts or resumes."""

    run: Path
    seeds: tuple[int, ...]
    step: int | None
    """env step of the checkpoint that the run resumes from; None for a new run"""
    rows: int
    """rows that earlier processes have logged"""
    adds: bool = False
    """whether a row is only added, by `sobolev evaluate`: nothing that was logged after `step` comes again"""


@dataclass(frozen=True)
class Sink:
    """A kind of view, and how one is opened."""

    called: Callable[[Path], str]
    """what messages call it, for a run's folder"""
    opened: Callable[[Origin, LogConfig], View]
    """what this raises is reported once, and ends nothing"""
    wanted: Callable[[LogConfig], bool] = lambda log: False
    """whether settings of its own ask for it; else its name in `--log.sinks` does"""
    check: Callable[[LogConfig], None] = lambda log: None
    """raises UserError where it cannot be used with these settings, or on this machine"""


def _tensorboard(origin: Origin, log: LogConfig) -> View:
    if origin.adds:
        return TensorBoard(origin.run / "tensorboard", None)
    view = TensorBoard(origin.run / "tensorboard", origin.step)
    for seed in origin.seeds:
        with suppress(OSError):  # told when the first row cannot be written
            view.begin(seed)
    return view


def _weights_and_biases(origin: Origin, log: LogConfig) -> View:
    return WeightsAndBiases(origin.run, log.wandb or "sobolev", origin.rows, origin.adds)


def check_wandb(log: LogConfig) -> None:
    """Raises UserError where wandb is not installed, or refuses the project's name."""
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
    """The names of the sinks that a run's settings ask for, each once."""
    ours = [name for name in SINKS.ours if SINKS.ours[name].wanted(log)]
    return list(dict.fromkeys([*ours, *log.sinks]))


def wanted(log: LogConfig) -> list[Sink]:
    """The sinks that a run's settings ask for. Raises UserError where one does not exist, or cannot be used."""
    sinks = [SINKS.find(name) for name in names(log)]
    for sink in sinks:
        sink.check(log)
    return sinks


def views(origin: Origin, log: LogConfig) -> list[tuple[Guard, View]]:
    """The views that a run's settings ask for, each behind what keeps it from ending the run. Raises as `wanted`."""
    found: list[tuple[Guard, View]] = []
    for sink in wanted(log):
        guard = Guard(sink.called(origin.run), Exception)
        try:
            found.append((guard, sink.opened(origin, log)))
        except Exception as error:  # a full disk, no network, no login: metrics.jsonl has it all
            guard.tell(error)
    return found


def add(origin: Origin, log: LogConfig, row: Row) -> list[str]:
    """Adds a row to the views of a run that no process trains. Returns what messages call the views that have it now.

    A view that cannot be used on this machine, or cannot be written, is reported on stderr and left out.
    """
    taken = [Guard(name, Exception)(_add, name, origin, log, row) for name in names(log)]
    return [called for called in taken if called is not None]


def _add(name: str, origin: Origin, log: LogConfig, row: Row) -> str:
    sink = SINKS.find(name)
    sink.check(log)
    with closing(sink.opened(origin, log)) as view:
        view.write(row)
    return sink.called(origin.run)
