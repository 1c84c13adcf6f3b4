"""Errors in an environment's own code, reported as one sentence."""

import importlib.util
import os
import traceback
from collections.abc import Callable
from types import TracebackType

from sobolev.errors import UserError
from sobolev.system.signals import Interrupted

_LONGEST = 400
_FRAMES = 8


class WorkerError(UserError):
    """The code of an environment raised an exception or exited, or its worker process died."""


class WorkerDied(WorkerError):
    """The worker process with the index `lane` died."""

    def __init__(self, said: str, lane: int = 0):
        super().__init__(said)
        self.lane = lane


class Wrong(UserError):
    """An environment returned something that its spaces or Gymnasium's interface do not allow.

    `what` says what is wrong, `advice` what to do.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}: {advice}")
        self.what, self.advice = what, advice

    def at(self, where: str) -> UserError:
        """Returns the error with the place where it happened, as in "in step(), after 3 actions of …"."""
        return UserError(f"{self.what} ({where}): {self.advice}")


class guarded:
    """A context manager around code of the environment `task`, which turns exceptions into one sentence (`failure`).

    `where` returns the method that is called, and when. `UserError` and `Interrupted` pass unchanged, and so does
    KeyboardInterrupt if `interruptible`.
    """

    __slots__ = ("_task", "_where")
    interruptible = True
    """whether KeyboardInterrupt may come from the user; false in workers, which ignore signals"""

    def __init__(self, task: str, where: Callable[[], str]):
        self._task, self._where = task, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Wrong):
            raise error.at(self._where()) from error
        if error is None or isinstance(error, (UserError, Interrupted)):
            return
        if isinstance(error, KeyboardInterrupt) and self.interruptible:
            return
        raise failure(self._task, self._where(), error) from error


def failure(task: str, where: str, error: BaseException) -> UserError:
    """Returns the error for an exception that an environment raised.

    It has the type and the text of the exception, shortened, and below it the traceback without frames of sobolev. For
    sys.exit("text") it has the text, and for a missing package its name.
    """
    if isinstance(error, SystemExit):
        how = "" if error.code is None else f" with status {error.code}" if isinstance(error.code, int) else ""
        said = "" if error.code is None or isinstance(error.code, int) else f": {brief(str(error.code))}"
        return WorkerError(f"'{task}' ended the program{how} (sys.exit) {where}{said}{_own_frames(error)}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return UserError(f"'{task}' needs the package '{error.name}', which is not installed ({where})")
    return WorkerError(f"'{task}' failed {where}: {described(error)}{_own_frames(error)}")


def described(error: BaseException) -> str:
    """Returns type and text of an exception on one line, even if converting it to text fails."""
    try:
        text = str(error)
    except Exception as another:
        text = f"converting it to text raises {type(another).__name__}"
    kind = type(error).__name__
    return f"{kind}: {brief(text)}" if text else kind


def shown(value: object, longest: int = 80) -> str:
    """Returns the repr of a value on one line of at most `longest` characters."""
    try:
        return brief(repr(value), longest)
    except Exception:
        return f"a {type(value).__name__}"


def brief(text: str, longest: int = _LONGEST) -> str:
    """Returns a text on one line of at most `longest` characters."""
    text = " ".join(text[: 4 * longest].split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def raised_within(error: BaseException, module: str) -> bool:
    """Returns whether the innermost frame of an exception lies in a package."""
    frames = _frames(error)
    return bool(frames) and frames[-1].filename.startswith(_folder(module))


def _own_frames(error: BaseException) -> str:
    """Returns the innermost frames outside sobolev and Gymnasium, formatted as a traceback, after a line break."""
    aside = tuple(filter(None, map(_folder, ("sobolev", "gymnasium"))))
    own = [frame for frame in _frames(error) if not frame.filename.startswith((*aside, "<frozen", "<@beartype"))]
    lines = traceback.format_list(own[-_FRAMES:])
    return "\n" + "".join(lines).rstrip() if lines else ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    try:
        return list(traceback.extract_tb(error.__traceback__))
    except Exception:  # reading the source code of a frame may fail in any way
        return []


def _folder(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return os.path.dirname(spec.origin) + os.sep if spec and spec.origin else ""
