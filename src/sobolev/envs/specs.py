"""The protocol of an environment, its spaces, and the result of a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from sobolev.errors import UserError


@dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype ("float32" or "uint8") of one observation entry."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def is_image(self) -> bool:
        """Whether it is an image: uint8[height, width, channels]."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclass(frozen=True)
class Spaces:
    """The entries of the observation, sorted by key, and the number of action dimensions, each in [-1, 1]. Hashable."""

    observation: tuple[tuple[str, ArraySpec], ...]
    action: int

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the observation entries, sorted."""
        return tuple(key for key, _ in self.observation)

    def spec(self, key: str) -> ArraySpec:
        """Returns the spec of an entry. Raises KeyError if there is no entry with that key."""
        return dict(self.observation)[key]


class Step(NamedTuple):
    """The result of a reset or a step.

    `observation` has the entries of `Spaces.observation`. `reward` is the sum over the action repeat; 0 after a reset.
    `first` marks the result of a reset, `last` the end of an episode, and `terminal` an end that is not a time limit
    (Gymnasium's `terminated`).
    """

    observation: dict[str, np.ndarray]
    reward: float
    first: bool
    last: bool
    terminal: bool


@runtime_checkable
class Environment(Protocol):
    """An environment with continuous actions, deterministic given the seed of the episode and the actions."""

    @property
    def spaces(self) -> Spaces:
        """The shapes of observations and actions."""
        ...

    def reset(self, seed: int) -> Step:
        """Begins an episode. The result depends on the seed only, whatever happened before, to the bit."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Applies action float32[A], clipped to [-1, 1] and rescaled to the task's range, for `repeat` control steps.

        Raises RuntimeError if the episode is over, UserError if the environment returns something that its spaces do
        not allow or that is not finite, WorkerError if its own code fails.
        """
        ...

    def render(self, height: int, width: int) -> np.ndarray:
        """Renders the current state, uint8[height, width, 3]. Raises UserError if that is not possible."""
        ...

    def close(self) -> None:
        """Frees the resources of the environment."""
        ...


def build_spaces(entries: Mapping[str, ArraySpec], action: int) -> Spaces:
    """Creates the spaces of an environment from its observation entries and its number of action dimensions."""
    return Spaces(tuple(sorted(entries.items())), action)


class ActionScale:
    """Rescales actions from [-1, 1] to [low, high], arrays of the task's action shape, and clips them.

    Raises UserError, naming the task, if a limit is not finite.
    """

    def __init__(self, task: str, low: np.ndarray, high: np.ndarray):
        bound = 1e9  # MuJoCo writes 1e10 for "no limit"
        if not (np.all(low > -bound) and np.all(high < bound)):
            raise UserError(
                f"the action space of '{task}' is not bounded: sobolev needs finite limits in every dimension, "
                "so give the environment a Box that has them"
            )
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        self._middle, self._half = (self.low + self.high) / 2, (self.high - self.low) / 2

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Returns float64 of the task's action shape for a flat action of any float dtype."""
        clipped = np.maximum(np.minimum(action.astype(np.float64), 1.0), -1.0).reshape(self.low.shape)
        # rounding may exceed a limit
        return np.maximum(np.minimum(self._middle + self._half * clipped, self.high), self.low)
