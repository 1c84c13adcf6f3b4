"""Runs one run of a sweep: `sobolev train`, then `sobolev evaluate`, as child processes, recorded in the ledger."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping

from sobolev.sweeps.ledger import State, Sweep
from sobolev.sweeps.run_status import evaluated, saved_steps
from sobolev.system.signals import NUMBERS

PROGRAM = (sys.executable, "-m", "sobolev")
"""The program to which the commands of an entry are arguments."""
JAX_NOTE = "-" * 20 + "\nFor simplicity"
"""Beginning of the note that jax appends to an exception."""
LEFT = tuple(status for number in NUMBERS for status in (128 + number, -number))
"""Exit statuses of a command that a signal ended: after it saved, or before it began."""


class Work:
    """A run in progress. Call `start`, then `poll` until it returns a state."""

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
        self.stopped = False
        self.log_start = 0

    def start(self) -> None:
        """Starts the next command."""
        self._next()

    def poll(self) -> State | None:
        """Returns the state in which the run has ended; None while it is in progress."""
        if self.child is None:
            return self._end("done")
        status = self.child.poll()
        if status is None:
            return None
        self.child = None
        if status == 0 and not self.stopped:
            self._next()
            return None
        if self.stopped or status in LEFT:
            return self._end("stopped")
        return self._end("failed", self._last_words(status))

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Asks the run to save and exit, or kills it (SIGKILL). `poll` then returns a state when it has ended."""
        self.stopped = True
        if self.child is not None:
            self.child.send_signal(number)

    def wait(self) -> None:
        """Waits until the current child process has ended. A signal handler may call it during `poll`."""
        if self.child is not None and self.child.returncode is None:
            os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOWAIT)

    def _next(self) -> None:
        words = self._left()
        if words is None:
            self.child = None
            return
        log = self.sweep.log(self.run)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            head = f"== {time.strftime('%Y-%m-%d %H:%M:%S')}  {shlex.join(['sobolev', *words])}\n"
            file.write(head.encode())
            file.flush()
            self.log_start = file.tell()
            self.child = self._spawn([*PROGRAM, *words], file)
        if self.stopped:  # stopped meanwhile, when there was no child process to signal
            self.child.send_signal(signal.SIGTERM)
        if words[0] == "train":
            self.sweep.begun(self.run, self.child.pid)
        else:
            self.sweep.handed_over(self.run, self.child.pid)

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
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self.cores:
            os.sched_setaffinity(child.pid, self.cores)  # before it has threads, which inherit the mask
        return child

    def _end(self, state: State, error: str | None = None) -> State:
        self.sweep.ended(self.run, state, error)
        return state

    def _last_words(self, status: int) -> str:
        """Returns why a child process failed: the last line of its output."""
        if status < 0:
            name = signal.Signals(-status).name
            return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        with self.sweep.log(self.run).open("rb") as file:
            file.seek(self.log_start)
            text = file.read().decode(errors="replace").partition("\n" + JAX_NOTE)[0]
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("sobolev: ") if lines else f"exit status {status}, without a message"
