"""Redirects what environments print to stderr, so that stdout has only the output of the command."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

_STDOUT, _STDERR = 1, 2


@contextmanager
def on_stderr() -> Iterator[None]:
    """Redirects stdout, of Python and of C code, to stderr inside a block. Takes some microseconds.

    The output of other threads is redirected as well.
    """
    flush_c()
    kept = None
    with suppress(OSError):  # either stream may be closed
        kept = os.dup(_STDOUT)
        os.dup2(_STDERR, _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        flush_c()
        if kept is not None:
            os.dup2(kept, _STDOUT)
            os.close(kept)


def stay_on_stderr() -> None:
    """Redirects stdout to stderr for the rest of this process."""
    with suppress(OSError):
        os.dup2(_STDERR, _STDOUT)
    sys.stdout = sys.stderr


def occupy() -> None:
    """Opens /dev/null for standard streams that are closed. Otherwise pipes could get their file descriptors."""
    for number in (0, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is this one


def flush_c() -> None:
    """Flushes C's stdout, which is buffered unless it is a terminal."""
    if _C is not None:
        _C.fflush(None)


try:
    _C = ctypes.CDLL(None)
except OSError:
    _C = None
