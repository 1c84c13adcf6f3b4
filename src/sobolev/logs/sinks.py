"""What a run writes down: JSON lines (the truth), TensorBoard and Weights & Biases (views of it), and score files.

    metrics.jsonl        one line per seed and logged step: {"step": env steps, "seed": 0, "time": ..., "loss/dyn": ...}
    scores.json          a list of {task, method, seed, xs, ys}: env steps, mean returns of the evaluations
    train_scores.json    the same with the returns of training episodes
    tensorboard/seed-0   event files

All of them continue where a checkpoint was taken: `state` says how far they were, and
`RunLog(..., state=...)` cuts them back to there.
"""

import importlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from sobolev.checkpoints.run_folder import write_text
from sobolev.errors import UserError

Curves = dict[int, tuple[list[int], list[float]]]


def field_name(task: str) -> str:
    """A task in the spelling of the field's score files: dmc_walker_walk for walker-walk, gym_Ant-v5 for gym:Ant-v5."""
    return task.replace(":", "_") if ":" in task else "dmc_" + task.replace("-", "_")


class JsonLines:
    """A file of JSON objects, one per line; numbers that are not finite are written as null, which JSON has."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """Open a file and cut it back to `position` bytes, so that lines after a checkpoint are not there twice."""
        self.file = path.open("ab")
        if self.file.tell() > position:
            self.file.truncate(position)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line and hand it to the operating system."""
        clean = {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in line.items()}
        self.file.write(json.dumps(clean, separators=(",", ":")).encode() + b"\n")
        self.file.flush()

    def position(self) -> int:
        """Bytes written so far, all of them on the disk when this returns."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self.file.close()


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
            self.curves[seed] = (list(xs), list(ys))
        self.changed = True
        self.write()

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
            write_text(self.path, json.dumps(self.entries()) + "\n")
            self.changed = False

    def state(self) -> dict[str, Any]:
        """The curves as a JSON tree."""
        return {str(seed): [list(xs), list(ys)] for seed, (xs, ys) in self.curves.items()}


class Picture(NamedTuple):
    """A PNG, or a GIF that moves, and its size."""

    encoded: bytes
    height: int
    width: int


class View(Protocol):
    """Another place to which metrics go."""

    def write(self, step: int, seed: int, values: Mapping[str, float]) -> None:
        """Write the metrics of one seed at one env step."""

    def picture(self, step: int, seed: int, name: str, picture: Picture) -> None:
        """Show a picture that is of one seed at one env step."""

    def close(self) -> None:
        """Write everything out and close."""


class TensorBoard:
    """Event files, one folder per seed; a resumed run hides what was logged after its checkpoint."""

    def __init__(self, folder: Path, seeds: Sequence[int], resume_from: int | None) -> None:
        from tensorboardX import SummaryWriter

        purge = None if resume_from is None else resume_from + 1
        # Two writers within one second would otherwise write to the same file.
        unique = f".{time.time_ns() % 10**9:09d}"
        self.writers = {
            seed: SummaryWriter(str(folder / f"seed-{seed}"), purge_step=purge, filename_suffix=unique)
            for seed in seeds
        }

    def write(self, step: int, seed: int, values: Mapping[str, float]) -> None:
        """Write the metrics of one seed at one env step."""
        for name, value in values.items():
            self.writers[seed].add_scalar(name, value, step)

    def picture(self, step: int, seed: int, name: str, picture: Picture) -> None:
        """Show a picture; tensorboardX would want another library for one that moves, and decode it."""
        proto: Any = importlib.import_module("tensorboardX.proto.summary_pb2")  # classes made at run time
        image = proto.Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.encoded
        )
        summary = proto.Summary(value=[proto.Summary.Value(tag=name, image=image)])
        self.writers[seed]._get_file_writer().add_summary(summary, step)

    def close(self) -> None:
        """Write everything out and close."""
        for writer in self.writers.values():
            writer.close()


class WeightsAndBiases:
    """One run of a Weights & Biases project; the metrics of each seed under seed-N/."""

    def __init__(self, run: Path, project: str) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError("--log.wandb needs a package that is not installed: pip install 'sobolev[wandb]'") from None
        settings = json.loads((run / "config.json").read_text())
        name = f"{run.parent.name}/{run.name}"
        self.run = wandb.init(project=project, name=name, id=name.replace("/", "-"), resume="allow", config=settings)

    def write(self, step: int, seed: int, values: Mapping[str, float]) -> None:
        """Write the metrics of one seed at one env step."""
        self.run.log({f"seed-{seed}/{name}": value for name, value in values.items()} | {"env_steps": step})

    def picture(self, step: int, seed: int, name: str, picture: Picture) -> None:
        """Pictures stay in the run's folder."""

    def close(self) -> None:
        """Write everything out and close."""
        self.run.finish()


