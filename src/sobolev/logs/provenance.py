"""The provenance of a run: RUN/record.json has an entry for every process that trained in it, with command, commit and
machine.

A process that was killed leaves its entry open. The next process closes it with the time of the last line of
metrics.jsonl.
"""

import json
import os
import platform
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sobolev.config import TrainConfig, defaults, filled
from sobolev.config.codec import settings, words
from sobolev.errors import UserError
from sobolev.system.atomic_files import write_json
from sobolev.system.json_lines import last_lines
from sobolev.system.output import Guard
from sobolev.system.resources import cores

NAME = "record.json"


@contextmanager
def recorded(config: TrainConfig, run: Path) -> Iterator[None]:
    """Adds an entry to the record of a run, and closes it when the training ends, in whatever way.

    An entry has command, version, commit, python, jax, machine, started (UTC), and when it is closed seconds and
    env_steps. An entry of a process that logged nothing is removed. If the file cannot be written, or is not a record,
    that is reported and the file is left as it is. The caller holds the lock of the run's folder.
    """
    guard, started, before = Guard(str(run / NAME), (OSError, UserError)), time.time(), _size(run)
    entries = guard(read_record, run)
    if entries is None:  # the file is not ours to overwrite
        yield
        return
    entries.append(_entry(config, started))
    guard(_write, run, entries)
    try:
        yield
    finally:
        if _size(run) == before:
            entries.pop()
        else:
            entries[-1] |= _end(run, started, time.time())
        guard(_write, run, entries)


def read_record(run: Path) -> list[dict[str, Any]]:
    """Returns the entries of a run's record; an empty list if there is no record.

    An open entry is closed with the time of the last line of metrics.jsonl. Raises UserError for a file that is not a
    record.
    """
    path = run / NAME
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["processes"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the record of a run ({error!r}): delete it to continue without it") from error
    if entries and "seconds" not in entries[-1]:
        line = _last_line(run)
        started = datetime.fromisoformat(entries[-1]["started"]).timestamp()
        entries[-1] |= _end(run, started, max(started, line.get("time", started))) | {"killed": True}
    return entries


def command(config: TrainConfig) -> str:
    """Returns the shortest `sobolev train` command of a resolved config, without its preset's defaults."""
    own = defaults(config.task, config.method, None, config.preset)
    regularizers = [settings(each).get("regularizer", (str, None))[1] for each in (config, own)]
    chosen = None if regularizers[0] == regularizers[1] else regularizers[0]
    line = ["sobolev", "train", config.task, "--method", config.method]
    line += ["--preset", config.preset] if config.preset != defaults(config.task, config.method).preset else []
    line += ["--size", config.size] if config.size != own.size else []
    usual = settings(filled(defaults(config.task, config.method, config.size, config.preset, chosen)))
    line += [] if chosen is None else ["--regularizer", chosen]
    for path, (_, value) in settings(config).items():
        if path not in ("task", "method", "size", "preset", "fresh") and value != usual[path][1]:
            line += words(path, value)
    return shlex.join(line)


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Returns the commit of the running code, with "+changes" if files differ from it; None outside a git checkout."""
    head = _git(folder, "rev-parse", "--short=10", "HEAD")
    if not head or not _git(folder, "ls-files", "--", Path(__file__).name):
        return None  # an installed package may lie inside another repository
    return head + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")


def machine() -> dict[str, Any]:
    """Returns the processor, the cores that this process may use, the memory in GiB, and jax's devices."""
    import jax

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    devices = [device.device_kind for device in jax.devices()]
    return {"processor": _processor(), "cores": len(cores()), "memory_gib": round(memory, 1), "devices": devices}


def _entry(config: TrainConfig, started: float) -> dict[str, Any]:
    import jax

    from sobolev._version import __version__

    code = {"version": __version__, "commit": commit(), "python": platform.python_version(), "jax": jax.__version__}
    return {"command": command(config), **code, "machine": machine(), "started": _utc(started)}


def _end(run: Path, started: float, ended: float) -> dict[str, Any]:
    return {"seconds": round(ended - started, 1), "env_steps": _last_line(run).get("step", 0)}


def _write(run: Path, entries: list[dict[str, Any]]) -> None:
    if entries:
        write_json(run / NAME, {"processes": entries}, indent=1)
    else:
        (run / NAME).unlink(missing_ok=True)


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _size(run: Path) -> tuple[int, int]:
    """Returns size and modification time of metrics.jsonl, one of which a process that trains changes."""
    path = run / "metrics.jsonl"
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0)


def _last_line(run: Path) -> dict[str, Any]:
    """Returns the last complete line of metrics.jsonl."""
    lines = last_lines(run / "metrics.jsonl")
    return lines[-1] if lines else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    """Returns the output of a git command in a folder; "" if git is missing or fails."""
    try:
        told = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(told.stdout).strip() if told.returncode == 0 else ""
