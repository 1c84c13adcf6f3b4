"""Chooses what an agent observes: the environment's own observations, an image, or both."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sobolev.envs.specs import ArraySpec, Environment, Spaces, Step, build_spaces
from sobolev.errors import UserError

IMAGE = "image"
"""Key of the image among the observations."""


@dataclass(frozen=True)
class View:
    """A choice of observations.

    proprio: the environment's own observations. pixels: only its images, or one that is rendered, uint8[size, size, 3],
    if it has none. both: its own observations, and a rendered image if there is none among them.
    """

    kind: Literal["proprio", "pixels", "both"] = "proprio"
    size: int = 64


def seen(environment: Environment, view: View) -> Environment:
    """Wraps an environment such that it has the observations of a view.

    Raises UserError if an image is to be rendered and another observation has the key "image".
    """
    if view.kind == "proprio":
        return environment
    spaces = environment.spaces
    images = [key for key, spec in spaces.observation if spec.is_image]
    kept = images if view.kind == "pixels" else list(spaces.keys)
    if not images and IMAGE in kept:
        raise UserError(
            f"the environment has an observation called '{IMAGE}' that is not uint8[height, width, channels]: "
            "give it another name, so that an image can be drawn beside it"
        )
    return Seen(environment, tuple(kept), None if images else view.size)


class Seen:
    """An environment with some of its observations, and a rendered image of `size` pixels a side unless that is None.

    The image shows the same state as the other observations, also at the end of an episode.
    """

    def __init__(self, environment: Environment, kept: tuple[str, ...], size: int | None):
        self._environment, self._kept, self._size = environment, kept, size
        entries = {key: environment.spaces.spec(key) for key in kept}
        if size is not None:
            entries[IMAGE] = ArraySpec((size, size, 3), "uint8")
        self.spaces: Spaces = build_spaces(entries, environment.spaces.action)

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`. Raises UserError if this machine or environment cannot draw."""
        return self._look(self._environment.reset(seed))

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`."""
        return self._look(self._environment.step(action))

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`."""
        return self._environment.render(height, width)

    def close(self) -> None:
        """See `Environment.close`."""
        self._environment.close()

    def _look(self, step: Step) -> Step:
        observation = {key: step.observation[key] for key in self._kept}
        if self._size is not None:
            observation[IMAGE] = self._environment.render(self._size, self._size)
        return step._replace(observation=observation)
