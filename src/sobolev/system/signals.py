"""Exits cleanly on signals: SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal was closed).

A thread receives the signals, so that they are noticed whatever the main thread does (during a long compilation, for
example), and no exception is raised inside code that may swallow it. What the first signal does depends on the block in
which the main thread is:

none                  a command exits at once (see `listen`)
`held()`              the next `check` or `wait_for` raises `Interrupted`, so that the block can clean up; a command
                      that has not noticed the signal after `NOTICE` seconds, or not exited after `LIMIT`, exits
                      without that (workers then close their environments by themselves)
`held(saving=True)`   the same without time limits: an update may take long, and its result is saved

A second Ctrl-C exits at once in any case. In a program other than our commands, signals are received inside `heard()`
only, and there only a second Ctrl-C ends the process. This module imports little, since a command needs it first.
"""

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 4.0
"""Seconds after a signal for environments to return from a call and to close, in total."""
LIMIT = 5.0
"""Seconds after a signal within which a command that has nothing to save exits."""
NOTICE = 1.5
"""Seconds within which such a command notices a signal; otherwise (it compiles, for example) it exits at once."""


class Interrupted(BaseException):
    """A signal asks this process to exit. Raised by `check` and `wait_for`, and inside an environment that is stepped
    in this process and does not return."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Listener:
    """Receives the signals of this process; created and removed in the main thread."""

    def __init__(self, command: bool):
        self.command, self.main = command, threading.get_ident()
        self.number: int | None = None
        self.since = 0.0
        """time of the first signal, or of the end of saving after it"""
        self.noticed = False
        """whether the main thread has noticed it"""
        self.held: list[bool] = []
        """the blocks of `held`, innermost last: whether each one saves"""
        self.last: list[Callable[[], None]] = []
        """called at exit if the main thread does not get to it"""
        self.foreign = self.poked = False
        """whether code of an environment runs in this process, and whether to raise `Interrupted` in it"""
        self.foreign_limit = 0.0
        """time until which it may run after a signal"""
        self.reader, self.writer = os.pipe()
        self.woken, self.wake = os.pipe()
        os.set_blocking(self.writer, False)
        self.before = {number: signal.getsignal(number) for number in NUMBERS}
        self.fd_before = -1

    def install(self) -> None:
        """Installs the handlers, again if a library has replaced them. An ignored SIGHUP (nohup) stays ignored."""
        for number in NUMBERS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        before = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        self.fd_before = self.fd_before if before == self.writer else before

    def remove(self) -> None:
        signal.set_wakeup_fd(self.fd_before)
        for number, handler in self.before.items():
            signal.signal(number, handler)
        os.close(self.writer)  # the thread ends, and closes the others

    def run(self) -> None:
        """The thread."""
        while True:
            ready, _, _ = select.select([self.reader], [], [], self._seconds_left())
            received = os.read(self.reader, 64) if ready else b"\0"
            if not received:
                break
            for number in received:
                if number in NUMBERS:
                    self._hear(number)
            if self._seconds_left() == 0:
                self._at_the_limit()
        for descriptor in (self.reader, self.woken, self.wake):
            os.close(descriptor)

    def changed(self) -> None:
        """Makes the thread compute its time limit again."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b"\0")

    def _hear(self, number: int) -> None:
        if self.number is not None:
            if number == signal.SIGINT:
                self._leave("left without saving" if any(self.held) else "")
            return
        self.number, self.since = number, time.monotonic()
        self.foreign_limit = self.since + PATIENCE
        os.write(self.wake, b"\0")
        if self.command and not self.held:
            self._leave()
        doing = "saving, then leaving" if any(self.held) else "leaving"
        echo = "\n" if os.isatty(2) else ""  # on a terminal, ^C is on this line
        _say(f"{echo}{doing} (Ctrl-C again leaves at once)")

    def _seconds_left(self) -> float | None:
        if self.number is None:
            return None
        if self.foreign:
            limit = self.foreign_limit
        elif self.command and not any(self.held):
            limit = self.since + (LIMIT if self.noticed else NOTICE)
        else:
            return None
        return max(0.0, limit - time.monotonic())

    def _at_the_limit(self) -> None:
        if self.foreign and not self.poked:
            self.poked, self.foreign_limit = True, time.monotonic() + 1.0
            signal.pthread_kill(self.main, signal.SIGTERM)  # interrupts a sleep; then `_handle` raises
        elif self.command:
            self._leave("left without saving: an environment does not return" if any(self.held) else "")
        else:  # only a command may end the process
            self.foreign = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Python's signal handler, in the main thread. The listening thread does not depend on it."""
        if self.poked and self.foreign and self.number is not None:
            self.foreign, self.noticed = False, True
            raise Interrupted(self.number)

    def _leave(self, line: str = "") -> None:
        for last in [] if self.foreign else self.last:
            thread = threading.Thread(target=last, daemon=True)
            thread.start()
            thread.join(1.0)
        if os.isatty(2):
            os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
        if line:
            _say(line).join(1.0)
        os._exit(128 + (self.number or signal.SIGINT))


