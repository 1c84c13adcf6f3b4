"""The ledger of a sweep: a JSON file with an entry for each run: its settings, its state, and its attempts.

Launchers and jobs on several machines write the same file. Every change reads, modifies and replaces the file under a
lock, so that no writer overwrites the changes of another.
"""

import dataclasses
import fcntl
import json
import os
import signal
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
from sobolev.system.output import reason

State = Literal["waiting", "queued", "running", "done", "stopped", "failed"]
"""waiting: not started; queued: submitted to the cluster; stopped: interrupted and saved, resumed at the next start;
failed: ended with an error."""


@dataclass(frozen=True)
class Entry:
    """The entry of one run."""

    run: str
    """folder, relative to the sweep's"""
    task: str
    method: str
    label: str
    seeds: tuple[int, ...]
    steps: int
    """env steps per seed at which it is complete"""
    command: tuple[str, ...]
    """arguments of `sobolev` that train it"""
    needs: str | None = None
    """run that has to be done before"""
    state: State = "waiting"
    job: str | None = None
    """id of its job on the cluster"""
    host: str | None = None
    process: int | None = None
    """process id on that host: of the training, or of the launcher that is about to start or to submit it"""
    process_start: int | None = None
    """start time of that process, in clock ticks since the host booted; a later process may have the same id"""
    started: float | None = None
    """start time of the newest attempt, in seconds since 1970"""
    ended: float | None = None
    seconds: float = 0.0
    """total duration of all attempts that have ended"""
    attempts: int = 0
    error: str | None = None
    """why the run failed: the last line of its output"""


SUBMISSION = 3600.0
"""Seconds after which a submission from another host, whose processes cannot be checked, counts as given up."""
NEW = {item.name: item.default for item in dataclasses.fields(Entry) if item.default is not dataclasses.MISSING}
"""The optional fields of an entry, with their initial values."""


