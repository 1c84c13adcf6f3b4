"""Creating the environments of a run from its config."""

from sobolev.config import TrainConfig
from sobolev.envs import Environment, Spaces, VectorEnv, Workers, make
from sobolev.envs.printing import on_stderr

TRAINING, DURING_TRAINING, AFTERWARDS = 0, 1, 2
"""Kinds of environments: for training, and for evaluation during it and after it."""


def environments(workers: Workers, config: TrainConfig, number: int, kind: int) -> VectorEnv:
    """`number` environments for each seed of a resolved config."""
    return VectorEnv(
        workers, config.task, config.env.repeat, config.seeds, number, kind, view=config.view, noise=config.env.noise
    )


def environment(config: TrainConfig) -> Environment:
    """One environment in this process."""
    return make(config.task, config.env.repeat, view=config.view, noise=config.env.noise)


def spaces(config: TrainConfig) -> Spaces:
    """Observations and actions of a config's environment, which is created for this and closed again."""
    with on_stderr():
        made = environment(config)
        made.close()
    return made.spaces