class RunLog:
    """Everything that a run writes down, behind four verbs: `write`, `episode`, `score`, `state`."""

    def __init__(
        self,
        run: Path,
        task: str,
        method: str,
        seeds: Sequence[int],
        *,
        tensorboard: bool = True,
        wandb: str | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the files of a run; `state` is what `state()` gave at the checkpoint to go on from, else None."""
        self.seeds = tuple(seeds)
        self.step: int = state["step"] if state else 0
        self.scores = ScoreFile(run / "scores.json", task, method, seeds, state and state["scores"])
        self.episodes = ScoreFile(run / "train_scores.json", task, method, seeds, state and state["train_scores"])
        self.views: list[View] = [] if wandb is None else [WeightsAndBiases(run, wandb)]
        if tensorboard:
            self.views.append(TensorBoard(run / "tensorboard", seeds, self.step if state else None))
        self.lines = JsonLines(run / "metrics.jsonl", state["metrics"] if state else 0)

    def write(self, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Write metrics at an env step; each is a number for all seeds, or an array [seeds] of one for each."""
        columns = {name: np.broadcast_to(np.asarray(value, float), len(self.seeds)) for name, value in metrics.items()}
        for index, seed in enumerate(self.seeds):
            self._line(step, seed, {name: float(column[index]) for name, column in columns.items()})

    def episode(self, step: int, seed: int, value: float, length: int) -> None:
        """A training episode ended at an env step: its return, and its length in agent steps, of which the reset
        observation is one (as DreamerV3 counts): 501 for 1000 env steps at action repeat 2."""
        self.episodes.add(step, seed, value)
        self._line(step, seed, {"episode/return": float(value), "episode/length": float(length)})

    def score(self, step: int, seed: int, returns: Sequence[float]) -> None:
        """An evaluation at an env step: the returns of its episodes; their mean is the score."""
        mean = float(np.mean(returns))
        self.scores.add(step, seed, mean)
        self._line(step, seed, {"evaluation/return": mean, "evaluation/std": float(np.std(returns))})
        self.flush()

    def dream(self, step: int, errors: Mapping[str, float], pictures: Mapping[str, Picture]) -> None:
        """What the first seed's world model foresaw at an env step, and by how much it was wrong."""
        seed = self.seeds[0]
        self._line(step, seed, {f"dream/{name}": error for name, error in errors.items()})
        for view in self.views:
            for name, picture in pictures.items():
                view.picture(int(step), seed, name, picture)

    def _line(self, step: int, seed: int, values: Mapping[str, float]) -> None:
        self.step = max(self.step, int(step))
        self.lines.write({"step": int(step), "seed": seed, "time": round(time.time(), 3), **values})
        for view in self.views:
            view.write(int(step), seed, values)

    def flush(self) -> None:
        """Bring both score files up to date."""
        self.scores.write()
        self.episodes.write()

    def state(self) -> dict[str, Any]:
        """How far everything is, as a JSON tree for a checkpoint; what it counts is on the disk when this returns."""
        self.flush()
        return {
            "step": self.step,
            "metrics": self.lines.position(),
            "scores": self.scores.state(),
            "train_scores": self.episodes.state(),
        }

    def close(self) -> None:
        """Bring everything up to date and close it."""
        self.flush()
        self.lines.close()
        for view in self.views:
            view.close()
