"""The folder of a run: where it lies, whose it is, and that one process at a time trains in it.

RUN/config.json         the resolved config
RUN/record.json         who made it: commands, commit, machine, time
RUN/checkpoint/         the state to resume from
RUN/metrics.jsonl       every metric; scores.json, train_scores.json and tensorboard/ beside it
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sobolev.config import TrainConfig, from_json, to_json
from sobolev.config.codec import encode, settings
from sobolev.config.registry import method_of
from sobolev.errors import UserError

NOT_COMPUTED = ("steps", "preset", "run", "fresh", "compilation_cache", "evaluation", "checkpoint", "log", "devices")
"""Fields that do not change what is computed, up to the number of steps."""


def identity(config: TrainConfig) -> dict[str, Any]:
    """The part of a resolved config that changes what is computed, as a JSON tree."""
    tree = {name: value for name, value in encode(config).items() if name not in NOT_COMPUTED}
    tree["env"] = {name: value for name, value in tree["env"].items() if name != "workers"}
    tree["replay"] = {name: value for name, value in tree["replay"].items() if name != "memory"}
    return tree


def digest(config: TrainConfig) -> str:
    """Eight hexadecimal digits over the identity of a resolved config."""
    text = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder(config: TrainConfig) -> Path:
    """Where a resolved config runs: its own `run`, else runs/TASK/METHOD-SIZE-HASH."""
    if config.run is not None:
        return config.run
    task = config.task.replace(":", "-").replace("/", "-")
    return Path("runs") / task / f"{method_of(config).name}-{config.size}-{digest(config)}"


def read_config(run: Path) -> TrainConfig:
    """The resolved config of a run. Raises UserError where `run` is no run's folder, or its config unreadable."""
    path = run / "config.json"
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(f"{run} is not a run of sobolev: it has no config.json") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        return from_json(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file beside its target and rename it into place, so that a reader never meets half of it."""
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


@contextmanager
def opened(config: TrainConfig) -> Iterator[Path]:
    """Hold the folder of a resolved config for training; yields its path.

    A folder of the same identity is taken as it is (its config.json then tells the new steps); with `fresh` it is
    emptied first. Where the training fails with a UserError before it has kept anything, a folder made here is removed
    again. Raises UserError for a folder of another config, one that holds other things, and one in use.
    """
    run = folder(config)
    existed = run.is_dir()
    _check_owner(config, run)
    _make(run)
    with _locked(run):
        if config.fresh:
            _empty(run)
        write_text(run / "config.json", to_json(config))
        try:
            yield run
        except UserError:
            if not existed and not _kept(run):
                _remove(run, parents=2 if config.run is None else 0)
            raise


def _remove(run: Path, parents: int) -> None:
    """Delete a run's folder, and so many folders around it where they are empty then."""
    shutil.rmtree(run)
    with suppress(OSError):
        for folder in list(run.parents)[:parents]:
            folder.rmdir()


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the run folder {run} cannot be made: {error.strerror}; choose another with --run") from error


def _check_owner(config: TrainConfig, run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: choose another run folder with --run")
    if not run.is_dir() or not any(path.name != "lock" for path in run.iterdir()):
        return
    if not (run / "config.json").exists():
        raise UserError(f"{run} holds files that are not of a run: choose another run folder with --run")
    if config.fresh:
        return
    different = differences(read_config(run), config)
    if different:
        shown = ", ".join(different[:4]) + (f" and {len(different) - 4} more" if len(different) > 4 else "")
        raise UserError(f"{run} holds another run, with {shown}: choose another --run, or --fresh to delete it")


def differences(there: TrainConfig, asked: TrainConfig) -> list[str]:
    """What two resolved configs compute differently, as "method dreamer, not gpld", labels before details."""
    ignored = tuple(f"{name}." for name in NOT_COMPUTED)
    old, new = settings(there), settings(asked)
    paths = [path for path in old if path not in NOT_COMPUTED and not path.startswith(ignored)]
    paths = [path for path in paths if path not in ("env.workers", "replay.memory") and old[path][1] != new[path][1]]
    return [f"{path} {_shown(old[path][1])}, not {_shown(new[path][1])}" for path in paths]


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    with (run / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {run}: wait for it, or choose another --run") from None
        yield


def in_use(run: Path) -> bool:
    """Whether a process is training in a folder."""
    if not (run / "lock").exists():
        return False
    with (run / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _empty(run: Path) -> None:
    for path in run.iterdir():
        if path.name == "lock":
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _kept(run: Path) -> bool:
    """Whether a run has anything worth keeping: metrics, a checkpoint, or what a failure left."""
    made_at_once = ("config.json", "lock", "record.json", "scores.json", "train_scores.json")
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in made_at_once]
    return any(path.stat().st_size > 0 for path in files if "tensorboard" not in path.parts)
