"""Task names, and the environments behind them."""

from sobolev.envs import dmc, toy
from sobolev.envs import gymnasium as gym
from sobolev.envs.checks import Checked
from sobolev.envs.failures import guarded
from sobolev.envs.noise import Kicks, Noise, disturbed
from sobolev.envs.registration import check_id
from sobolev.envs.specs import Environment
from sobolev.envs.view import View, seen
from sobolev.errors import UserError, nearest

_GYM, _TOY = "gym:", "toy:"


def tasks() -> list[str]:
    """The DeepMind Control tasks, sorted. Ids of Gymnasium ("gym:Ant-v5") and toys ("toy:point-mass") are valid too."""
    return sorted(dmc.TASKS)


def check_task(task: str) -> None:
    """UserError with the nearest valid name unless there is such a task. Loads no physics for DeepMind Control."""
    if task.startswith(_GYM):
        check_id(task.removeprefix(_GYM))
    elif task.startswith(_TOY):
        toy.locations_of(task.removeprefix(_TOY))
    elif task not in dmc.TASKS:
        raise nearest("task", task, [*tasks(), _GYM, _TOY + toy.NAME])


def default_repeat(task: str) -> int:
    """The usual action repeat of the family: 2 for DeepMind Control, 1 for others."""
    return 1 if task.startswith((_GYM, _TOY)) else 2


def make(task: str, repeat: int | None = None, *, view: View | None = None, noise: Noise | None = None) -> Environment:
    """One environment in this process; repeat None takes the family's default, view None its own observations, and
    noise None is none. Noise on observations is not on images.

    What it gives is checked (`checks.Checked`). Raises UserError for an unknown task, a repeat below 1, spaces that
    sobolev cannot use, and noise on velocities of an environment that has none; WorkerError where its own code fails.
    """
    check_task(task)
    repeat = default_repeat(task) if repeat is None else repeat
    if repeat < 1:
        raise UserError(f"the action repeat is {repeat}: it must be at least 1")
    noise = noise or Noise()
    kicks = Kicks(noise.dynamics)
    with guarded(task, lambda: "while it was made"):
        if task.startswith(_GYM):
            environment: Environment = gym.Gymnasium(task.removeprefix(_GYM), repeat, kicks)
        elif task.startswith(_TOY):
            environment = toy.PointMass(task.removeprefix(_TOY), repeat, kicks)
        else:
            environment = dmc.DeepMindControl(task, repeat, kicks)
    return seen(disturbed(Checked(task, environment), noise.observation), view or View())
