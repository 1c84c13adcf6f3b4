"""The folder of a run: its location, the run that it belongs to, its lock, and which of its files may be deleted.

RUN/.sobolev-run        marks the folder of a run; a config.json of sobolev does so, too
RUN/config.json         the resolved config
RUN/record.json         provenance: commands, commit, machine, time
RUN/checkpoint/         the state to resume from
RUN/metrics.jsonl       all metrics; beside it scores.json, train_scores.json and tensorboard/

Only files that a run has written are ever deleted: those whose names are in `MADE`.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sobolev.checkpoints import slots
from sobolev.checkpoints.files import OWN_TEMPORARY, room_errors
from sobolev.config import TrainConfig, from_json, to_json
from sobolev.config.codec import encode, settings
from sobolev.config.registry import method_of
from sobolev.config.resolve import added, without
from sobolev.errors import UserError, spelled
from sobolev.system.atomic_files import TEMPORARY, file_name, write_text

NOT_COMPUTED = (
    *("steps", "preset", "run", "fresh", "strict_resume"),
    *("compilation_cache", "evaluation", "checkpoint", "log", "devices"),
)
"""Fields of the config that do not change what is computed, except how many steps."""

MARK = ".sobolev-run"
"""The file that marks the folder of a run."""
LOCK = "lock"
MADE = {
    "": rf"{re.escape(MARK)}|{LOCK}|episode\.mp4|(metrics\.jsonl|warm_start\.safetensors|curve\.png|wandb\.json"
    rf"|(config|record|scores|train_scores|evaluation)\.json)({TEMPORARY})?|{OWN_TEMPORARY}",
    "checkpoint": slots.NAMES,
    "snapshots": rf"\d+\.safetensors({TEMPORARY})?|{OWN_TEMPORARY}",
    "failure": rf"seed-\d+-update-\d+\.safetensors({TEMPORARY})?|{OWN_TEMPORARY}",
    "dreams": rf"\d+\.(mp4|png)({TEMPORARY})?|\.\d+\.tmp\.(mp4|png)",
    "tensorboard": r"",
    r"tensorboard/seed-\d+": r"events\.out\.tfevents\..+",
    r"wandb(/.+)?": r".*",
}
"""Every file that a run or `make demo` writes: regular expressions of folders within the run's, and of the names in
them."""


def identity(config: TrainConfig) -> dict[str, Any]:
    """Returns the part of a resolved config that changes what is computed, as a JSON tree.

    A setting that earlier versions did not have is left out while it has the value that it had in effect then, so that
    the same command finds the run that an earlier version began.
    """
    tree = {name: value for name, value in encode(config).items() if name not in NOT_COMPUTED}
    tree["env"] = {name: value for name, value in tree["env"].items() if name != "workers"}
    tree["replay"] = {name: value for name, value in tree["replay"].items() if name != "memory"}
    return without(tree, added(method_of(config)))


def digest(config: TrainConfig) -> str:
    """Returns a hash of the `identity` of a resolved config, eight hexadecimal digits."""
    text = json.dumps(identity(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def folder(config: TrainConfig) -> Path:
    """Returns the folder of a resolved config: its `run`, or runs/TASK/METHOD-SIZE-HASH if that is None."""
    if config.run is not None:
        return config.run
    return Path("runs") / file_name(config.task) / f"{method_of(config).name}-{config.size}-{digest(config)}"


def read_config(run: Path) -> TrainConfig:
    """Reads the resolved config of a run. Raises UserError if `run` is not a run's folder, or has no valid config."""
    path = run / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{run} is not a run of sobolev: it has no config.json") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        return from_json(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


@contextmanager
def opened(config: TrainConfig) -> Iterator[Path]:
    """Creates or opens the folder of a resolved config, and locks it inside the block; yields its path.

    A folder of a run with the same `identity` is continued (config.json gets the new number of steps); with `fresh` the
    files of that run are deleted first. If the training raises UserError before it has written anything of value, a
    folder that was created here is removed. Raises UserError for a folder of another run, with other files, in use, or
    in which nothing can be written.
    """
    run = folder(config)
    try:
        existed = run.is_dir()
        _check_owner(config, run)
    except (OSError, ValueError) as error:  # the name is too long, or the permissions forbid it
        raise UserError(f"the run folder {run} cannot be used ({_reason(error)}); choose another with --run") from error
    _make(run)
    with locked(run):
        try:
            if config.fresh:
                delete(run)
            with room_errors(run, 10_000, "the settings of a run"):
                (run / MARK).write_text(
                    "This folder is a run of sobolev. --fresh deletes the files that the run has written.\n"
                )
                write_text(run / "config.json", to_json(config))
            yield run
        except UserError:
            if not existed and not _kept(run):
                _remove(run, parents=2 if config.run is None else 0)
            raise


