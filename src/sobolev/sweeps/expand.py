"""Expands a suite to its runs, each with its config and its `sobolev train` command."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sobolev.checkpoints.run_folder import folder, read_config
from sobolev.config import TrainConfig, configure, resolved
from sobolev.config.codec import assign, words
from sobolev.config.registry import METHODS
from sobolev.errors import UserError
from sobolev.sweeps.suites import Settings, Suite, Variant


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: a task, a variant, and the seeds that are trained together."""

    task: str
    variant: Variant
    preset: str
    seeds: tuple[int, ...]
    settings: Settings
    """settings that differ from the defaults of preset and method, by path; "size" among them is applied first"""
    needs: Path | None = None
    """`folder` of the run that has to be complete before this one starts"""
    named_after: Path | None = None
    """the warm start by which its folder is named, where that is not the one in `settings`: `needs`, which is the same
    wherever the sweep is, and however its folder is written"""

    @cached_property
    def config(self) -> TrainConfig[Any]:
        """Returns the config of the run, unresolved. Raises UserError for settings that do not exist."""
        settings = {**self.settings, "seeds": self.seeds}
        return configure(self.task, method=self.variant.method, preset=self.preset, settings=settings)

    def checked(self) -> TrainConfig[Any]:
        """Returns the resolved config, but for the precision, which depends on the device. Raises UserError if it is
        invalid."""
        config = self.config
        return assign(resolved(config, "cpu"), "precision", config.agent.precision)

    @cached_property
    def folder(self) -> Path:
        """Returns the folder of the run within that of its sweep: TASK/METHOD-SIZE-HASH."""
        config = self.checked()
        if self.named_after is not None:
            config = assign(config, "warm_start", self.named_after)
        return folder(config).relative_to("runs")

    def command(self, run: Path) -> list[str]:
        """Returns the arguments of `sobolev` that train this run in the folder `run`."""
        line = ["train", self.task, "--method", self.variant.method, "--preset", self.preset]
        for path, value in [*self.settings.items(), ("seeds", self.seeds), ("run", run)]:
            line += words(path, value)
        return line


def expand(
    suite: Suite,
    given: Mapping[str, Settings] | None = None,
    preset: str | None = None,
    seeds: Sequence[int] | None = None,
    seeds_per_run: int | None = None,
    output: Path | None = None,
) -> list[PlannedRun]:
    """Returns the runs of a suite, ordered by task, each with a valid config.

    `given` are the settings for all runs, by method, since methods have different flags. They override the settings of
    the suite, and are overridden by those of a variant. `preset`, `seeds` and `seeds_per_run` replace the suite's, and
    `preset` the variants' too; without any preset, a run has the first one of its method. `output` is the folder of the
    sweep, by default runs/SUITE. Raises UserError if a given setting is one that the suite varies, if two runs are the
    same, or if a config is invalid.
    """
    given = given or {}
    for variant in suite.variants:
        varied = sorted(variant.settings.keys() & given.get(variant.method, {}).keys())
        if varied:
            raise UserError(f"{varied[0]} is what suite {suite.name} varies ('{variant.label}'): leave it out")
    per_run = seeds_per_run or suite.seeds_per_run or max(1, len(seeds or suite.seeds))
    runs = []
    for task, variant in itertools.product(suite.tasks, suite.variants):
        settings = {**suite.settings, **given.get(variant.method, {}), **variant.settings}
        for together in _chunks(tuple(seeds or suite.seeds), per_run):
            chosen = preset or variant.preset or suite.preset or next(iter(METHODS.find(variant.method).presets))
            runs.append(PlannedRun(task, variant, chosen, together, settings))
    runs = [_with_warm_start(run, runs, output or Path("runs") / suite.name) for run in runs]
    _check_distinct(runs)
    return runs


def _chunks(seeds: tuple[int, ...], size: int) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(seeds), size):
        yield seeds[start : start + size]


def _with_warm_start(run: PlannedRun, others: Iterable[PlannedRun], output: Path) -> PlannedRun:
    """Returns the run with the folder of the run from which it starts: that of the variant `warm_start` with the same
    task and seeds.

    Earlier versions named such a run after the whole path of the other: a folder of that name is kept. A run that was
    begun keeps its path to the other run too, since a run is not resumed with other settings."""
    wanted = (run.task, run.variant.warm_start, run.seeds)
    for other in others:
        if (other.task, other.variant.label, other.seeds) == wanted:
            settings = {**run.settings, "warm_start": str(output / other.folder)}
            old = dataclasses.replace(run, settings=settings, needs=other.folder)
            new = dataclasses.replace(old, named_after=other.folder)
            if (output / old.folder).exists() and not (output / new.folder).exists():
                return old
            with suppress(UserError):  # no such run, so far
                begun = read_config(output / new.folder).warm_start or output / other.folder
                return dataclasses.replace(new, settings=settings | {"warm_start": str(begun)})
            return new
    return run


def _check_distinct(runs: Iterable[PlannedRun]) -> None:
    folders: dict[Path, PlannedRun] = {}
    for run in runs:
        other = folders.setdefault(run.folder, run)
        if other is not run:
            raise UserError(f"'{other.variant.label}' and '{run.variant.label}' are the same run: leave one out")
