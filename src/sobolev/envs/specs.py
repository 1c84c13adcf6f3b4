"""What an environment is: shapes of its observations, one step, and the protocol that every family follows."""

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
        """Whether it is bytes laid out [height, width, channels]."""
        return self.dtype == "uint8" and len(self.shape) == 3


@dataclass(frozen=True)
class Spaces:
    """Observation entries, sorted by key, and the number of action dimensions, each in [-1, 1]. Hashable."""

    observation: tuple[tuple[str, ArraySpec], ...]
    action: int

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the observation entries, sorted."""
        return tuple(key for key, _ in self.observation)

    def spec(self, key: str) -> ArraySpec:
        """The entry of that name; KeyError if there is none."""
        return dict(self.observation)[key]


class Step(NamedTuple):
    """What an environment gives after a reset or a step.

    `observation` has the entries of `Spaces.observation`; `reward` is summed over the action repeat, 0 after a reset.
    `first`: a reset led here. `last`: the episode ends here, `terminal` as well if it is not only a time limit.
    """

    observation: dict[str, np.ndarray]
    reward: float
    first: bool
    last: bool
    terminal: bool


@runtime_checkable
class Environment(Protocol):
    """One environment with continuous actions. Deterministic given the seed of the episode and the actions."""

    @property
    def spaces(self) -> Spaces:
        """Shapes of observations and actions."""
        ...

    def reset(self, seed: int) -> Step:
        """Begin the episode of that seed. Equals the first reset of a fresh environment bit for bit."""
        ...

    def step(self, action: np.ndarray) -> Step:
        """Take action float32[A], clipped to [-1, 1] and rescaled to the task's range, for `repeat` control steps.

        RuntimeError if the episode is over; UserError if what the environment gives is not what `spaces` say, or not
        finite (`checks`); WorkerError where its own code fails.
        """
        ...

    def render(self, height: int, width: int) -> np.ndarray:
        """The present state as uint8[height, width, 3]; UserError where this machine or environment cannot."""
        ...

    def close(self) -> None:
        """Free what the environment holds."""
        ...


def build_spaces(entries: Mapping[str, ArraySpec], action: int) -> Spaces:
    """Spaces with the entries sorted by key."""
    return Spaces(tuple(sorted(entries.items())), action)


class ActionScale:
    """Maps actions from [-1, 1] to [low, high], arrays of the task's action shape; what is beyond is clipped."""

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
        """float64 of the task's action shape, for a flat action of any float dtype."""
        clipped = np.maximum(np.minimum(action.astype(np.float64), 1.0), -1.0).reshape(self.low.shape)
        # rounding may step over a limit
        return np.maximum(np.minimum(self._middle + self._half * clipped, self.high), self.low)
