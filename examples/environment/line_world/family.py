"""A point on a line, pushed by the action: `line:hold` keeps it at 0 for 40 steps, `line:reach` ends when it is there.

v' = 0.9 v + 0.1 a, x' = x + v', with walls at ±1 that stop the point. An episode starts at rest, somewhere on the line.
"""

import numpy as np

from sobolev.envs import ArraySpec, Family, Kicks, Step, build_spaces
from sobolev.errors import nearest

TASKS = ("hold", "reach")
LENGTH = 40
NEAR = 0.05


class Line:
    """One environment. All that is random comes from the seed of the episode, so that runs resume to the bit."""

    def __init__(self, task: str, repeat: int, kicks: Kicks):
        self.task, self.repeat, self.kicks = task, repeat, kicks
        self.spaces = build_spaces({"place": ArraySpec((2,), "float32")}, action=1)
        self.x = self.v = 0.0
        self.time = LENGTH

    def reset(self, seed: int) -> Step:
        """See `sobolev.envs.Environment`."""
        self.x, self.v, self.time = np.random.default_rng(seed).uniform(-1, 1), 0.0, 0
        self.kicks.reset(seed)
        return Step(self.observation(), 0.0, first=True, last=False, terminal=False)

    def step(self, action: np.ndarray) -> Step:
        """`repeat` steps of the physics with one action in [−1, 1]."""
        push, reward, there = float(np.clip(action[0], -1, 1)), 0.0, False
        for _ in range(self.repeat):
            self.v = 0.9 * self.v + 0.1 * push + float(self.kicks.draw(1)[0])
            moved = self.x + self.v
            self.x = float(np.clip(moved, -1, 1))
            self.v = self.v if self.x == moved else 0.0
            self.time += 1
            there = abs(self.x) < NEAR
            reward += float(there) if self.task == "reach" else 1 - abs(self.x)
            if self.time >= LENGTH or (there and self.task == "reach"):
                break
        terminal = there and self.task == "reach"
        return Step(self.observation(), reward, first=False, last=terminal or self.time >= LENGTH, terminal=terminal)

    def observation(self) -> dict[str, np.ndarray]:
        """Place and velocity."""
        return {"place": np.array([self.x, self.v], np.float32)}

    def render(self, height: int, width: int) -> np.ndarray:
        """A dark bar on white, at the place of the point."""
        frame = np.full((height, width, 3), 255, np.uint8)
        frame[:, round((self.x + 1) / 2 * (width - 1))] = 30
        return frame

    def close(self) -> None:
        """Nothing to free."""


def check(name: str) -> None:
    """UserError, with the nearest task, for a name that is none."""
    if name not in TASKS:
        raise nearest("task", f"line:{name}", [f"line:{task}" for task in TASKS])


FAMILY = Family(make=Line, check=check, tasks=lambda: TASKS, kicked=True)