class Sweep:
    """The ledger of one sweep, OUTPUT/sweep-NAME.json."""

    def __init__(self, path: Path):
        self.path = path
        self._held: dict[str, int] = {}
        """descriptors of the locks of the runs that this object has claimed"""

    @property
    def name(self) -> str:
        """Name of the sweep, from the name of its file."""
        return self.path.stem.removeprefix("sweep-")

    @property
    def folder(self) -> Path:
        """Folder that holds the folders of the runs."""
        return self.path.parent

    def log(self, run: str) -> Path:
        """Returns the file to which the output of a run is appended."""
        return self.folder / "logs" / (file_name(run) + ".log")

    def read(self) -> dict[str, Entry]:
        """Returns all entries by run, in order. Raises UserError if the file does not exist or is not a ledger."""
        try:
            return self._load()[0]
        except FileNotFoundError:
            raise UserError(f"{self.path} does not exist: sobolev sweep creates it") from None
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(f"{self.path} cannot be read as a sweep: {error}") from error

    def plan(self, entries: Sequence[Entry], facts: dict[str, Any]) -> None:
        """Adds runs. Runs that are in the ledger already keep their states.

        `facts` (command, version, suite) are stored with them.
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
        """Replaces the entry of a run by `how(entry)`, and returns the new one.

        `how` must use only the entry that it is given: one that was read before the call may be out of date.
        """
        with self._locked():
            entries, facts = self._load()
            before, entries[run] = entries[run], how(entries[run])
            if entries[run] != before:
                self._write(entries, facts)
        return entries[run]

    def update(self, run: str, **changes: Any) -> Entry:
        """Sets fields of a run's entry, whatever their values are, and returns the new entry."""
        return self.change(run, lambda entry: dataclasses.replace(entry, **changes))

    def claim(self, run: str, job: str | None = None) -> bool:
        """Claims a run for this process, which may be a job on the cluster. Returns whether it may start it: no other
        process has claimed it or is training it.

        Only one of several launchers gets the run, also where each has a ledger of its own in the same folder. The run
        then counts as running until `ended`, or until this process and its training have ended.
        """
        free, first = False, run not in self._held
        if first and not self._hold(run):
            return False

        def how(entry: Entry) -> Entry:
            nonlocal free
            free = not (entry.state == "running" and _lives_here(entry))
            own = {"started": time.time(), "ended": None, "error": None, **_of_process(os.getpid())}
            return dataclasses.replace(entry, state="running", job=job, **own) if free else entry

        try:
            self.change(run, how)
        finally:
            if first and not free:
                self._release(run)
        return free

    def submitting(self, run: str) -> Entry:
        """Records that this process is about to submit a run to the cluster: it is queued, and has no job yet."""
        own = {"started": time.time(), "error": None, "job": None, **_of_process(os.getpid())}
        return self.update(run, state="queued", **own)

    def begun(self, run: str, process: int) -> Entry:
        """Records that an attempt has started on this machine, in a process."""
        own = {"started": time.time(), "ended": None, "error": None, **_of_process(process)}

        def how(entry: Entry) -> Entry:
            return dataclasses.replace(entry, state="running", attempts=entry.attempts + 1, **own)

        return self.change(run, how)

    def handed_over(self, run: str, process: int) -> Entry:
        """Records that the attempt continues in another process of this machine: the evaluation after the training."""
        return self.update(run, state="running", **_of_process(process))

    def ended(self, run: str, state: State, error: str | None = None) -> Entry:
        """Records that the attempt has ended in a state."""
        now = time.time()

        def how(entry: Entry) -> Entry:
            seconds = round(entry.seconds + max(0.0, now - (entry.started or now)), 3)
            return dataclasses.replace(entry, state=state, ended=now, seconds=seconds, error=error, process=None)

        entry = self.change(run, how)
        self._release(run)
        return entry

    def mark_stopped(self, run: str, gone: Callable[[Entry], bool]) -> Entry:
        """Sets a run to "stopped" if `gone(entry)`, for its current entry, says that no process works on it."""

        def how(entry: Entry) -> Entry:
            return dataclasses.replace(entry, state="stopped", process=None) if gone(entry) else entry

        return self.change(run, how)

    def _hold(self, run: str) -> bool:
        """Takes the lock of a run, which all sweeps of the folder share, and which the system gives back when this
        process ends. Returns whether no other process has it."""
        path = self.log(run).with_suffix(".claim")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            pass  # the file system has no such locks: the ledger alone tells who has the run
        self._held[run] = descriptor
        return True

    def _release(self, run: str) -> None:
        if run in self._held:
            os.close(self._held.pop(run))

    def _load(self) -> tuple[dict[str, Entry], dict[str, Any]]:
        tree = json.loads(self.path.read_text(encoding="utf-8"))
        return {entry["run"]: decode(Entry, NEW | entry) for entry in tree.pop("runs")}, tree

    def _write(self, entries: dict[str, Entry], facts: dict[str, Any]) -> None:
        write_json(self.path, {**facts, "runs": [encode(e) for e in entries.values()]}, indent=1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The ledger's lock. In a job on a cluster, the warning before its end waits until it is free: the handler
        takes it too."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            with (self.path.parent / f".{self.path.stem}.lock").open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:
                    what = f"{self.path.parent} cannot be locked: {reason(error)}"
                    raise UserError(f"{what}; choose an --output on a file system that has locks") from error
                yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


PLANNED = ("run", "task", "method", "label", "seeds", "steps", "command", "needs")
"""The fields of an entry that come from the plan; all others record what happened."""


def entries(planned: Sequence[PlannedRun], output: Path) -> list[Entry]:
    """Returns the entries of planned runs that have not started, with their folders in `output`."""
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
    """Returns the sweep of a file, or all sweeps of a folder. Raises UserError if there is none."""
    if place.is_file():
        return [Sweep(place)]
    paths = sorted(place.glob("sweep-*.json"))
    if not paths:
        raise UserError(f"{place} holds no sweep: give the folder that sobolev sweep printed, or its file sweep-….json")
    return [Sweep(path) for path in paths]


def alive(entry: Entry) -> bool:
    """Returns whether a run that is recorded as running may be running; processes of other hosts cannot be checked."""
    if entry.process is None or entry.host != socket.gethostname():
        return entry.state == "running"
    return _lives_here(entry)


def given_up(entry: Entry) -> bool:
    """Returns whether a run is recorded as queued, but has no job, and nobody is submitting it any more."""
    if entry.state != "queued" or entry.job is not None:
        return False
    if entry.process is not None and entry.host == socket.gethostname():
        return not _lives_here(entry)
    return time.time() - (entry.started or 0.0) > SUBMISSION


def _lives_here(entry: Entry) -> bool:
    """Returns whether the entry's process is one of this host that has not ended."""
    if entry.process is None or entry.host != socket.gethostname():
        return False
    try:
        os.kill(entry.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # a process of another user
    return entry.process_start is None or _start(entry.process) in (None, entry.process_start)


def _of_process(process: int) -> dict[str, Any]:
    """Returns the fields of an entry that identify a process of this host."""
    return {"host": socket.gethostname(), "process": process, "process_start": _start(process)}


def _start(process: int) -> int | None:
    """Returns the start time of a process of this host, in clock ticks since boot; None if it is not known."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(
        text.rpartition(")")[2].split()[19]
    )  # field 22 in proc(5); the second field, in parentheses, may contain spaces
