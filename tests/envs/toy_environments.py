"""Environments for the tests, registered with Gymnasium: `gym:toy_environments:Counter-v0` and others."""

import os
import pathlib
import subprocess
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class Counter(gymnasium.Env):
    """Counts steps, remembers its seed and its last action, and pays the action's sum."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, end: int = 7, terminal: bool = True, fault: str = "", render_mode: str | None = None):
        self.observation_space = Dict(
            {
                "time": Box(0, np.inf, (), np.float64),
                "noise": Box(-np.inf, np.inf, (2,), np.float32),
                "action": Box(-np.inf, np.inf, (2, 2), np.float64),
                "pixel": Box(0, 255, (1, 1, 3), np.uint8),
            }
        )
        self.action_space = Box(np.array([[-1, 0], [-1, -10]], np.float32), np.array([[1, 4], [1, 30]], np.float32))
        self.end, self.terminal, self.fault, self.render_mode = end, terminal, fault, render_mode

    def _observe(self, action: np.ndarray) -> dict[str, Any]:
        noise = self.np_random.normal(size=2).astype(np.float32)
        if self.fault == "nan" and self.time == 3:
            noise[1] = np.nan
        if self.fault == "chance":
            noise = np.frombuffer(os.urandom(2), np.uint8).astype(np.float32) + self.time
        return {
            "time": float(self.time),
            "noise": noise,
            "action": action,
            "pixel": np.full((1, 1, 3), self.time, np.uint8),
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self.time = 0
        self.length = self.end if self.fault != "length" else 2 + os.urandom(1)[0] % 100
        return self._observe(np.zeros((2, 2))), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
        self.time += 1
        if self.fault == "raise" and self.time == 3:
            raise ZeroDivisionError("the toy is broken")
        if self.fault == "die" and self.time == 3:
            os.kill(os.getpid(), 9)
        if self.fault == "slow":
            time.sleep(0.01)
        over = self.time >= self.length
        return self._observe(action), float(action.sum()), over and self.terminal, over and not self.terminal, {}

    def render(self) -> np.ndarray:
        return np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


class Strange(gymnasium.Env):
    """Has the spaces that it is told to have."""

    def __init__(self, action: str = "fine", observation: str = "fine"):
        fine = Box(-1, 1, (2,), np.float32)
        self.action_space = {
            "fine": fine,
            "discrete": Discrete(3),
            "unbounded": Box(-np.inf, np.inf, (2,), np.float32),
            "half": Box(np.array([-1, -np.inf], np.float32), np.ones(2, np.float32)),
            "integers": Box(-1, 1, (2,), np.int32),
        }[action]
        self.observation_space = {
            "fine": fine,
            "discrete": Discrete(3),
            "nested": Dict({"a": Dict({"b": fine})}),
            "integers": Box(-1, 1, (2,), np.int64),
        }[observation]


class Nothing(gymnasium.Env):
    """Does nothing, for measuring what everything around it costs."""

    observation_space = Box(-1, 1, (24,), np.float32)
    action_space = Box(-1, 1, (6,), np.float32)
    observation = np.zeros(24, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return self.observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation, 0.0, False, False, {}


def _register(name: str, entry: type, **arguments: Any) -> None:
    gymnasium.register(f"{name}-v0", entry, kwargs=arguments, disable_env_checker=True)


_register("Counter", Counter)
_register("Timed", Counter, terminal=False)
_register("Endless", Counter, end=1_000_000)
_register("Nothing", Nothing)
for _fault in ("nan", "chance", "length", "raise", "die", "slow"):
    _register(_fault.capitalize(), Counter, fault=_fault, end=50)
for _kind in ("discrete", "unbounded", "half", "integers"):
    _register(f"Action-{_kind}", Strange, action=_kind)
for _kind in ("discrete", "nested", "integers"):
    _register(f"Observation-{_kind}", Strange, observation=_kind)


class Closing(Counter):
    """Starts a program of its own and notes in the folder MARKS what becomes of both: `made-PROGRAM`, `closed-PROGRAM`.

    `hangs` names the method that never returns, "make" for the constructor.
    """

    def __init__(self, hangs: str = "", wait: float = 0.0, render_mode: str | None = None):
        super().__init__(end=10**6)
        self.hangs, self.wait = hangs, wait
        self.program = subprocess.Popen(["sleep", "456"])
        self.mark("made")
        self.hang("make")

    def mark(self, what: str) -> None:
        (pathlib.Path(os.environ["MARKS"]) / f"{what}-{self.program.pid}").touch()

    def hang(self, where: str) -> None:
        if self.hangs == where:
            self.mark(f"hangs-{where}")
            time.sleep(600)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        self.hang("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict]:
        if self.time == 2:
            self.hang("step")
            if self.hangs == "raise":
                raise ZeroDivisionError("the toy is broken")
        time.sleep(self.wait)
        return super().step(action)

    def close(self) -> None:
        self.hang("close")
        if self.hangs == "careless":
            return
        self.program.terminate()
        self.program.wait()
        self.mark("closed")


for _where in ("", "make", "reset", "step", "close", "raise", "careless"):
    _register(f"Closing{_where}", Closing, hangs=_where)
_register("Slowly", Closing, wait=0.2)
