"""Noise added to an environment: on its observations, and on the velocities of its physics.

Both are drawn from the seed of the episode, so that an episode still depends on its seed and actions only.
"""

from dataclasses import dataclass

import numpy as np

from sobolev.envs.specs import Environment, Spaces, Step

_OBSERVATION, _DYNAMICS = 1, 2


@dataclass(frozen=True)
class Noise:
    """The strength of both kinds of noise; 0 turns it off."""

    observation: float = 0.0
    """half-width w of the factor U[1 − w, 1 + w] by which every observed number is multiplied, images excepted"""
    dynamics: float = 0.0
    """standard deviation of the normal noise added to every velocity before every control step, in its unit"""


class Kicks:
    """The noise on velocities in an episode: independent normal numbers with standard deviation `scale`."""

    def __init__(self, scale: float = 0.0):
        self.scale, self._random = scale, np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Begins an episode, given its seed."""
        self._random = np.random.default_rng((_DYNAMICS, seed))

    def draw(self, size: int) -> np.ndarray:
        """Draws float64[size] for the next control step."""
        return self.scale * self._random.standard_normal(size)


def disturbed(environment: Environment, width: float) -> Environment:
    """Wraps an environment in `Disturbed`, unless `width` is 0."""
    return Disturbed(environment, width) if width else environment


class Disturbed:
    """Multiplies the observations of an environment by U[1 − width, 1 + width], drawn for each number and step."""

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
        """See `Environment.render`. The frame has no noise."""
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
