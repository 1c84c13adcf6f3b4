"""A toy whose returns have any number of modes: point masses whose goal is revealed late in the episode.

In D dimensions there are D / 2 masses, each in a plane of its own, or for D = 1 one mass on a line. All have the same
equations, and the goal is revealed to all of them at once. The state has positions p, velocities v and goals g, each in
R^D; an action a in [−1, 1]^D is an acceleration.

    v' = 0.8 v + 0.2 a + 0.02 ε,   ε ~ N(0, I)
    p' = p + 0.2 v'                (walls at ±2 stop a mass)
    g' = g once it is revealed; until then g = 0, and each step reveals one of the N locations with probability 0.2
    r  = h_k exp(−m / (2 · 0.5²)) if g' is location k; 0 while the goal is unknown

m is the mean over the masses of ‖p' − g'‖², so that rewards are equally large in every dimension, and each entry of the
action matters less the more entries there are. The locations of mass i are equally spaced on the unit circle, the first
at the angle 137.5° · i; on a line they are equally spaced from 1 to −1. They have heights h_k = 1 − k / (2 N) for k = 0
… N − 1. An episode starts at rest within 0.3 of the centre, and is truncated after 50 steps. While the goal is unknown,
the return has N modes, one for each location, and the gradient of each points to its own location.
"""

import math
import re
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from sobolev.envs.specs import ArraySpec, Spaces, Step, build_spaces
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import UserError, nearest

NAME = "point-mass"
LOCATIONS, DIMENSIONS = 4, 2
"""Number of locations and of dimensions of `toy:point-mass`; `toy:point-mass-8` and `toy:point-mass-8-16d` have 8
locations, the latter in 16 dimensions."""
MOST = 64
"""Largest number of locations, and of dimensions."""
LENGTH = 50
"""Steps of an episode."""
DRAG, PUSH, STIR, PACE = 0.8, 0.2, 0.02, 0.2
WALL, START = 2.0, 0.3
REVEAL, WIDTH = 0.2, 0.5
TURN = math.pi * (3 - math.sqrt(5))
"""Angle between the locations of successive masses: the golden angle, with which no two masses have the same
locations."""


