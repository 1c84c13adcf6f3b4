"""Environments that take their time: `gym:tests.training.slow_environments:Slow-v0` and others."""

import os
import pathlib
import subprocess
import time
from typing import Any, cast

import gymnasium
import numpy as np

from tests.spring import Spring


class Slow(Spring):
    """The spring, at 0.2 s a step, with a program of its own, whose number is noted in the folder MARKS.

    `hangs` names what never returns; a method of that name leaves a mark.
    """

    def __init__(self, hangs: str = "", seconds: float = 0.2, render_mode: str | None = None):
        super().__init__(render_mode)
        self.hangs, self.seconds = hangs, seconds
        self.program = subprocess.Popen(["sleep", "456"])
        self.mark("made")
        self.hang("make")

    def mark(self, what: str) -> None:
        (pathlib.Path(os.environ["MARKS"]) / f"{what}-{self.program.pid}").touch()

    def hang(self, where: str) -> None:
        if self.hangs == where:
            self.mark("hangs")
            time.sleep(600)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        self.hang("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if self.np_random.uniform() < 0.02:
            self.hang("step")
        time.sleep(self.seconds)
        return super().step(action)

    def close(self) -> None:
        self.program.terminate()
        self.program.wait()
        self.mark("closed")


class Endless(Spring):
    """The spring without an end."""

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, reward, _, _, facts = super().step(action)
        return observation, reward, False, False, facts


for _where in ("", "make", "reset", "step"):
    gymnasium.register(f"Slow{_where}-v0", cast(Any, Slow), kwargs={"hangs": _where}, disable_env_checker=True)
gymnasium.register("Endless-v0", cast(Any, Endless), disable_env_checker=True)
