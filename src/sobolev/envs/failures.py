"""Telling what went wrong in an environment's own code, in one sentence, whatever it raised."""

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
    """The code of an environment raised something or ended the program, or its worker process died."""


class WorkerDied(WorkerError):
    """The process of the lane of that number died."""

    def __init__(self, said: str, lane: int = 0):
        super().__init__(said)
        self.lane = lane


class Wrong(UserError):
    """What an environment gave is not what its spaces or Gymnasium's interface say: what it is, and what to do."""

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}: {advice}")
        self.what, self.advice = what, advice

    def at(self, where: str) -> UserError:
        """The same, with when it was."""
        return UserError(f"{self.what} ({where}): {self.advice}")


class guarded:
    """A context in which code of the environment `task` runs: what that raises leaves it as one sentence.

    `where` gives the method, and when it was called. A `UserError` leaves as it is, and so do `Interrupted`, and
    KeyboardInterrupt, with its kinds, where it may come from outside. For others see `failure`.
    """

    __slots__ = ("_task", "_where")
    interruptible = True
    """whether KeyboardInterrupt may come from outside; a worker, in which signals do nothing, says no"""

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
    """The sentence for an exception: type and text, cut to some hundred characters, and the frames of code that is not
    ours below it; for sys.exit("text") the text, and for a missing package its name."""
    if isinstance(error, SystemExit):
        how = "" if error.code is None else f" with status {error.code}" if isinstance(error.code, int) else ""
        said = "" if error.code is None or isinstance(error.code, int) else f": {brief(str(error.code))}"
        return WorkerError(f"'{task}' ended the program{how} (sys.exit) {where}{said}{_own_frames(error)}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        return UserError(f"'{task}' needs the package '{error.name}', which is not installed ({where})")
    return WorkerError(f"'{task}' failed {where}: {described(error)}{_own_frames(error)}")


def described(error: BaseException) -> str:
    """Type and text of an exception on one line, also where its text cannot be had."""
    try:
        text = str(error)
    except Exception as another:
        text = f"its text cannot be had: {type(another).__name__}"
    kind = type(error).__name__
    return f"{kind}: {brief(text)}" if text else kind


def shown(value: object, longest: int = 80) -> str:
    """A value as Python writes it, on one line of at most so many characters."""
    try:
        return brief(repr(value), longest)
    except Exception:
        return f"a {type(value).__name__}"


def brief(text: str, longest: int = _LONGEST) -> str:
    """A text on one line of at most so many characters."""
    text = " ".join(text[: 4 * longest].split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def raised_within(error: BaseException, module: str) -> bool:
    """Whether the innermost frame of an exception lies in that package."""
    frames = _frames(error)
    return bool(frames) and frames[-1].filename.startswith(_folder(module))


def _own_frames(error: BaseException) -> str:
    """The newest frames that are neither ours nor Gymnasium's, as a traceback shows them, after a line break."""
    aside = tuple(filter(None, map(_folder, ("sobolev", "gymnasium"))))
    own = [frame for frame in _frames(error) if not frame.filename.startswith((*aside, "<frozen", "<@beartype"))]
    lines = traceback.format_list(own[-_FRAMES:])
    return "\n" + "".join(lines).rstrip() if lines else ""


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    try:
        return list(traceback.extract_tb(error.__traceback__))
    except Exception:  # the source of a frame may be anything
        return []


def _folder(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return os.path.dirname(spec.origin) + os.sep if spec and spec.origin else ""
