"""The settings of the training environments."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from sobolev.envs.wrappers.noise import Noise
from sobolev.system.resources import cores


@dataclass(frozen=True)
class EnvConfig:
    """Number, action repeat, noise and processes of the training environments."""

    number: Annotated[int, Ge(1)] = 16
    """environments per seed"""
    repeat: Annotated[int, Ge(1)] | None = None
    """control steps per action; none: 2 for DeepMind Control, 1 for others"""
    image_size: Annotated[int, Ge(16)] = 64
    """height and width of rendered images (--observations pixels or both), a multiple of 16"""
    observation_noise: Annotated[float, Ge(0), Lt(1)] = 0.0
    """half-width w of the factor U[1 − w, 1 + w] by which every observed number is multiplied, in training and
    evaluation; images and other bytes are not"""
    dynamics_noise: Annotated[float, Ge(0)] = 0.0
    """standard deviation of the normal noise added to all velocities of the physics before every control step, in
    training and evaluation"""
    workers: Annotated[int, Ge(0)] | None = None
    """processes that step the environments of all seeds; none: min(cores, environments); 0: step them in this process.
    Does not change what is computed"""

    @property
    def noise(self) -> Noise:
        """The noise on observations and on velocities."""
        return Noise(self.observation_noise, self.dynamics_noise)


def worker_count(config: EnvConfig, environments: int) -> int:
    """Returns the number of worker processes for so many environments in total (seeds × number)."""
    if config.workers is not None:
        return min(config.workers, environments)
    return min(len(cores()), environments)
