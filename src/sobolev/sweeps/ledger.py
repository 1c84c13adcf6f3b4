"""The ledger of a sweep: one JSON file that says of every run what it is and what happened to it.

Launchers and jobs on other machines write the same file. Every change reads, changes and replaces the file while it
holds a lock, so that no writer undoes what another has written.
"""

import dataclasses
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sobolev.config.codec import decode, encode
from sobolev.errors import UserError
from sobolev.sweeps.expand import PlannedRun
from sobolev.system.atomic_files import file_name, write_json

State = Literal["waiting", "queued", "running", "done", "stopped", "failed"]
"""waiting: not started; queued: submitted to the cluster; stopped: interrupted and saved, the next start resumes it;
failed: ended with an error."""


@dataclass(frozen=True)
class Entry:
    """The ledger's line on one run."""

    run: str
    """folder, relative to the sweep's"""
    task: str
    method: str
    label: str
    seeds: tuple[int, ...]
    steps: int
    """env steps per seed that make it complete"""
    command: tuple[str, ...]
    """the arguments of `sobolev` that train it"""
    needs: str | None = None
    """the run that must be done before"""
    state: State = "waiting"
    job: str | None = None
    """the cluster's id of its job"""
    host: str | None = None
    process: int | None = None
    """id, on that host, of the training, or of the launcher that is about to start it"""
    process_start: int | None = None
    """when that process began, in clock ticks since the host did: a later process can have the same id"""
    started: float | None = None
    """when the newest attempt began, in seconds since 1970"""
    ended: float | None = None
    seconds: float = 0.0
    """duration of all attempts that ended, together"""
    attempts: int = 0
    error: str | None = None
    """why a failed run failed: the last line of its output"""


NEW = {item.name: item.default for item in dataclasses.fields(Entry) if item.default is not dataclasses.MISSING}
"""The fields that an entry need not have, with what they are at first."""