def is_run(folder: Path) -> bool:
    """Returns whether a folder belongs to a run: it has the mark, or a valid config."""
    if (folder / MARK).is_file():
        return True
    try:
        read_config(folder)
    except UserError:
        return False
    return True


def foreign(folder: Path) -> list[str]:
    """Returns what a folder holds that no run writes: sorted relative paths, where a folder stands for its content.

    Symbolic links are not followed, and count as foreign."""
    return [path for path, ours in _content(folder) if not ours]


def delete(folder: Path, all_of_it: bool = False) -> None:
    """Deletes the files that a run has written, and folders that are then empty; with `all_of_it` also the lock. Raises
    UserError if a file cannot be deleted."""
    made = [folder / path for path, ours in _content(folder) if ours]
    for path in reversed(made):  # the content of a folder before the folder
        if path.name == LOCK and path.parent == folder and not all_of_it:
            continue
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{path} cannot be deleted ({_reason(error)}): choose another --run") from error


def _content(folder: Path, within: str = "") -> list[tuple[str, bool]]:
    """Returns every path in a folder, each folder before its content, and whether a run writes it.

    Folders that no run creates are not opened.
    """
    found: list[tuple[str, bool]] = []
    names = next((names for place, names in MADE.items() if re.fullmatch(place, within)), "")
    with os.scandir(folder / within) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{within}/{entry.name}" if within else entry.name
            if entry.is_dir(follow_symlinks=False):
                ours = any(re.fullmatch(place, path) for place in MADE)
                found += [(path, ours), *(_content(folder, path) if ours else ())]
            else:
                own_kind = entry.is_file(follow_symlinks=False) or within.startswith("wandb")  # wandb creates links
                ours = own_kind and re.fullmatch(names, entry.name) is not None
                found.append((path, ours))
    return found


def _remove(run: Path, parents: int) -> None:
    """Deletes a run's folder, and up to `parents` folders above it that are then empty."""
    delete(run, all_of_it=True)
    with suppress(OSError):
        for folder in [run, *list(run.parents)[:parents]]:
            folder.rmdir()


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the run folder {run} cannot be created: {_reason(error)}; choose another with --run"
        ) from error


def _check_owner(config: TrainConfig, run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: choose another run folder with --run")
    if not run.is_dir() or all(path.name in (LOCK, MARK) for path in run.iterdir()):
        return
    others = foreign(run)
    if not is_run(run):
        told = _some(others or [path.name for path in run.iterdir()])
        raise UserError(f"{run} holds files that are not of a run ({told}): choose another run folder with --run")
    if config.fresh and others:
        raise UserError(
            f"{run} holds files that are not of a run ({_some(others)}), and --fresh deletes only files of a run: "
            "move them, or choose another run folder with --run"
        )
    if config.fresh:
        return
    different = differences(read_config(run), config)
    if different:
        raise UserError(
            f"{run} holds another run, with {_some(different, 4)}: choose another --run, or --fresh to delete it"
        )


def _some(things: list[str], count: int = 3) -> str:
    return ", ".join(things[:count]) + (f" and {len(things) - count} more" if len(things) > count else "")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def differences(there: TrainConfig, asked: TrainConfig) -> list[str]:
    """Returns the differences in what two resolved configs compute, as in "--method dreamer, not gpld".

    Settings that only one of them has, for it is another method or regularizer, are left out: that is a difference too.
    """
    ignored = tuple(f"{name}." for name in NOT_COMPUTED)
    old, new = settings(there), settings(asked)
    paths = [path for path in old if path in new and path not in NOT_COMPUTED and not path.startswith(ignored)]
    paths = [path for path in paths if path not in ("env.workers", "replay.memory") and old[path][1] != new[path][1]]
    return [f"{spelled(path)} {_shown(old[path][1])}, not {_shown(new[path][1])}" for path in paths]


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Locks a run's folder inside the block, so that no other process trains in it. Raises UserError if one does."""
    with room_errors(run, 0, "a run's lock"):
        file = (run / LOCK).open("ab")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is training in {run}: wait for it, or choose another --run") from None
        except OSError as error:
            raise UserError(
                f"{run} cannot be locked: {_reason(error)}; choose a --run on a file system that has locks"
            ) from error
        yield


def in_use(run: Path) -> bool:
    """Returns whether a process is training in a folder."""
    try:
        with (run / LOCK).open() as file:  # for reading, which a folder of another user may allow
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _kept(run: Path) -> bool:
    """Returns whether a run has anything of value: metrics, a checkpoint, or the batch of a failure."""
    made_at_once = (MARK, LOCK, "config.json", "record.json", "scores.json", "train_scores.json")
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in made_at_once]
    return any(path.stat().st_size > 0 for path in files if path.relative_to(run).parts[0] != "tensorboard")
