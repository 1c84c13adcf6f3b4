"""Standard output and standard error, for any character in any encoding, and for readers that go away.

A command whose output is its result stops quietly when its reader goes away, as Unix tools do. Training does not depend
on its output: `say` and `warn` never fail, and report once that they cannot write.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import IO, Any, ParamSpec, TypeVar

from sobolev.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

SPELLED = {"×": "x", "…": "...", "·": "-", "±": "+-", "−": "-", "–": "-", "—": "-", "λ": "lambda", "γ": "gamma"}
"""Replacements of characters that sobolev prints, for encodings that do not have them."""
SPELLED |= dict.fromkeys("─━═╌", "-") | dict.fromkeys("│┃║", "|") | dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼╸╺", "+")


class OutputError(OSError):
    """Standard output cannot be written, because its reader has gone away (EPIPE) or its disk is full."""


def say(line: str) -> None:
    """Prints a line on standard output. If that is not possible, warns once."""
    stream = forgiving(sys.stdout, "standard output")
    stream.write(line + "\n")
    stream.flush()


def warn(sentence: str) -> None:
    """Prints a warning on standard error, if that is possible."""
    stream = forgiving(sys.stderr)
    stream.write(f"sobolev: {sentence}\n")
    stream.flush()


class Guard:
    """Calls functions that write logs. Their errors do not end a run: the first one is reported on stderr."""

    def __init__(self, what: str, errors: type[Exception] | tuple[type[Exception], ...] = OSError):
        """`what` is named in the warning, as in "RUN/scores.json". Other exceptions than `errors` are passed on."""
        self.what, self.errors, self.told = what, errors, False

    def __call__(self, write: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """Calls `write`. Returns its result; None if it failed."""
        try:
            return write(*arguments, **named)
        except self.errors as error:
            self.tell(error)
            return None

    def tell(self, error: Exception) -> None:
        """Reports an error, unless one was reported before."""
        if not self.told:
            self.told = True
            warn(f"{self.what} cannot be written ({reason(error)}): continuing without it")


def reason(error: BaseException) -> str:
    """Returns in one line why something failed: the system's message if there is one, else that of the exception."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class Forgiving(io.TextIOBase):
    """A text stream that ignores errors in writing."""

    def __init__(self, stream: Any, name: str | None = None):
        """`stream` may be None, as `sys.stdout` is in a program that was started without one.

        With a name, the first error is reported on standard error.
        """
        self.stream, self._name = stream, name
        self._guard = Guard(name or "", Exception)  # a closed file raises ValueError

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        self._attempt(lambda: self.stream.write(text.encode(self.encoding, ERRORS).decode(self.encoding)))
        return len(text)

    def flush(self) -> None:
        self._attempt(lambda: self.stream.flush())

    def isatty(self) -> bool:
        return bool(self.stream is not None and not self.stream.closed and self.stream.isatty())

    def fileno(self) -> int:
        return self.stream.fileno()

    def _attempt(self, call: Callable[[], Any]) -> None:
        if self.stream is None:
            return
        try:
            call()
        except Exception as error:
            if self._name is not None:
                self._guard.tell(error)


_LATEST: dict[str | None, Forgiving] = {}


def forgiving(stream: Any, name: str | None = None) -> Forgiving:
    """Returns the `Forgiving` stream around a stream. Repeated calls return the same one, so that it reports once."""
    latest = _LATEST.get(name)
    if latest is None or latest.stream is not stream:
        latest = _LATEST[name] = Forgiving(stream, name)
    return latest


def prepare() -> None:
    """Sets up the standard streams of a command, such that any text can be printed.

    A stream that is closed is opened to /dev/null, since the next file would otherwise get its descriptor. If standard
    output cannot be written, that raises OutputError once; later errors, and those of standard error, are ignored.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # gets the lowest free descriptor, which is this one
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr, forgiving=True)


def _stream(number: int, old: IO[str] | None, forgiving: bool = False) -> IO[str]:
    if old is not None:
        old.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(number, forgiving)),
        encoding=getattr(old, "encoding", None) or "utf-8",
        errors=ERRORS,
        line_buffering=forgiving or bool(getattr(old, "line_buffering", False)),
        write_through=bool(getattr(old, "write_through", False)),
    )


class _Raw(io.FileIO):
    """The file of a standard stream, see `prepare`."""

    def __init__(self, number: int, forgiving: bool):
        super().__init__(number, "wb", closefd=False)
        self._forgiving = forgiving

    def write(self, data: Any) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().write(data)
        except OSError as error:
            if self._forgiving:
                return memoryview(data).nbytes
            self._forgiving = True
            raise OutputError(error.errno, error.strerror) from error


def reader_gone(error: OSError) -> bool:
    """Returns whether the reader of a pipe has gone away, which is not a failure."""
    return error.errno == errno.EPIPE


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    words = [SPELLED.get(character, character).encode("ascii", "backslashreplace").decode() for character in text]
    return "".join(words), error.end


ERRORS = "sobolev.spelled"
"""Error handler for characters that an encoding does not have: `SPELLED`, else Python's escapes."""
codecs.register_error(ERRORS, _spell)
