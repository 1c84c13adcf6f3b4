"""The environments of tiny runs. A module of its own, since every worker process imports it: it must not import JAX."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict


class Spring(gymnasium.Env):
    """A mass on a spring, pushed by the action; falls out (terminal) beyond 1, else is cut off after 12 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}
    observation_space = Dict(
        {"position": Box(-np.inf, np.inf, (3,), np.float32), "velocity": Box(-np.inf, np.inf, (2,), np.float32)}
    )
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode

    def _observe(self) -> dict[str, np.ndarray]:
        x, v = self.state
        return {"position": np.array([x, x * x, self.noise], np.float32), "velocity": np.array([v, -v], np.float32)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.time, self.state, self.noise = 0, self.np_random.uniform(-0.5, 0.5, 2), 0.0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        x, v = self.state
        v = v + 0.5 * float(action[0]) - 0.2 * x
        self.state, self.noise, self.time = np.array([x + 0.3 * v, v]), self.np_random.normal(), self.time + 1
        return self._observe(), 1.0 - float(x * x), bool(abs(self.state[0]) > 1), self.time >= 12, {}

    def render(self) -> np.ndarray:
        return np.full((16, 16, 3), 20 * self.time, np.uint8)


class Dot(Spring):
    """The spring, drawn: a white bar on grey at the place of the mass."""

    def render(self) -> np.ndarray:
        frame, place = np.full((16, 16, 3), 60, np.uint8), int(np.clip(8 + 8 * self.state[0], 0, 14))
        frame[4:12, place : place + 2] = 255
        return frame


for _name in ("Spring", "Dot"):
    if f"{_name}-v0" not in gymnasium.registry:
        gymnasium.register(f"{_name}-v0", f"tests.spring:{_name}", disable_env_checker=True)
