"""Leaving in good order where a signal asks for it: SIGINT (Ctrl-C), SIGTERM, SIGHUP (the terminal is gone).

A thread reads the signals, so that they are heard whatever the main thread does (a long compilation, say), and nothing
is thrown into code that may swallow it. What the first signal does depends on what is under way:

nothing               a command leaves at once (see `listen`)
`held()`              it is noted: the next `check` or `wait_for` raises `Interrupted`, so that what is held is put in
                      order; a command that has not noticed it after `NOTICE` seconds, or not left after `LIMIT`, leaves
                      as it is (workers then close their environments by themselves)
`held(saving=True)`   the same, and no limit: an update may take long, and what it made is saved

A second Ctrl-C leaves at once in any case. Outside a command nothing is heard but within `heard()`, and there only a
second Ctrl-C ends the process. This module imports little: it is the first that a command needs.
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
"""Seconds after a signal that environments get in all, to return from what they do and to be closed."""
LIMIT = 5.0
"""Seconds after a signal in which a command leaves that has nothing to save."""
NOTICE = 1.5
"""Seconds in which it notices the signal; else it is compiling, say, and leaves as it is."""


class Interrupted(BaseException):
    """A signal asks this process to leave. Raised where it can be: by `check`, by waits, and in an environment that is
    stepped in this process and does not return."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Listener:
    """What hears the signals of this process; made and removed in the main thread."""

    def __init__(self, command: bool):
        self.command, self.main = command, threading.get_ident()
        self.number: int | None = None
        self.since = 0.0
        """when the first signal came, or saving ended after it"""
        self.noticed = False
        """whether the main thread knows of it"""
        self.held: list[bool] = []
        """what is under way, the innermost last: whether it saves"""
        self.last: list[Callable[[], None]] = []
        """what is done in the end where the main thread does not come to it"""
        self.foreign = self.poked = False
        """whether code of an environment runs in this process; whether `Interrupted` is to be raised in it"""
        self.foreign_limit = 0.0
        """until when it may run, after a signal"""
        self.reader, self.writer = os.pipe()
        self.woken, self.wake = os.pipe()
        os.set_blocking(self.writer, False)
        self.before = {number: signal.getsignal(number) for number in NUMBERS}
        self.fd_before = -1

    def install(self) -> None:
        """Take the signals over; again, where a library has taken them. A SIGHUP that is ignored (nohup) stays so."""
        for number in NUMBERS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        before = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        self.fd_before = self.fd_before if before == self.writer else before

    def remove(self) -> None:
        signal.set_wakeup_fd(self.fd_before)
        for number, handler in self.before.items():
            signal.signal(number, handler)
        os.close(self.writer)  # the thread ends, and closes the rest

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
        """Have the thread look at its limit again."""
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
        echo = "\n" if os.isatty(2) else ""  # a terminal shows ^C
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
            signal.pthread_kill(self.main, signal.SIGTERM)  # interrupts a sleep, and `_handle` raises
        elif self.command:
            self._leave("left without saving: an environment does not return" if any(self.held) else "")
        else:  # the process is not ours to end
            self.foreign = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Python's handler, in the main thread. The thread hears by itself."""
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
    """Keep signals waiting until `listen`, also over the start of another program in the place of this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def listen() -> None:
    """Hear signals to the end of this process, which may leave at once: for commands, first of all."""
    global _listener
    if _listener is None:
        _listener = _started(command=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Hear signals within the block, if nothing does yet. In other threads than the main one it does nothing, because
    Python allows them no handlers."""
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
    """Something is under way that is put in order before leaving. Raises Interrupted at the end of the outermost block
    where a signal came too late to be raised in it.

    `last` is called, in another thread and for a second at most, where this process leaves out of the block as it is.
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
    """Code of an environment runs in this process: Interrupted is raised in it where it runs on for `PATIENCE` seconds
    after a signal."""
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
    """The number of the first signal, None while there was none."""
    return None if _listener is None else _listener.number


def check() -> None:
    """Raises Interrupted where a signal has come."""
    if _listener is not None and _listener.number is not None:
        _listener.noticed = True
        raise Interrupted(_listener.number)


def wait_for(descriptor: int) -> None:
    """Wait until a descriptor can be read. Raises Interrupted where a signal has come, or comes."""
    if _listener is None or threading.get_ident() != _listener.main:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(_listener.woken, select.POLLIN)
    poll.poll()
    check()


def time_left(seconds: float) -> float:
    """How long environments may take to close: so many seconds, or what a signal has left them of `PATIENCE`, and one
    second at least."""
    if _listener is None or _listener.number is None:
        return seconds
    return min(seconds, max(1.0, _listener.since + PATIENCE - time.monotonic()))


def _say(line: str) -> threading.Thread:
    """Print a line on stderr, in a thread: who reads it may be stuck."""

    def say() -> None:
        with contextlib.suppress(Exception):
            print(line, file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    return thread