_listener: _Listener | None = None


def hold_back() -> None:
    """Blocks signals until `listen`, also if this process replaces itself by another program (exec)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def listen() -> None:
    """Receives signals until this process ends. For commands, which call it first and may be ended at any time."""
    global _listener
    if _listener is None:
        _listener = _started(command=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Receives signals inside the block, unless that is done already. Does nothing in threads other than the main one,
    where Python does not allow handlers."""
    global _listener
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _listener is not None:
        _listener.install()
        yield
    else:
        _listener = _started(command=False)
        try:
            yield
        finally:
            listener, _listener = _listener, None
            listener.remove()


def _started(command: bool) -> _Listener:
    listener = _Listener(command)
    listener.install()
    threading.Thread(target=listener.run, name="signals", daemon=True).start()
    return listener


@contextlib.contextmanager
def held(saving: bool = False, last: Callable[[], None] | None = None) -> Iterator[None]:
    """A block that has to clean up before this process exits. Raises Interrupted at the end of the outermost block if a
    signal arrived too late to be raised inside.

    `last` is called in another thread, for a second at most, if the process exits without leaving the block.
    """
    listener = _listener
    if listener is None:
        yield
        return
    listener.held.append(saving)
    listener.last += [last] if last else []
    try:
        yield
    finally:
        listener.held.pop()
        if last:
            listener.last.remove(last)
        if listener.number is not None:
            if saving:
                listener.since, listener.noticed = time.monotonic(), True
            listener.changed()
    if not listener.held:
        check()


@contextlib.contextmanager
def foreign() -> Iterator[None]:
    """A block that runs code of an environment in this process. Interrupted is raised in it if it still runs `PATIENCE`
    seconds after a signal."""
    listener = _listener
    if listener is None:
        yield
        return
    listener.foreign_limit = time.monotonic() + time_left(math.inf)
    listener.foreign, listener.poked = True, False
    try:
        if listener.number is not None:
            listener.changed()
        yield
    finally:
        listener.foreign = False


def received() -> int | None:
    """Returns the number of the first signal; None if there was none."""
    return None if _listener is None else _listener.number


def check() -> None:
    """Raises Interrupted if a signal has arrived."""
    if _listener is not None and _listener.number is not None:
        _listener.noticed = True
        raise Interrupted(_listener.number)


def wait_for(descriptor: int) -> None:
    """Waits until a file descriptor can be read. Raises Interrupted if a signal has arrived, or arrives meanwhile."""
    if _listener is None or threading.get_ident() != _listener.main:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(_listener.woken, select.POLLIN)
    poll.poll()
    check()


def time_left(seconds: float) -> float:
    """Returns the seconds for which environments may close: `seconds`, or after a signal the rest of `PATIENCE`, but at
    least one second."""
    if _listener is None or _listener.number is None:
        return seconds
    return min(seconds, max(1.0, _listener.since + PATIENCE - time.monotonic()))


def _say(line: str) -> threading.Thread:
    """Prints a line on stderr, in a thread, since the reader of stderr may be stuck."""

    def say() -> None:
        with contextlib.suppress(Exception):
            print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    return thread
