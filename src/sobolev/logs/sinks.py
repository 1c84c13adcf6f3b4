"""What a run writes down: JSON lines (the truth), TensorBoard and Weights & Biases (views of it), and score files.

    metrics.jsonl        one line per seed and logged step: {"step": env steps, "seed": 0, "time": ..., "loss/dyn": ...}
    scores.json          a list of {task, method, seed, xs, ys}: env steps, mean returns of the evaluations
    train_scores.json    the same with the returns of training episodes
    tensorboard/seed-0   event files

All of them continue where a checkpoint was taken: `state` says how far they were, and
`RunLog(..., state=...)` cuts them back to there. None of them can end a run: one that cannot be written is reported
once, on stderr, and is tried again at every next line.
"""

import contextlib
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sobolev.config.train import LogConfig
from sobolev.errors import UserError
from sobolev.logs.rows import Picture, Row
from sobolev.logs.views import Origin, views
from sobolev.system.atomic_files import finite, json_text, write_json
from sobolev.system.output import Guard

Curves = dict[int, tuple[list[int], list[float]]]


def field_name(task: str) -> str:
    """A task in the spelling of the field's score files: dmc_walker_walk for walker-walk, gym_Ant-v5 for gym:Ant-v5."""
    return task.replace(":", "_") if ":" in task else "dmc_" + task.replace("-", "_")


class JsonLines:
    """A file of JSON objects, one per line; numbers that are not finite are written as null, which JSON has.

    Lines that cannot be written wait, and are written with the next one that can.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        """`position`: bytes of the file that are kept; lines after a checkpoint would else be there twice."""
        self.path, self.end, self.waiting = path, position, bytearray()
        self.file: io.FileIO | None = None

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line and hand it to the operating system. Raises OSError; the line then waits."""
        self.waiting += json_text(line, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write the lines that wait. Raises OSError."""
        if self.file is None:
            self.file = self._opened()
        try:
            written = 0
            while written < len(self.waiting):
                written += self.file.write(memoryview(self.waiting)[written:])
        except OSError:
            self.file.truncate(self.end)  # half a line is none
            raise
        self.end += written
        self.waiting.clear()

    def _opened(self) -> io.FileIO:
        """The file, open at its end, cut back to the lines before `end` that are whole."""
        file = io.FileIO(self.path, "a+")
        there = min(self.end, file.seek(0, os.SEEK_END))
        if there:
            file.seek(max(0, there - LONGEST_LINE))
            before = file.read(min(there, LONGEST_LINE))
            there -= len(before) - (before.rfind(b"\n") + 1)
        file.truncate(there)
        self.end = there
        return file

    def sync(self) -> None:
        """Bring all that is written to the disk. Raises OSError."""
        self.flush()
        assert self.file is not None, "opened by the flush"
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


LONGEST_LINE = 1 << 20
"""Bytes at a file's end in which a newline is looked for."""


def count_lines(path: Path) -> int:
    """Whole lines of a file; 0 where it cannot be read."""
    try:
        with path.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(LONGEST_LINE), b""))
    except OSError:
        return 0


class ScoreFile:
    """A list of curves, one per seed, in the schema that the field's score files use."""

    def __init__(
        self, path: Path, task: str, method: str, seeds: Sequence[int], state: Mapping[str, Any] | None
    ) -> None:
        """`state` is what `state()` gave at a checkpoint, None for a new run."""
        self.path, self.task, self.method = path, field_name(task), method
        self.curves: Curves = {seed: ([], []) for seed in seeds}
        for seed in seeds if state else ():
            xs, ys = state[str(seed)] if state else ([], [])
            self.curves[seed] = (list(xs), [float("nan") if y is None else float(y) for y in ys])
        self.changed = True

    def add(self, step: int, seed: int, value: float) -> None:
        """Add a point (env steps, return) to a seed's curve; `write` puts it into the file."""
        xs, ys = self.curves[seed]
        xs.append(int(step))
        ys.append(float(value))
        self.changed = True

    def entries(self) -> list[dict[str, Any]]:
        """The content of the file."""
        return [
            {"task": self.task, "method": self.method, "seed": seed, "xs": xs, "ys": ys}
            for seed, (xs, ys) in self.curves.items()
        ]

    def write(self) -> None:
        """Write the file, where anything was added, beside its target and rename it."""
        if self.changed:
            write_json(self.path, self.entries())
            self.changed = False

    def state(self) -> dict[str, Any]:
        """The curves as a JSON tree; a return that is not finite is None there, and in the file null."""
        return {str(seed): [list(xs), finite(ys)] for seed, (xs, ys) in self.curves.items()}


