"""Runs that are broken off at a chosen iteration, and whether two of them are the same to the bit."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sobolev.config.train import TrainConfig
from sobolev.training.loop import Training
from sobolev.training.start import start
from tests import tiny
from tests.checkpoints import checkpoints
from tests.quick_runs import quick_runs


class Crash(Exception):
    """Stands for whatever ends a process without warning."""


def run(folder: Path, config: TrainConfig | None = None, status: int = 0) -> Path:
    config = config or tiny.config(seeds=(2,))
    assert start(dataclasses.replace(config, run=folder)) == (folder, status)
    return folder


def at(monkeypatch: pytest.MonkeyPatch, iteration: int, act: Callable[[Training], None]) -> None:
    """Acts once, when a run has made so many iterations."""
    iterate = Training.iterate

    def wrapped(self: Training) -> None:
        iterate(self)
        if self.now.iteration == iteration:
            act(self)

    monkeypatch.setattr(Training, "iterate", wrapped)


def crash(training: Training) -> None:
    raise Crash


def crash_late(folder: Path, saves: tuple[int, ...], end: int, config: TrainConfig | None = None) -> None:
    """Runs until `end`, with checkpoints at `saves`, and loses all that came after the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        for iteration in saves:
            at(patch, iteration, Training.save)
        at(patch, end, crash)
        with pytest.raises(Crash):
            run(folder, config)


def content(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint."""
    loaded, arrays = checkpoints.content(folder / "checkpoint")
    assert not loaded.notes
    return arrays


def assert_same(folder: Path, wanted: Path) -> None:
    ours, theirs = content(folder), content(wanted)
    assert set(ours) == set(theirs)
    different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert not different
    for name in ("scores.json", "train_scores.json"):
        assert json.loads((folder / name).read_text()) == json.loads((wanted / name).read_text())
    assert metrics(folder) == metrics(wanted)


def metrics(folder: Path) -> list[dict]:
    """Every line of the run's metrics but for the time at which it was written."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def straight_run(folder: Path) -> Path:
    """A run that was never broken off."""
    with quick_runs():
        return run(folder)
