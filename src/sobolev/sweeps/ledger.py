"""A sweep's record: one JSON file that says of every run what it is and what happened to it.

Launchers and jobs on other machines write the same file, under a lock, each time whole and renamed into place.
"""

import dataclasses
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sobolev.config.codec import decode, encode
from sobolev.errors import UserError
from sobolev.sweeps.expand import Cell
from sobolev.system.atomic_files import file_name, write_json

State = Literal["waiting", "queued", "running", "done", "stopped", "failed"]
"""waiting: not begun; queued: given to the cluster; stopped: interrupted and saved, the next start goes on; failed:
ended with an error."""


@dataclass(frozen=True)
class Entry:
    """What the file says of one run."""

    run: str
    """folder, relative to the sweep's"""
    task: str
    method: str
    label: str
    seeds: tuple[int, ...]
    steps: int
    """env steps per seed that make it complete"""
    command: tuple[str, ...]
    """what `sobolev` is given"""
    needs: str | None = None
    """the run that must be done before"""
    state: State = "waiting"
    job: str | None = None
    """the cluster's number of its job"""
    host: str | None = None
    process: int | None = None
    """of the training, on that host"""
    started: float | None = None
    """of the newest attempt, in seconds since 1970"""
    ended: float | None = None
    seconds: float = 0.0
    """all attempts that ended, together"""
    attempts: int = 0
    error: str | None = None
    """of a failed run: its last words"""


class Sweep:
    """The file of one sweep, OUTPUT/sweep-NAME.json."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def name(self) -> str:
        """The sweep's name, as in the file's."""
        return self.path.stem.removeprefix("sweep-")

    @property
    def folder(self) -> Path:
        """The folder in which the runs' folders lie."""
        return self.path.parent

    def log(self, run: str) -> Path:
        """Where a run's output goes."""
        return self.folder / "logs" / (file_name(run) + ".log")

    def read(self) -> dict[str, Entry]:
        """All entries by run, in order. Raises UserError where there is no such file, or it is none of a sweep."""
        try:
            tree = json.loads(self.path.read_text(encoding="utf-8"))
            return {entry["run"]: decode(Entry, entry) for entry in tree["runs"]}
        except FileNotFoundError:
            raise UserError(f"{self.path} does not exist: sobolev sweep makes it") from None
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(f"{self.path} cannot be read as a sweep: {error}") from error

    def plan(self, entries: Sequence[Entry], facts: dict[str, Any]) -> None:
        """Write down runs to come; those that the file knows keep what happened to them.

        `facts` (command, version, suite) go beside them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            known = self.read() if self.path.exists() else {}
            for entry in entries:
                before = known.get(entry.run, entry)
                plan = {name: getattr(entry, name) for name in PLANNED}
                known[entry.run] = dataclasses.replace(before, **plan)
            self._write(known, facts)

    def update(self, run: str, **changes: Any) -> Entry:
        """Change what the file says of one run, and return it."""
        with self._locked():
            tree = json.loads(self.path.read_text(encoding="utf-8"))
            entries = {entry["run"]: decode(Entry, entry) for entry in tree.pop("runs")}
            entries[run] = dataclasses.replace(entries[run], **changes)
            self._write(entries, tree)
        return entries[run]

    def begun(self, run: str, process: int) -> Entry:
        """An attempt at a run has begun on this machine."""
        attempts = self.read()[run].attempts + 1
        here = {"host": socket.gethostname(), "process": process, "started": time.time(), "ended": None}
        return self.update(run, state="running", attempts=attempts, error=None, **here)

    def ended(self, run: str, state: State, error: str | None = None) -> Entry:
        """The attempt has ended so."""
        now, entry = time.time(), self.read()[run]
        seconds = entry.seconds + max(0.0, now - (entry.started or now))
        return self.update(run, state=state, ended=now, seconds=round(seconds, 3), error=error, process=None)

    def _write(self, entries: dict[str, Entry], facts: dict[str, Any]) -> None:
        write_json(self.path, {**facts, "runs": [encode(e) for e in entries.values()]}, indent=1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path.parent / f".{self.path.stem}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


PLANNED = ("run", "task", "method", "label", "seeds", "steps", "command", "needs")
"""The fields of an entry that the plan decides; the others tell what happened."""


def entries(found: Sequence[Cell], output: Path) -> list[Entry]:
    """The entries of cells, still to be begun; their folders lie in `output`."""
    return [
        Entry(
            run=str(cell.folder),
            task=cell.task,
            method=cell.variant.method,
            label=cell.variant.label,
            seeds=cell.seeds,
            steps=cell.config.steps,
            command=tuple(cell.command(output / cell.folder)),
            needs=None if cell.needs is None else str(cell.needs),
        )
        for cell in found
    ]


def sweeps_in(place: Path) -> list[Sweep]:
    """The sweep of a file, or all sweeps of a folder. Raises UserError where there is none."""
    if place.is_file():
        return [Sweep(place)]
    found = sorted(place.glob("sweep-*.json"))
    if not found:
        raise UserError(f"{place} holds no sweep: give the folder that sobolev sweep named, or its sweep-….json")
    return [Sweep(path) for path in found]


def alive(entry: Entry) -> bool:
    """Whether a run that is said to train may do so: on another host nobody here can tell."""
    if entry.process is None or entry.host != socket.gethostname():
        return entry.state == "running"
    try:
        os.kill(entry.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