class RunLog:
    """Everything that a run writes down, behind a few verbs: `write`, `episode`, `score`, `dream`, `state`."""

    def __init__(
        self,
        run: Path,
        task: str,
        method: str,
        seeds: Sequence[int],
        *,
        log: LogConfig | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the files of a run, and the views that `log` asks for, if any.

        `state` is what `state()` gave at the checkpoint that the run resumes from, None for a new run. Raises UserError
        where a view cannot be used on this machine.
        """
        self.seeds = tuple(seeds)
        self.step: int = state["step"] if state else 0
        lines = run / "metrics.jsonl"
        self.rows: int = state.get("rows", 0) if state else 0
        origin = Origin(run, self.seeds, self.step if state else None, count_lines(lines))
        self.views = views(origin, log) if log else []
        self.scores = ScoreFile(run / "scores.json", task, method, seeds, state and state["scores"])
        self.episodes = ScoreFile(run / "train_scores.json", task, method, seeds, state and state["train_scores"])
        self.lines = JsonLines(lines, state["metrics"] if state else 0)
        self._dreams = Guard(str(run / "dreams"), Exception)  # drawn by libraries that raise what they like
        self.weights = Guard(str(run / "snapshots"), (OSError, UserError))
        """for what keeps copies of the networks"""
        self._lines = _guard(lines)
        self._scores = [(_guard(file.path), file) for file in (self.scores, self.episodes)]
        self._lines(self.lines.flush)
        self.flush()

    def write(self, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Write metrics at an env step; each is a number for all seeds, or an array [seeds] of one for each."""
        columns = {name: np.broadcast_to(np.asarray(value, float), len(self.seeds)) for name, value in metrics.items()}
        for index, seed in enumerate(self.seeds):
            self._row(step, seed, {name: float(column[index]) for name, column in columns.items()})

    def episode(self, step: int, seed: int, value: float, length: int) -> None:
        """A training episode ended at an env step: its return, and its length in agent steps, of which the reset
        observation is one (as DreamerV3 counts): 501 for 1000 env steps at action repeat 2."""
        self.episodes.add(step, seed, value)
        self._row(step, seed, {"episode/return": float(value), "episode/length": float(length)})

    def score(self, step: int, seed: int, returns: Sequence[float]) -> None:
        """An evaluation at an env step: the returns of its episodes; their mean is the score."""
        with np.errstate(invalid="ignore", over="ignore"):  # a return may be infinite
            mean, std = float(np.mean(returns)), float(np.std(returns))
        self.scores.add(step, seed, mean)
        self._row(step, seed, {"evaluation/return": mean, "evaluation/std": std})
        self.flush()

    def dream(self, step: int, errors: Mapping[str, float], keep: Callable[[], Mapping[str, Picture]]) -> None:
        """What the first seed's world model predicted at an env step, and its error.

        `keep` draws that, writes it into the run's folder, and gives the pictures by name.
        """
        pictures = self._dreams(keep) or {}
        self._row(step, self.seeds[0], {f"dream/{name}": error for name, error in errors.items()}, pictures)

    def _row(
        self, step: int, seed: int, values: Mapping[str, float], pictures: Mapping[str, Picture] | None = None
    ) -> None:
        row = Row(self.rows, int(step), seed, values, pictures or {})
        self.step, self.rows = max(self.step, row.step), self.rows + 1
        self._lines(self.lines.write, {"step": row.step, "seed": seed, "time": round(time.time(), 3), **values})
        for guard, view in self.views:
            guard(view.write, row)

    def flush(self) -> None:
        """Bring both score files up to date."""
        for guard, file in self._scores:
            guard(file.write)

    def state(self) -> dict[str, Any]:
        """How far everything is, as a JSON tree for a checkpoint; what it counts is on the disk when this returns.

        Where the disk is full, it counts the lines that are there; those that wait are written later, or lost.
        """
        self.flush()
        self._lines(self.lines.sync)
        return {
            "step": self.step,
            "rows": self.rows,
            "metrics": self.lines.end,
            "scores": self.scores.state(),
            "train_scores": self.episodes.state(),
        }

    def close(self) -> None:
        """Bring everything up to date and close it."""
        self.flush()
        with contextlib.closing(self.lines):
            self._lines(self.lines.flush)
        for guard, view in self.views:
            guard(view.close)


def _guard(path: Path) -> Guard:
    return Guard(str(path))