class Layout(NamedTuple):
    """The number of locations N and of dimensions D of a point mass."""

    locations: int
    dimensions: int

    @property
    def name(self) -> str:
        """The name of its environment, such as point-mass-4 or point-mass-4-8d."""
        suffix = "" if self.dimensions == DIMENSIONS else f"-{self.dimensions}d"
        return f"{NAME}-{self.locations}{suffix}"

    @property
    def masses(self) -> int:
        """The number of masses."""
        return max(1, self.dimensions // 2)


def layout_of(name: str) -> Layout:
    """Returns the layout of "point-mass", "point-mass-N", "point-mass-Dd" or "point-mass-N-Dd".

    Raises UserError for any other name, for N or D outside [1, 64], for an odd D other than 1, and on a line (D = 1)
    for an odd N other than 1.
    """
    match = re.fullmatch(rf"{NAME}(?:-(\d+))?(?:-(\d+)d)?", name)
    if match is None:
        known = [NAME, f"{NAME}-{2 * LOCATIONS}", f"{NAME}-{LOCATIONS}-{4 * DIMENSIONS}d"]
        raise nearest("task", f"toy:{name}", [f"toy:{one}" for one in known])
    layout = Layout(int(match[1] or LOCATIONS), int(match[2] or DIMENSIONS))
    for what, number in zip(layout._fields, layout, strict=True):
        if not 1 <= number <= MOST:
            raise UserError(f"toy:{name} asks for {number} {what}: it takes 1 to {MOST}")
    if layout.dimensions % 2 and layout.dimensions > 1:
        raise UserError(f"toy:{name} asks for {layout.dimensions} dimensions: it takes 1, or an even number")
    if layout.dimensions == 1 and layout.locations % 2 and layout.locations > 1:
        # One of them would be 0, which also stands for an unknown goal.
        raise UserError(f"toy:{name} asks for {layout.locations} locations on a line: it takes 1, or an even number")
    return layout


def locations(layout: Layout) -> np.ndarray:
    """Returns the locations of all masses together, float64[N, D]."""
    number, size = layout
    if size == 1:
        return np.linspace(1, -1, number)[:, None]
    angles = 2 * np.pi * np.arange(number)[:, None] / number + TURN * np.arange(layout.masses)
    return np.stack([np.cos(angles), np.sin(angles)], 2).reshape(number, size)


def worths(number: int) -> np.ndarray:
    """Returns the heights h_k, float64[N]: the reward of masses at rest at each location."""
    return 1 - np.arange(number) / (2 * number)


def moved(position: Any, velocity: Any, push: Any, noise: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """Returns p' and v' after one step, given a, clipped to [−1, 1], and what is added to velocities. All are [..., D].

    xp: the library of the arrays, NumPy or jax.numpy, by which the step can be differentiated.
    """
    velocity = DRAG * velocity + PUSH * xp.clip(push, -1.0, 1.0) + noise
    reached = position + PACE * velocity
    position = xp.clip(reached, -WALL, WALL)
    return position, xp.where(reached == position, velocity, 0.0)


def closeness(position: Any, goal: Any, xp: ModuleType = np) -> Any:
    """Returns exp(−m / (2 · 0.5²)) of positions and goals [..., D], the reward at a location that is worth 1."""
    masses = max(1, position.shape[-1] // 2)
    distance = xp.sum((position - goal) ** 2, -1) / masses
    return xp.exp(-distance / (2 * WIDTH**2))


class PointMass:
    """The point masses of a layout, `repeat` steps per action, and `kicks` added to their own noise."""

    def __init__(self, name: str, repeat: int = 1, kicks: Kicks | None = None):
        self.layout, self._repeat, self._kicks = layout_of(name), repeat, kicks or Kicks()
        self._locations, self._worths = locations(self.layout), worths(self.layout.locations)
        self._random, self._time = np.random.default_rng(0), LENGTH
        size = self.layout.dimensions
        self.position, self.velocity, self.goal = np.zeros(size), np.zeros(size), -1
        entries = {name: ArraySpec((size,), "float32") for name in ("position", "velocity", "goal")}
        self.spaces: Spaces = build_spaces(entries, size)

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        self._random, self._time = np.random.default_rng(seed), 0
        self._kicks.reset(seed)
        self.position = self._start()
        self.velocity, self.goal = np.zeros(self.layout.dimensions), -1
        return Step(self._observation(), 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. Never terminal."""
        if self._time >= LENGTH:
            raise RuntimeError("the episode of the point mass is over: reset it first")
        push, reward = action.astype(np.float64), 0.0
        for _ in range(self._repeat):
            reward += self._advance(push)
            if self._time >= LENGTH:
                break
        return Step(self._observation(), reward, False, self._time >= LENGTH, False)

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`. Locations are rings, thicker for a larger height; the goal is red.

        Planes are turned so that all masses have the locations of the first one.
        """
        view = 1.15 * WALL
        x = np.linspace(-view, view, width)[None]
        y = np.linspace(view, -view, height)[:, None]
        frame = np.full((height, width, 3), 250.0)
        inside = (np.abs(x) < WALL) & (np.abs(y) < WALL)
        frame[~inside] = 205.0
        for k, (place, worth) in enumerate(zip(in_plane(self._locations)[:, 0], self._worths, strict=True)):
            near = np.hypot(x - place[0], y - place[1])
            color = np.array([200.0, 40.0, 40.0] if k == self.goal else [70.0, 110.0, 170.0])
            frame[near < 0.13] = color
            frame[near < 0.11 * (2 - 2 * worth)] = 250.0
        for place in in_plane(self.position):
            frame[np.hypot(x - place[0], y - place[1]) < 0.08] = 20.0
        return frame.astype(np.uint8)

    def close(self) -> None:
        """See `Environment.close`."""

    def _start(self) -> np.ndarray:
        """Draws positions within START of the centre."""
        if self.layout.dimensions == 1:
            return self._random.uniform(-START, START, 1)
        angle = self._random.uniform(0, 2 * np.pi, self.layout.masses)
        radius = START * np.sqrt(self._random.uniform(size=self.layout.masses))
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()

    def _advance(self, push: np.ndarray) -> float:
        """Takes one step and returns its reward."""
        size = self.layout.dimensions
        noise = STIR * self._random.standard_normal(size) + self._kicks.draw(size)
        self.position, self.velocity = moved(self.position, self.velocity, push, noise)
        chance, drawn = self._random.uniform(), int(self._random.integers(self.layout.locations))
        if self.goal < 0 and chance < REVEAL:
            self.goal = drawn
        self._time += 1
        if self.goal < 0:
            return 0.0
        return float(self._worths[self.goal] * closeness(self.position, self._locations[self.goal]))

    def _observation(self) -> dict[str, np.ndarray]:
        goal = self._locations[self.goal] if self.goal >= 0 else np.zeros(self.layout.dimensions)
        entries = {"position": self.position, "velocity": self.velocity, "goal": goal}
        return {name: value.astype(np.float32) for name, value in entries.items()}


def in_plane(positions: np.ndarray) -> np.ndarray:
    """Returns positions [..., D] as points [..., masses, 2] of one plane, where all masses have the same locations."""
    if positions.shape[-1] == 1:
        return np.stack([positions, np.zeros_like(positions)], -1)
    points = positions.reshape(*positions.shape[:-1], -1, 2)
    angles = TURN * np.arange(points.shape[-2])
    x, y = points[..., 0], points[..., 1]
    return np.stack([np.cos(angles) * x + np.sin(angles) * y, np.cos(angles) * y - np.sin(angles) * x], -1)
