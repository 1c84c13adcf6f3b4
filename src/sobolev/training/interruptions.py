"""Leaving in good order: the first SIGINT or SIGTERM asks the loop to save and stop, a second SIGINT leaves at once."""

import contextlib
import os
import signal
import sys
import threading
from types import TracebackType


class Interruption:
    """A context manager; `signal_number` is that of the first signal, None while there was none.

    A thread reads the signals, so that they are heard during a long compilation, in which Python's own handlers do not
    run. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._old: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, lambda *_: None)
        self._old_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._old:
            return
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._old.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        os.close(self._writer)

    def _listen(self) -> None:
        with contextlib.closing(os.fdopen(self._reader, "rb", buffering=0)) as reader:
            while received := reader.read(1):
                number = received[0]
                if self.signal_number is None and number in (signal.SIGINT, signal.SIGTERM):
                    self.signal_number = number
                    print("\nsaving, then leaving (Ctrl-C again leaves at once)", file=sys.stderr, flush=True)
                elif number == signal.SIGINT:
                    print("\x1b[?25hleft without saving", file=sys.stderr, flush=True)
                    os._exit(130)
