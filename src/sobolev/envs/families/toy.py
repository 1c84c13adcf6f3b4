"""A toy whose returns have any number of modes: a point mass whose goal is revealed late in the episode.

The state has position p, velocity v and goal g, each in the plane; an action a is an acceleration.

    v' = 0.8 v + 0.2 a + 0.02 ε,   ε ~ N(0, I)
    p' = p + 0.2 v'                (walls at ±2 stop the mass)
    g' = g once it is revealed; until then g = 0, and each step reveals one of the N locations with probability 0.2
    r  = h_k exp(−|p' − g'|² / (2 · 0.5²)) if g' is location k; 0 while the goal is unknown

The locations are equally spaced on the unit circle, the first at angle 0, and have heights h_k = 1 − k / (2 N) for
k = 0 … N − 1. An episode starts at rest within 0.3 of the centre, and is truncated after 50 steps. While the goal is
unknown, the return has N modes, one for each location, and the gradient of each points to its own location.
"""

import math
import re

import numpy as np

from sobolev.envs.specs import ArraySpec, Spaces, Step, build_spaces
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import UserError, nearest

NAME = "point-mass"
LOCATIONS = 4
"""Number of locations of `toy:point-mass`; `toy:point-mass-8` has 8."""
MOST = 64
LENGTH = 50
"""Steps of an episode."""
DRAG, PUSH, STIR, PACE = 0.8, 0.2, 0.02, 0.2
WALL, START = 2.0, 0.3
REVEAL, WIDTH = 0.2, 0.5


def locations_of(name: str) -> int:
    """Returns N of "point-mass" or "point-mass-N". Raises UserError for any other name, and for N outside [1, 64]."""
    match = re.fullmatch(rf"{NAME}(?:-(\d+))?", name)
    if match is None:
        raise nearest("task", f"toy:{name}", [f"toy:{NAME}", f"toy:{NAME}-{2 * LOCATIONS}"])
    number = int(match[1] or LOCATIONS)
    if not 1 <= number <= MOST:
        raise UserError(f"toy:{name} asks for {number} locations: it takes 1 to {MOST}")
    return number


def locations(number: int) -> np.ndarray:
    """Returns the locations, float64[N, 2]."""
    angles = 2 * np.pi * np.arange(number) / number
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def worths(number: int) -> np.ndarray:
    """Returns the heights h_k, float64[N]: the reward of a mass at rest at each location."""
    return 1 - np.arange(number) / (2 * number)


class PointMass:
    """The point mass with N locations, `repeat` steps per action, and `kicks` added to its own noise."""

    def __init__(self, name: str, repeat: int = 1, kicks: Kicks | None = None):
        self._number, self._repeat, self._kicks = locations_of(name), repeat, kicks or Kicks()
        self._locations, self._worths = locations(self._number), worths(self._number)
        self._random, self._time = np.random.default_rng(0), LENGTH
        self.position, self.velocity, self.goal = np.zeros(2), np.zeros(2), -1
        entries = {name: ArraySpec((2,), "float32") for name in ("position", "velocity", "goal")}
        self.spaces: Spaces = build_spaces(entries, 2)

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        self._random, self._time = np.random.default_rng(seed), 0
        self._kicks.reset(seed)
        angle, radius = self._random.uniform(0, 2 * np.pi), START * math.sqrt(self._random.uniform())
        self.position = radius * np.array([math.cos(angle), math.sin(angle)])
        self.velocity, self.goal = np.zeros(2), -1
        return Step(self._observation(), 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. Never terminal."""
        if self._time >= LENGTH:
            raise RuntimeError("the episode of the point mass is over: reset it first")
        push, reward = np.clip(action.astype(np.float64), -1.0, 1.0), 0.0
        for _ in range(self._repeat):
            reward += self._advance(push)
            if self._time >= LENGTH:
                break
        return Step(self._observation(), reward, False, self._time >= LENGTH, False)

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`. Locations are rings, thicker for a larger height; the goal is red."""
        view = 1.15 * WALL
        x = np.linspace(-view, view, width)[None]
        y = np.linspace(view, -view, height)[:, None]
        frame = np.full((height, width, 3), 250.0)
        inside = (np.abs(x) < WALL) & (np.abs(y) < WALL)
        frame[~inside] = 205.0
        for k, (place, worth) in enumerate(zip(self._locations, self._worths, strict=True)):
            near = np.hypot(x - place[0], y - place[1])
            color = np.array([200.0, 40.0, 40.0] if k == self.goal else [70.0, 110.0, 170.0])
            frame[near < 0.13] = color
            frame[near < 0.11 * (2 - 2 * worth)] = 250.0
        frame[np.hypot(x - self.position[0], y - self.position[1]) < 0.08] = 20.0
        return frame.astype(np.uint8)

    def close(self) -> None:
        """See `Environment.close`."""

    def _advance(self, push: np.ndarray) -> float:
        """Takes one step and returns its reward."""
        stir = STIR * self._random.standard_normal(2)
        self.velocity = DRAG * self.velocity + PUSH * push + stir + self._kicks.draw(2)
        reached = self.position + PACE * self.velocity
        self.position = np.clip(reached, -WALL, WALL)
        self.velocity = np.where(reached == self.position, self.velocity, 0.0)
        chance, drawn = self._random.uniform(), int(self._random.integers(self._number))
        if self.goal < 0 and chance < REVEAL:
            self.goal = drawn
        self._time += 1
        if self.goal < 0:
            return 0.0
        distance = np.sum((self.position - self._locations[self.goal]) ** 2)
        return float(self._worths[self.goal] * np.exp(-distance / (2 * WIDTH**2)))

    def _observation(self) -> dict[str, np.ndarray]:
        goal = self._locations[self.goal] if self.goal >= 0 else np.zeros(2)
        entries = {"position": self.position, "velocity": self.velocity, "goal": goal}
        return {name: value.astype(np.float32) for name, value in entries.items()}
