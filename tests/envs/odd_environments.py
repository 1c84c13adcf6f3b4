"""Environments that do what no environment should, one thing each: `gym:odd_environments:Odd-v0` and its variants.

`FAULTS` and `FINE` name what an `Odd` can do, at any moment of its life: "make", "reset", "step", "render" or "close".
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

LENGTH = 6


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("cannot be sent", lambda: None)

    def __reduce__(self) -> Any:
        raise TypeError("never")


class Quiet(BaseException):
    """Not an Exception."""


def _raise(error: BaseException) -> Any:
    raise error


def _recurse(env: Any) -> Any:
    return _recurse(env)


def _warn(env: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)


CODE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "raise": (lambda env: _raise(ValueError("the simulator is gone")), "ValueError: the simulator is gone"),
    "unprintable": (lambda env: _raise(Unprintable()), "Unprintable: converting it to text raises"),
    "unpicklable": (lambda env: _raise(Unpicklable()), "Unpicklable: "),
    "quiet": (lambda env: _raise(Quiet("not an exception")), "Quiet: not an exception"),
    "recursion": (_recurse, "RecursionError: "),
    "warning": (_warn, "DeprecationWarning: an old name"),
    "long": (lambda env: _raise(ValueError("word " * 100_000)), "ValueError: word word"),
    "lines": (lambda env: _raise(ValueError("one\ntwo")), "ValueError: one two"),
    "package": (lambda env: __import__("no_such_package"), "needs the package 'no_such_package'"),
    "exit": (lambda env: sys.exit("no licence for the simulator"), "(sys.exit).*: no licence for the simulator"),
    "exit-status": (lambda env: sys.exit(3), "ended the program with status 3"),
    "exit-plain": (lambda env: sys.exit(), "ended the program"),
    "memory": (lambda env: _raise(MemoryError()), "MemoryError"),
    "stop": (lambda env: _raise(StopIteration()), "StopIteration"),
    "interrupt": (lambda env: _raise(KeyboardInterrupt()), "KeyboardInterrupt"),
    "generator": (lambda env: _raise(GeneratorExit()), "GeneratorExit"),
}
"""Faults of code, and what the sentence says of them."""

DEADLY: dict[str, tuple[Callable[[Any], Any], str]] = {
    "os-exit": (lambda env: os._exit(5), "exit status 5"),
    "os-exit-0": (lambda env: os._exit(0), "exit status 0"),
    "kill": (lambda env: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
    "segmentation": (lambda env: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
    "abort": (lambda env: os.abort(), "SIGABRT"),
}
"""What ends the process at once; for workers only."""

PRINTS: dict[str, Callable[[Any], Any]] = {
    "print": lambda env: print("printed by Python"),
    "print-part": lambda env: print("printed by Python", end=""),
    "c": lambda env: ctypes.CDLL(None).printf(b"printed by C "),
    "write": lambda env: os.write(1, b"printed by write\n"),
    "program": lambda env: subprocess.run(["echo", "printed by a program"], check=True),
}


OBSERVATIONS: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "nan": (lambda x: np.where(np.arange(3) == 1, np.nan, x).astype(np.float32), "holds NaN"),
    "inf": (lambda x: np.where(np.arange(3) == 1, -np.inf, x), "holds infinity"),
    "huge": (lambda x: x.astype(np.float64) + 1e300, "holds 1e+300, which float32 does not have"),
    "huge-integer": (lambda x: [10**400, 0, 0], "no numbers"),
    "short": (lambda x: x[:1], r"has shape \(1,\), but its space says \(3,\)"),
    "scalar": (lambda x: x[0], r"has shape \(\), but"),
    "number": (lambda x: 0.5, r"has shape \(\), but"),
    "column": (lambda x: x[:, None], r"has shape \(3, 1\), but"),
    "row": (lambda x: x[None], r"has shape \(1, 3\), but"),
    "long": (lambda x: np.zeros(4, np.float32), r"has shape \(4,\), but"),
    "empty": (lambda x: x[:0], r"has shape \(0,\), but"),
    "none": (lambda x: None, "is None"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0], 3.0], "not an array of numbers"),
    "text": (lambda x: ["a", "b", "c"], "no numbers"),
    "complex": (lambda x: x.astype(np.complex64), "no numbers"),
    "objects": (lambda x: np.array([0, 1, None], object), "no numbers"),
    "dictionary": (lambda x: {"observation": x}, "has shape"),
    "tuple": (lambda x: (x, x), "has shape"),
}
"""Observations that do not fit a Box of three floats."""

ACCEPTED: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda x: [float(v) for v in x],
    "tuple-of-numbers": lambda x: tuple(np.float32(v) for v in x),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "longdouble": lambda x: x.astype(np.longdouble),
    "integers": lambda x: np.round(10 * x).astype(np.int64),
    "booleans": lambda x: x > 0,
    "other-end": lambda x: x.astype(">f8"),
    "strided": lambda x: np.repeat(x, 2)[::2],
    "read-only": lambda x: np.frombuffer(x.astype(np.float32).tobytes(), np.float32),
    "tiny": lambda x: np.full(3, 1e-300),
}
"""Observations that become float32[3]."""

REWARDS: dict[str, tuple[Any, str]] = {
    "nan": (float("nan"), "is nan"),
    "inf": (np.float32(np.inf), "is inf"),
    "overflow": (-1e40, "is -1e\\+40, which float32 does not have"),
    "none": (None, "is None"),
    "array": (np.zeros(2), "not a number"),
    "no-array": (np.zeros(0), "not a number"),
    "text": ("1.0", "not a number"),
    "complex": (1j, "not a number"),
    "huge-integer": (10**400, "not a number"),
    "pair": ((1.0, 2.0), "not a number"),
}

FLAGS: dict[str, tuple[Any, str]] = {
    "integer": (1, "is 1, not a boolean"),
    "none": (None, "is None"),
    "text": ("False", "is .False., not a boolean"),
    "float": (0.0, "not a boolean"),
    "booleans": (np.zeros(2, bool), "not a boolean"),
}


class Odd(gymnasium.Env):
    """Three numbers in [-1, 1] that do not depend on the actions; episodes of six steps.

    `moment` and `time` say when it does `what`: at the step of that number, or in another method.
    """

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, what: str = "", moment: str = "step", time: int = 3, render_mode: str | None = None):
        self.what, self.moment, self.at, self.render_mode, self.time = what, moment, time, render_mode, 0
        self._act("make")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        self._act("reset")
        return self._given("reset", self._observe()), {}

    def step(self, action: np.ndarray) -> Any:
        self.time += 1
        if self.time == self.at:
            self._act("step")
        kind, _, name = self.what.partition(":")
        now = self.moment == "step" and self.time == self.at
        reward = REWARDS[name][0] if kind == "reward" and now else 1.0
        over = FLAGS[name][0] if kind == "flag" and now else self.time >= LENGTH
        given = (self._given("step", self._observe()), reward, False, over, {})
        if kind == "arity" and now:
            return {"4": (*given[:2], False, {}), "6": (*given, 0), "none": None, "info": (*given[:4], [])}[name]
        return given

    def render(self) -> Any:
        self._act("render")
        return np.full((4, 6, 3), 10 * self.time, np.uint8)

    def close(self) -> None:
        self._act("close")

    def _observe(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def _act(self, moment: str) -> None:
        if moment == self.moment:
            kind, _, name = self.what.partition(":")
            if kind in ("code", "deadly"):
                {**CODE, **DEADLY}[name][0](self)
            elif kind == "print":
                PRINTS[name](self)

    def _given(self, moment: str, observation: np.ndarray) -> Any:
        kind, _, name = self.what.partition(":")
        if moment != self.moment or (moment == "step" and self.time != self.at):
            return observation
        if kind == "observation":
            return OBSERVATIONS[name][0](observation)
        return ACCEPTED[name](observation) if kind == "accepted" else observation


class Armed(Odd):
    """An `Odd` that does what the file of that name says, "moment what", the next time it comes to that moment."""

    def __init__(self, file: str, render_mode: str | None = None):
        self.file = file
        super().__init__("", render_mode=render_mode)

    def _act(self, moment: str) -> None:
        self.what, self.moment, self.at = "", moment, self.time
        with contextlib.suppress(FileNotFoundError), open(self.file) as file:
            when, what = file.read().split()
            if when == moment:
                os.remove(self.file)
                self.what = what
        super()._act(moment)

    def step(self, action: np.ndarray) -> Any:
        self.at = self.time + 1  # every step is one at which it may act
        action *= 0.5
        return super().step(action)


def put(name: str, entry: Any, **arguments: Any) -> str:
    """The task of that name, registered anew: `entry` is a class, a function or a string."""
    gymnasium.registry.pop(name, None)
    gymnasium.register(name, entry, kwargs=arguments)
    return f"gym:{name}"


def register(what: str, moment: str = "step", time: int = 3) -> str:
    """The task of an `Odd` that does `what` then; to be registered in this process, from where workers get it."""
    name = f"Odd-{what.replace(':', '-')}-{moment}-{time}-v0"
    return put(name, Odd, what=what, moment=moment, time=time)
