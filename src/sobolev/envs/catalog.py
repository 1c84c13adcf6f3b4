"""Task names, and the environments behind them."""

from sobolev.envs import dmc
from sobolev.envs import gymnasium as gym
from sobolev.envs.specs import Environment
from sobolev.errors import UserError, nearest

_GYM = "gym:"


def tasks() -> list[str]:
    """The DeepMind Control tasks, sorted. Ids of Gymnasium ("gym:Ant-v5") are valid beside them."""
    return sorted(dmc.TASKS)


def check_task(task: str) -> None:
    """UserError with the nearest valid name unless there is such a task. Loads no physics for DeepMind Control."""
    if task.startswith(_GYM):
        gym.check_id(task.removeprefix(_GYM))
    elif task not in dmc.TASKS:
        raise nearest("task", task, [*tasks(), _GYM])


def default_repeat(task: str) -> int:
    """The usual action repeat of the family: 2 for DeepMind Control, 1 for Gymnasium."""
    return 1 if task.startswith(_GYM) else 2


def make(task: str, repeat: int | None = None) -> Environment:
    """One environment in this process; repeat None takes the family's default.

    Raises UserError for an unknown task, a repeat below 1, and spaces that sobolev cannot use.
    """
    check_task(task)
    repeat = default_repeat(task) if repeat is None else repeat
    if repeat < 1:
        raise UserError(f"the action repeat is {repeat}: it must be at least 1")
    if task.startswith(_GYM):
        return gym.Gymnasium(task.removeprefix(_GYM), repeat)
    return dmc.DeepMindControl(task, repeat)
