"""Task names, and the environments behind them."""

from sobolev.envs.failures import guarded
from sobolev.envs.families import dmc, toy
from sobolev.envs.families import gymnasium as gym
from sobolev.envs.families.gymnasium_registry import check_id
from sobolev.envs.family import Family
from sobolev.envs.specs import Environment
from sobolev.envs.wrappers.checks import Checked
from sobolev.envs.wrappers.noise import Kicks, Noise, disturbed
from sobolev.envs.wrappers.view import View, seen
from sobolev.errors import UserError, nearest
from sobolev.plugins import Registry

SUITE = Family(dmc.DeepMindControl, tasks=lambda: sorted(dmc.TASKS), repeat=2, kicked=True)
"""DeepMind Control, whose tasks have no prefix."""

FAMILIES: Registry[Family] = Registry(
    "family of environments",
    Family,
    {
        "gym": Family(gym.Gymnasium, check_id, kicked=True),
        "toy": Family(toy.PointMass, toy.locations_of, lambda: [toy.NAME], kicked=True),
    },
    "sobolev.environments",
)
"""The others, by the prefix of their tasks."""


def tasks() -> list[str]:
    """The DeepMind Control tasks, sorted. Ids of Gymnasium ("gym:Ant-v5") and toys ("toy:point-mass") are valid too."""
    return list(SUITE.tasks())


def family_of(task: str) -> tuple[Family, str]:
    """The family of a task, and what the task is called in it.

    Raises UserError where there is no such family; whether it has the task, its `check` says.
    """
    prefix, colon, name = task.partition(":")
    if not colon:
        return SUITE, task
    if prefix in FAMILIES.names():
        return FAMILIES.find(prefix), name
    attribute, colon, name = name.partition(":")
    if "." not in prefix and not colon:
        raise nearest("task", task, [f"{known}:{attribute}" for known in FAMILIES.names()])
    if not name:
        raise UserError(f"{task} names no task: give one after a colon, as in {prefix}:{attribute or 'FAMILY'}:NAME")
    return FAMILIES.find(f"{prefix}:{attribute}"), name


def check_task(task: str) -> None:
    """UserError with the nearest valid name unless there is such a task. Loads no physics for DeepMind Control."""
    family, name = family_of(task)
    if family is SUITE and name not in SUITE.tasks():
        raise nearest("task", task, _known())
    family.check(name)


def default_repeat(task: str) -> int:
    """The usual action repeat of the family: 2 for DeepMind Control, 1 for most others."""
    return family_of(task)[0].repeat


def make(task: str, repeat: int | None = None, *, view: View | None = None, noise: Noise | None = None) -> Environment:
    """One environment in this process; repeat None takes the family's default, view None its own observations, and
    noise None is none. Noise on observations is not on images.

    What it gives is checked (`checks.Checked`). Raises UserError for an unknown task, a repeat below 1, spaces that
    sobolev cannot use, and noise on velocities of an environment that has none; WorkerError where its own code fails.
    """
    check_task(task)
    family, name = family_of(task)
    repeat = family.repeat if repeat is None else repeat
    if repeat < 1:
        raise UserError(f"the action repeat is {repeat}: it must be at least 1")
    noise = noise or Noise()
    if noise.dynamics and not family.kicked:
        raise UserError(f"'{task}' takes no noise on its velocities: leave out --env.dynamics-noise")
    with guarded(task, lambda: "while it was made"):
        environment = family.make(name, repeat, Kicks(noise.dynamics))
    return seen(disturbed(Checked(task, environment), noise.observation), view or View())


def _known() -> list[str]:
    """Names to suggest: the tasks of DeepMind Control, the toys, and the prefixes of the others."""
    toys = [f"toy:{name}" for name in FAMILIES.ours["toy"].tasks()]
    return [*tasks(), *toys, *(f"{prefix}:" for prefix in FAMILIES.names() if prefix != "toy")]
