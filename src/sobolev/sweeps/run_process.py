"""Runs one run of a sweep: `sobolev train`, then `sobolev evaluate`, as child processes, recorded in the ledger."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import ParamSpec, TypeVar

from sobolev.errors import UserError
from sobolev.sweeps.ledger import State, Sweep
from sobolev.sweeps.run_status import evaluated, saved_steps
from sobolev.system.output import reason
from sobolev.system.signals import NUMBERS

P = ParamSpec("P")
T = TypeVar("T")

PROGRAM = (sys.executable, "-m", "sobolev")
"""The program to which the commands of an entry are arguments."""
JAX_NOTE = "-" * 20 + "\nFor simplicity"
"""Beginning of the note that jax appends to an exception."""
LEFT = tuple(status for number in NUMBERS for status in (128 + number, -number))
"""Exit statuses of a command that a signal ended: after it saved, or before it began."""
IN_VAIN = {
    "train": "its training ended without an error, but its newest checkpoint has too few steps",
    "evaluate": "its evaluation was not kept: evaluation.json is missing, or is not of the newest checkpoint",
}
"""Why a run fails whose command has ended well and is still left to do."""


class Patience:
    """Calls functions that read and write the files of a sweep. An error of theirs, as of a full disk, ends nothing:
    the first one is reported, and the caller tries again later."""

    def __init__(self, say: Callable[[str], None]):
        self.say, self.told, self.failed = say, False, False
        """`failed`: whether the latest call has"""

    def __call__(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """Returns the result of `call`; None if it failed."""
        self.failed = False
        try:
            return call(*arguments, **named)
        except (OSError, UserError) as error:
            self.failed = True
            if not self.told:
                self.told = True
                self.say(f"the sweep's files cannot be read or written ({reason(error)}): trying again until they can")
            return None


class Work:
    """A run in progress, which this process has claimed. Call `poll` until it returns a state."""

    def __init__(
        self,
        sweep: Sweep,
        run: str,
        episodes: int,
        environment: Mapping[str, str] | None = None,
        cores: Collection[int] | None = None,
    ):
        """`episodes` are those of the evaluation after training, 0 for none. The child processes get `environment` and
        `cores`."""
        self.sweep, self.run, self.episodes = sweep, run, episodes
        self.folder = sweep.folder / run
        self.environment, self.cores = {**os.environ, **(environment or {})}, cores
        self.child: subprocess.Popen | None = None
        """the newest child process"""
        self.words: list[str] = []
        """its command"""
        self.recorded = True
        """whether it is in the ledger"""
        self.stopped = False
        self.error: str | None = None
        """why the run has failed"""
        self.log_start = 0

    def poll(self) -> State | None:
        """Starts the next command if none is running. Returns the state in which the run has ended; None while it is in
        progress.

        Raises OSError or UserError if the ledger or the log cannot be read or written. The next call then goes on from
        there: nothing is forgotten before it has been recorded.
        """
        if self.child is None:
            return self._end("stopped") if self.stopped else self._next()
        status = self.child.poll()
        if not self.stopped:
            self._record()
        if status is None:
            return None
        if self.stopped or status in LEFT:
            return self._end("stopped")
        return self._next() if status == 0 else self._end("failed", self._last_words(status))

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Asks the run to save and exit, or kills it (SIGKILL). `poll` then returns a state when it has ended."""
        self.stopped = True
        if self.child is not None:
            self.child.send_signal(number)

    def wait(self) -> None:
        """Waits until the current child process has ended. A signal handler may call it during `poll`."""
        if self.child is not None and self.child.returncode is None:
            os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)

    def _next(self) -> State | None:
        """Starts the next command. Ends the run if it is complete, or if the same command would only be repeated."""
        words = self._left()
        if words is None:
            return self._end("done")
        if words == self.words:
            return self._end("failed", IN_VAIN[words[0]])
        log = self.sweep.log(self.run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            head = f"== {time.strftime('%Y-%m-%d %H:%M:%S')}  {shlex.join(['sobolev', *words])}\n"
            file.write(head.encode())
            file.flush()
            self.log_start = file.tell()
            self.child = self._spawn([*PROGRAM, *words], file)
            self.words, self.recorded = words, False
        if self.stopped:  # stopped meanwhile, when there was no child process to signal
            self.child.send_signal(signal.SIGTERM)
        if self.cores:
            os.sched_setaffinity(self.child.pid, self.cores)  # before it has threads, which inherit the mask
        self._record()
        return None

    def _record(self) -> None:
        """Records the child process in the ledger, unless that has been done."""
        if self.child is not None and not self.recorded:
            record = self.sweep.begun if self.words[0] == "train" else self.sweep.handed_over
            record(self.run, self.child.pid)
            self.recorded = True

    def _left(self) -> list[str] | None:
        """Returns the next command; None if the run is complete."""
        entry = self.sweep.read()[self.run]
        if saved_steps(self.folder) < entry.steps:
            return list(entry.command)
        if self.episodes and not evaluated(self.folder, self.episodes):
            return ["evaluate", str(self.folder), "--episodes", str(self.episodes)]
        return None

    def _spawn(self, command: list[str], log) -> subprocess.Popen:
        """Starts a child process in a session of its own, so that Ctrl-C reaches the launcher only. SIGUSR2, with which
        a cluster warns its jobs, is blocked in it."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _end(self, state: State, error: str | None = None) -> State:
        try:
            self._record()
            self.sweep.ended(self.run, state, error)
        except OSError:
            if not self.stopped:
                raise
            # This process is about to leave and waits for no disk: a run whose process is gone counts as stopped.
        self.error = error
        return state

    def _last_words(self, status: int) -> str:
        """Returns why a child process failed: the last line of its output."""
        if status < 0:
            name = signal.Signals(-status).name
            return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        try:
            with self.sweep.log(self.run).open("rb") as file:
                file.seek(self.log_start)
                text = file.read().decode(errors="replace").partition("\n" + JAX_NOTE)[0]
        except OSError as error:
            return f"exit status {status}, with a log that cannot be read ({reason(error)})"
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("sobolev: ") if lines else f"exit status {status}, without a message"
