"""Noise that an environment does not have by itself: on what is observed, and on the velocities of its physics.

Both are drawn from the seed of the episode, so that an episode is the same again from its seed and its actions.
"""

from dataclasses import dataclass

import numpy as np

from sobolev.envs.specs import Environment, Spaces, Step

_OBSERVATION, _DYNAMICS = 1, 2


@dataclass(frozen=True)
class Noise:
    """How much of it."""

    observation: float = 0.0
    """half-width w of the factor U[1 − w, 1 + w] on every number observed; images are left alone"""
    dynamics: float = 0.0
    """standard deviation of the normal numbers added to every velocity before every control step, in its units"""


class Kicks:
    """What is added to velocities in an episode: independent normal numbers of that scale."""

    def __init__(self, scale: float = 0.0):
        self.scale, self._random = scale, np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Begin the episode of that seed."""
        self._random = np.random.default_rng((_DYNAMICS, seed))

    def draw(self, size: int) -> np.ndarray:
        """float64[size] for the next control step."""
        return self.scale * self._random.standard_normal(size)


def disturbed(environment: Environment, width: float) -> Environment:
    """The environment whose observations are multiplied by U[1 − width, 1 + width]; itself where that is 0."""
    return Disturbed(environment, width) if width else environment


class Disturbed:
    """An environment seen through multiplicative noise, each number and step by itself, resets included."""

    def __init__(self, environment: Environment, width: float):
        self._environment, self._width, self._random = environment, width, np.random.default_rng(0)

    @property
    def spaces(self) -> Spaces:
        """See `Environment.spaces`."""
        return self._environment.spaces

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        self._random = np.random.default_rng((_OBSERVATION, seed))
        return self._disturb(self._environment.reset(seed))

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`."""
        return self._disturb(self._environment.step(action))

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`: what is, not what is observed."""
        return self._environment.render(height, width)

    def close(self) -> None:
        """See `Environment.close`."""
        self._environment.close()

    def _disturb(self, step: Step) -> Step:
        observation = {}
        for key, value in step.observation.items():
            factor = self._random.uniform(1 - self._width, 1 + self._width, value.shape)
            observation[key] = value if value.dtype == np.uint8 else (value * factor).astype(np.float32)
        return step._replace(observation=observation)
