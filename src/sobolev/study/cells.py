"""From a suite to runs: which configs it comes to, and the `sobolev train` command of each."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobolev.config import TrainConfig, configure, resolved
from sobolev.config.codec import assign, words
from sobolev.errors import UserError
from sobolev.study.suites import Settings, Suite, Variant
from sobolev.training.run import folder


@dataclass(frozen=True)
class Cell:
    """One run: a task, a variant and the seeds that train together."""

    task: str
    variant: Variant
    preset: str
    seeds: tuple[int, ...]
    settings: Settings
    """all that differs from the defaults of preset and method, by path; "size" among them"""
    needs: Path | None = None
    """folder, as `folder`, of the run that must be complete before"""

    @property
    def config(self) -> TrainConfig[Any]:
        """The config of the run, unresolved. Raises UserError for settings that do not exist."""
        settings = {path: value for path, value in self.settings.items() if path != "size"} | {"seeds": self.seeds}
        size = self.settings.get("size")
        return configure(self.task, method=self.variant.method, size=size, preset=self.preset, settings=settings)

    def checked(self) -> TrainConfig[Any]:
        """The config without open ends, but for the precision, which the device decides. Raises UserError."""
        config = self.config
        return assign(resolved(config, "cpu"), "precision", config.agent.precision)

    @property
    def folder(self) -> Path:
        """Where the run lies inside the folder of its sweep: TASK/METHOD-SIZE-HASH."""
        return folder(self.checked()).relative_to("runs")

    def command(self, run: Path) -> list[str]:
        """The arguments of `sobolev` that train this run in its folder."""
        line = ["train", self.task, "--method", self.variant.method, "--preset", self.preset]
        for path, value in [*self.settings.items(), ("seeds", self.seeds), ("run", run)]:
            line += words(path, value)
        return line


def cells(
    suite: Suite,
    given: Mapping[str, Settings] | None = None,
    preset: str | None = None,
    seeds: Sequence[int] | None = None,
    seeds_per_run: int | None = None,
    output: Path | None = None,
) -> list[Cell]:
    """The runs of a suite, task after task, every one of them valid.

    `given` are settings for all runs, by method (a flag of the command line that a method lacks is not among its
    settings); they go before the suite's, a variant's own go before both. `preset`, `seeds` and `seeds_per_run` replace
    the suite's; `output` is the sweep's folder, runs/SUITE unless given. Raises UserError where a given setting is one
    that the suite varies, two runs are the same, or a run is impossible.
    """
    given = given or {}
    for variant in suite.variants:
        varied = sorted(variant.settings.keys() & given.get(variant.method, {}).keys())
        if varied:
            raise UserError(f"{varied[0]} is what suite {suite.name} varies ('{variant.label}'): leave it out")
    per_run = seeds_per_run or suite.seeds_per_run or max(1, len(seeds or suite.seeds))
    found = []
    for task, variant in itertools.product(suite.tasks, suite.variants):
        settings = {**suite.settings, **given.get(variant.method, {}), **variant.settings}
        for together in _chunks(tuple(seeds or suite.seeds), per_run):
            found.append(Cell(task, variant, preset or suite.preset, together, settings))
    found = [_started(cell, found, output or Path("runs") / suite.name) for cell in found]
    _check_distinct(found)
    return found


def _chunks(seeds: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds), size):
        yield seeds[start : start + size]


def _started(cell: Cell, others: Iterable[Cell], output: Path) -> Cell:
    """The cell with the run that it starts from: that of its variant's `warm_start`, of its task and seeds."""
    wanted = (cell.task, cell.variant.warm_start, cell.seeds)
    for other in others:
        if (other.task, other.variant.label, other.seeds) == wanted:
            settings = {**cell.settings, "warm_start": str(output / other.folder)}
            return dataclasses.replace(cell, settings=settings, needs=other.folder)
    return cell


def _check_distinct(found: Iterable[Cell]) -> None:
    folders: dict[Path, Cell] = {}
    for cell in found:
        other = folders.setdefault(cell.folder, cell)
        if other is not cell:
            raise UserError(f"'{other.variant.label}' and '{cell.variant.label}' are the same run: leave one out")
