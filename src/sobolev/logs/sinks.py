"""The logs of a run: JSON lines, score files, and views of the same metrics (TensorBoard, Weights & Biases and others).

    metrics.jsonl        one line per seed and logged step: {"step": env steps, "seed": 0, "time": ..., "loss/dyn": ...}
    scores.json          a list of {task, method, seed, xs, ys}: env steps, mean returns of the evaluations
    train_scores.json    the same with the returns of training episodes
    tensorboard/seed-0   event files

A checkpoint holds the state of all of them (`RunLog.state`), and a run that resumes cuts them back to it
(`RunLog(..., state=...)`). None of them can end a run: one that cannot be written is reported once on stderr, and tried
again with every further line.
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
from sobolev.logs.rows import Picture, Row
from sobolev.logs.views import Origin, views
from sobolev.system.atomic_files import finite, json_text, write_json
from sobolev.system.output import Guard

Curves = dict[int, tuple[list[int], list[float]]]


def field_name(task: str) -> str:
    """Returns the name of a task in score files: dmc_walker_walk for walker-walk, gym_Ant-v5 for gym:Ant-v5.

    A task whose prefix or name could not be told apart again (see `task_name` in `reports/results/scores.py`) keeps its
    own name.
    """
    prefix, *names = task.split(":")
    if not names:
        return "dmc_" + task.replace("-", "_")
    return f"{prefix}_{names[0]}" if len(names) == 1 and "_" not in prefix and prefix != "dmc" else task


class JsonLines:
    """A file of JSON objects, one per line. Numbers that are not finite are written as null, since JSON has no NaN.

    Lines that cannot be written are kept, and written together with the next line.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        """`position` is the size in bytes to which the file is cut: a run that resumes writes later lines again."""
        self.path, self.end, self.waiting = path, position, bytearray()
        self.file: io.FileIO | None = None

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line and hands it to the operating system. Raises OSError if that fails; the line is then kept."""
        self.waiting += json_text(line, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Writes the lines that were kept. Raises OSError if that fails."""
        if self.file is None:
            self.file = self._opened()
        try:
            written = 0
            while written < len(self.waiting):
                written += self.file.write(memoryview(self.waiting)[written:])
        except OSError:
            self.file.truncate(self.end)  # no half lines
            raise
        self.end += written
        self.waiting.clear()

    def _opened(self) -> io.FileIO:
        """Opens the file and cuts it after the last complete line before `end`."""
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
        """Writes all lines through to the disk. Raises OSError if that fails."""
        self.flush()
        assert self.file is not None, "opened by the flush"
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Closes the file."""
        if self.file is not None:
            self.file.close()


LONGEST_LINE = 1 << 20
"""Bytes at the end of a file in which the last newline is searched."""


def count_lines(path: Path) -> int:
    """Returns the number of complete lines of a file; 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            return sum(piece.count(b"\n") for piece in iter(lambda: file.read(LONGEST_LINE), b""))
    except OSError:
        return 0


class ScoreFile:
    """A score file, which lists a curve for each seed, in the format of the DreamerV3 authors' score files."""

    def __init__(
        self, path: Path, task: str, method: str, seeds: Sequence[int], state: Mapping[str, Any] | None
    ) -> None:
        """`state` is the result of `state()` at a checkpoint; None for a new run."""
        self.path, self.task, self.method = path, field_name(task), method
        self.curves: Curves = {seed: ([], []) for seed in seeds}
        for seed in seeds if state else ():
            xs, ys = state[str(seed)] if state else ([], [])
            self.curves[seed] = (list(xs), [float("nan") if y is None else float(y) for y in ys])
        self.changed = True

    def add(self, step: int, seed: int, value: float) -> None:
        """Adds a point (env steps, return) to the curve of a seed; `write` writes it to the file."""
        xs, ys = self.curves[seed]
        xs.append(int(step))
        ys.append(float(value))
        self.changed = True

    def entries(self) -> list[dict[str, Any]]:
        """Returns the content of the file."""
        return [
            {"task": self.task, "method": self.method, "seed": seed, "xs": xs, "ys": ys}
            for seed, (xs, ys) in self.curves.items()
        ]

    def write(self) -> None:
        """Writes the file, if a point was added, and replaces the earlier one atomically."""
        if self.changed:
            write_json(self.path, self.entries())
            self.changed = False

    def state(self) -> dict[str, Any]:
        """Returns the curves as a JSON tree. A return that is not finite is None, and null in the file."""
        return {str(seed): [list(xs), finite(ys)] for seed, (xs, ys) in self.curves.items()}


class RunLog:
    """All logs of a run. `write`, `episode`, `score` and `dream` add to them; `state` is for checkpoints."""

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
        """Opens the files of a run, and the views in `log`; None opens no views.

        `state` is the result of `state()` at the checkpoint from which the run resumes; None for a new run. Raises
        UserError if a view cannot be used on this machine.
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
        self._dreams = Guard(str(run / "dreams"), Exception)  # the libraries that draw may raise anything
        self._lines = _guard(lines)
        self._scores = [(_guard(file.path), file) for file in (self.scores, self.episodes)]
        self._lines(self.lines.flush)
        self.flush()

    def write(self, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Writes metrics at an env step. Each is a number for all seeds, or an array [seeds]."""
        columns = {name: np.broadcast_to(np.asarray(value, float), len(self.seeds)) for name, value in metrics.items()}
        for index, seed in enumerate(self.seeds):
            self._row(step, seed, {name: float(column[index]) for name, column in columns.items()})

    def updated(self, step: int, updates: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Writes the metrics of the updates since the last line, and the number of all updates so far."""
        self.write(step, {**metrics, "updates": updates})

    def truncated(self, step: int, episodes: ArrayLike) -> None:
        """Writes how many episodes [seeds] of an evaluation were ended by its limit of steps."""
        self.write(step, {"evaluation/truncated": episodes})

    def episode(self, step: int, seed: int, value: float, length: int) -> None:
        """Adds a training episode that ended at an env step, with its return and its length in agent steps.

        The reset counts as an agent step, as in DreamerV3: 501 for 1000 env steps at action repeat 2.
        """
        self.episodes.add(step, seed, value)
        self._row(step, seed, {"episode/return": float(value), "episode/length": float(length)})

    def score(self, step: int, seed: int, returns: Sequence[float]) -> None:
        """Adds an evaluation at an env step with the returns of its episodes; their mean is the score."""
        with np.errstate(invalid="ignore", over="ignore"):  # a return may be infinite
            mean, std = float(np.mean(returns)), float(np.std(returns))
        self.scores.add(step, seed, mean)
        self._row(step, seed, {"evaluation/return": mean, "evaluation/std": std})
        self.flush()

    def dream(self, step: int, errors: Mapping[str, float], keep: Callable[[], Mapping[str, Picture]]) -> None:
        """Adds a dream of the first seed's world model at an env step, with its errors by observation.

        `keep` draws it, writes it into the run's folder, and returns the pictures by name.
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
        """Writes both score files."""
        for guard, file in self._scores:
            guard(file.write)

    def state(self) -> dict[str, Any]:
        """Returns the state of the logs as a JSON tree, for a checkpoint, after writing them through to the disk.

        If the disk is full, the state counts only the lines that were written; the others are written later, or lost.
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
        """Flushes and closes all logs."""
        self.flush()
        with contextlib.closing(self.lines):
            self._lines(self.lines.flush)
        for guard, view in self.views:
            guard(view.close)


def _guard(path: Path) -> Guard:
    return Guard(str(path))
