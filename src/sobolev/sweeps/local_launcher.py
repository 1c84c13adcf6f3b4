"""Runs a sweep on this machine: one run at a time, or several side by side, each with its share of the machine."""

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from sobolev.checkpoints.run_folder import in_use
from sobolev.sweeps.ledger import Entry, Sweep, alive, given_up
from sobolev.sweeps.run_process import Patience, Work
from sobolev.sweeps.run_status import evaluated, saved_steps
from sobolev.system.resources import cores
from sobolev.system.signals import NUMBERS


@dataclass(frozen=True)
class Share:
    """The part of the machine for one of several runs."""

    cores: tuple[int, ...]
    environment: dict[str, str]


def shares(jobs: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Share]:
    """Divides the machine among `jobs` runs: cores in contiguous parts, GPUs in turn.

    A single run gets the whole machine, without restrictions. Runs on the same GPU get equal parts of its memory.
    """
    if jobs == 1:
        return [Share((), {})]
    divided = []
    for index in range(jobs):
        own = cores[index * len(cores) // jobs : (index + 1) * len(cores) // jobs] if len(cores) >= jobs else ()
        environment = {}
        if gpus:
            mine = [gpu for number, gpu in enumerate(gpus) if number % jobs == index] or [gpus[index % len(gpus)]]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
            together = math.ceil(jobs / len(gpus))
            if together > 1:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / together:.2f}"
        divided.append(Share(tuple(own), environment))
    return divided


def cores_here() -> Sequence[int]:
    """Returns the cores that this process may use; none where a process cannot be bound to cores."""
    return cores() if hasattr(os, "sched_setaffinity") else ()


def gpus_here() -> list[str]:
    """Returns the NVIDIA GPUs that this process may use, as in CUDA_VISIBLE_DEVICES, without initialising them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def left_to_do(sweep: Sweep, runs: Sequence[str], episodes: int) -> list[Entry]:
    """Returns the entries of the runs that are not complete, and records the complete ones as done.

    A run that is recorded as running but is not running any more (its machine crashed, for example) becomes stopped,
    and so does one whose submission to the cluster was given up.
    """
    left, known = [], sweep.read()
    for run in runs:
        entry, folder = known[run], sweep.folder / run
        if saved_steps(folder) >= entry.steps and (not episodes or evaluated(folder, episodes)):
            if entry.state != "done":
                sweep.update(run, state="done", error=None, process=None)
            continue
        if entry.state in ("done", "running", "queued"):
            entry = sweep.mark_stopped(run, _idle)
        left.append(entry)
    return left


def _idle(entry: Entry) -> bool:
    return entry.state == "done" or (entry.state == "running" and not alive(entry)) or given_up(entry)


class Stopping:
    """A context manager that handles signals. The first asks the runs to save and exit, a second Ctrl-C kills them.

    Runs that are in progress when the block ends, by an error, are asked to save and exit too, and waited for."""

    def __init__(self, works: list[Work]):
        self.works = works
        self.number: int | None = None

    def __enter__(self) -> "Stopping":
        self.descriptor = signal.set_wakeup_fd(-1)  # replaces the handlers of `sobolev.system.signals`
        heard = [number for number in NUMBERS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        self.old = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for work in self.works:
            work.stop()
        for work in self.works:
            if work.child is not None:
                work.child.wait()
        for number, handler in self.old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self.descriptor)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        again, self.number = self.number is not None, self.number or number
        for work in self.works:
            work.stop(signal.SIGKILL if again and number == signal.SIGINT else signal.SIGTERM)


def run_here(
    sweep: Sweep,
    runs: Sequence[str],
    jobs: int,
    episodes: int,
    say: Callable[[str], None],
    watch: Callable[[], None] = lambda: None,
    pause: float = 0.2,
) -> int:
    """Runs all runs that are not complete, `jobs` at a time. Calls `watch` every `pause` seconds.

    A failed run does not stop the others. Where ledger or logs cannot be written, it says so once and tries again until
    they can, or until a signal. Returns 0, 1 if a run failed, or 128 + the number of the signal that ended the sweep.
    """
    waiting = [entry.run for entry in left_to_do(sweep, runs, episodes)]
    free, active = shares(jobs, cores_here(), gpus_here()), list[Work]()
    places: dict[str, Share] = {}
    patience = Patience(say)
    with Stopping(active) as stopping:
        while active or (waiting and stopping.number is None):
            while waiting and free and stopping.number is None:
                run = patience(_next, sweep, waiting, say)
                if run is None:
                    break
                places[run] = share = free.pop(0)
                work = Work(sweep, run, episodes, share.environment, share.cores)
                active.append(work)
                if stopping.number is not None:  # the signal came before it was among the active
                    work.stop()
                say(f"{run}: started")
            if waiting and not active and not patience.failed:
                break  # none of the remaining runs can start
            for work in list(active):
                state = patience(work.poll)
                if state is not None:
                    active.remove(work)
                    free.append(places[work.run])
                    say(f"{work.run}: {state}" + (f": {work.error}" if work.error else ""))
            patience(watch)
            time.sleep(pause if active or waiting else 0)
    return 128 + stopping.number if stopping.number else int(any(_failed(sweep, runs)))


def _failed(sweep: Sweep, runs: Sequence[str]) -> list[Entry]:
    known = sweep.read()
    return [known[run] for run in runs if known[run].state == "failed"]


def _next(sweep: Sweep, waiting: list[str], say: Callable[[str], None]) -> str | None:
    """Takes the first run that may start from `waiting`, and claims it. Removes and reports those that cannot start."""
    known = sweep.read()
    for run in list(waiting):
        needs = known[run].needs
        ready = needs is None or known[needs].state == "done"
        if in_use(sweep.folder / run) or (ready and not sweep.claim(run)):
            waiting.remove(run)
            say(f"{run}: skipped, another process is training it")
        elif needs is not None and known[needs].state == "failed":
            sweep.update(run, state="failed", error=f"it starts from {needs}, which failed")
            waiting.remove(run)
        elif ready:
            waiting.remove(run)
            return run
    return None