class Sweep:
    """The ledger of one sweep, OUTPUT/sweep-NAME.json."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def name(self) -> str:
        """The sweep's name, as in the name of its file."""
        return self.path.stem.removeprefix("sweep-")

    @property
    def folder(self) -> Path:
        """The folder that holds the runs' folders."""
        return self.path.parent

    def log(self, run: str) -> Path:
        """The file that a run's output is appended to."""
        return self.folder / "logs" / (file_name(run) + ".log")

    def read(self) -> dict[str, Entry]:
        """All entries by run, in order. Raises UserError where the file does not exist or is not a sweep's."""
        try:
            return self._load()[0]
        except FileNotFoundError:
            raise UserError(f"{self.path} does not exist: sobolev sweep creates it") from None
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(f"{self.path} cannot be read as a sweep: {error}") from error

    def plan(self, entries: Sequence[Entry], facts: dict[str, Any]) -> None:
        """Add runs; those that the ledger has keep what happened to them.

        `facts` (command, version, suite) are stored beside them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            known = self.read() if self.path.exists() else {}
            for entry in entries:
                before = known.get(entry.run, entry)
                plan = {name: getattr(entry, name) for name in PLANNED}
                known[entry.run] = dataclasses.replace(before, **plan)
            self._write(known, facts)

    def change(self, run: str, how: Callable[[Entry], Entry]) -> Entry:
        """Replace a run's entry by `how` of it, and return the new one.

        Whatever the new entry depends on must be read from the one that `how` is given: an entry that was read before
        the call may be out of date.
        """
        with self._locked():
            entries, facts = self._load()
            before, entries[run] = entries[run], how(entries[run])
            if entries[run] != before:
                self._write(entries, facts)
        return entries[run]

    def update(self, run: str, **changes: Any) -> Entry:
        """Set fields of a run's entry, whatever they are now, and return the new entry."""
        return self.change(run, lambda entry: dataclasses.replace(entry, **changes))

    def claim(self, run: str) -> bool:
        """Whether this process may start a run: nobody else on this machine has claimed it or is training it.

        Of several launchers, one gets the run, which then counts as running until `ended`, or until this process and
        its training are gone.
        """
        free = False

        def how(entry: Entry) -> Entry:
            nonlocal free
            free = not (entry.state == "running" and _lives_here(entry))
            own = {"started": time.time(), "ended": None, "error": None, **_of_process(os.getpid())}
            return dataclasses.replace(entry, state="running", **own) if free else entry

        self.change(run, how)
        return free

    def begun(self, run: str, process: int) -> Entry:
        """An attempt at a run has started on this machine, as this process."""
        own = {"started": time.time(), "ended": None, "error": None, **_of_process(process)}

        def how(entry: Entry) -> Entry:
            return dataclasses.replace(entry, state="running", attempts=entry.attempts + 1, **own)

        return self.change(run, how)

    def handed_over(self, run: str, process: int) -> Entry:
        """The attempt continues as another process of this machine: the evaluation after the training."""
        return self.update(run, state="running", **_of_process(process))

    def ended(self, run: str, state: State, error: str | None = None) -> Entry:
        """The attempt has ended in this state."""
        now = time.time()

        def how(entry: Entry) -> Entry:
            seconds = round(entry.seconds + max(0.0, now - (entry.started or now)), 3)
            return dataclasses.replace(entry, state=state, ended=now, seconds=seconds, error=error, process=None)

        return self.change(run, how)

    def mark_stopped(self, run: str, gone: Callable[[Entry], bool]) -> Entry:
        """Set a run to "stopped" where `gone` of its entry, as it is now, says that nobody works on it any more."""

        def how(entry: Entry) -> Entry:
            return dataclasses.replace(entry, state="stopped", process=None) if gone(entry) else entry

        return self.change(run, how)

    def _load(self) -> tuple[dict[str, Entry], dict[str, Any]]:
        tree = json.loads(self.path.read_text(encoding="utf-8"))
        return {entry["run"]: decode(Entry, NEW | entry) for entry in tree.pop("runs")}, tree

    def _write(self, entries: dict[str, Entry], facts: dict[str, Any]) -> None:
        write_json(self.path, {**facts, "runs": [encode(e) for e in entries.values()]}, indent=1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path.parent / f".{self.path.stem}.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


PLANNED = ("run", "task", "method", "label", "seeds", "steps", "command", "needs")
"""The fields of an entry that the plan decides; the others say what happened."""


def entries(planned: Sequence[PlannedRun], output: Path) -> list[Entry]:
    """The entries of planned runs, none of them started; their folders lie in `output`."""
    return [
        Entry(
            run=str(run.folder),
            task=run.task,
            method=run.variant.method,
            label=run.variant.label,
            seeds=run.seeds,
            steps=run.config.steps,
            command=tuple(run.command(output / run.folder)),
            needs=None if run.needs is None else str(run.needs),
        )
        for run in planned
    ]


def sweeps_in(place: Path) -> list[Sweep]:
    """The sweep of a file, or all sweeps of a folder. Raises UserError where there is none."""
    if place.is_file():
        return [Sweep(place)]
    paths = sorted(place.glob("sweep-*.json"))
    if not paths:
        raise UserError(f"{place} holds no sweep: give the folder that sobolev sweep named, or its sweep-….json")
    return [Sweep(path) for path in paths]


def alive(entry: Entry) -> bool:
    """Whether a run that is recorded as running may be so; the processes of another host cannot be seen from here."""
    if entry.process is None or entry.host != socket.gethostname():
        return entry.state == "running"
    return _lives_here(entry)


def _lives_here(entry: Entry) -> bool:
    """Whether the entry's process is one of this host and has not ended."""
    if entry.process is None or entry.host != socket.gethostname():
        return False
    try:
        os.kill(entry.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process
    return entry.process_start is None or _start(entry.process) in (None, entry.process_start)


def _of_process(process: int) -> dict[str, Any]:
    """The fields of an entry that say which process of this host works on it."""
    return {"host": socket.gethostname(), "process": process, "process_start": _start(process)}


def _start(process: int) -> int | None:
    """When a process of this host began, in clock ticks since the host did; None where the system does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # field 22 of proc(5); the second, in brackets, may hold blanks
