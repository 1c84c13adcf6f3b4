"""Where environments print: on stderr, so that what a command prints on stdout stays readable for programs."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

_STDOUT, _STDERR = 1, 2


@contextmanager
def on_stderr() -> Iterator[None]:
    """What is printed within, from Python or by C code, goes to stderr; costs some microseconds.

    Other threads' output goes there too, meanwhile.
    """
    flush_c()
    kept = None
    with suppress(OSError):  # a program may have closed either
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
    """The same for the rest of this process."""
    with suppress(OSError):
        os.dup2(_STDERR, _STDOUT)
    sys.stdout = sys.stderr


def occupy() -> None:
    """Open /dev/null for standard streams that are closed: pipes that took their numbers would be printed to."""
    for number in (0, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def flush_c() -> None:
    """Write out what C code has printed so far: C keeps it where stdout is no terminal."""
    if _C is not None:
        _C.fflush(None)


try:
    _C = ctypes.CDLL(None)
except OSError:
    _C = None
