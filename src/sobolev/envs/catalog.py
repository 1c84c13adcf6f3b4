"""The registry of families of environments, and `make`, which creates the environment of a task."""

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
        "toy": Family(toy.PointMass, toy.layout_of, lambda: [toy.NAME], kicked=True),
    },
    "sobolev.environments",
)
"""All other families, by the prefix of their tasks."""


def tasks() -> list[str]:
    """Returns the DeepMind Control tasks, sorted. "gym:" with a Gymnasium id, and "toy:point-mass", are tasks too."""
    return list(SUITE.tasks())


def family_of(task: str) -> tuple[Family, str]:
    """Returns the family of a task, and the task's name within it.

    Raises UserError if there is no such family. The `check` of the family tells whether it has the task.
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
    """Raises UserError, with the nearest valid name, if there is no such task. Does not load dm_control."""
    family, name = family_of(task)
    if family is SUITE and name not in SUITE.tasks():
        raise nearest("task", task, _known())
    family.check(name)


def default_repeat(task: str) -> int:
    """Returns the default action repeat of a task's family: 2 for DeepMind Control, 1 for most others."""
    return family_of(task)[0].repeat


def make(task: str, repeat: int | None = None, *, view: View | None = None, noise: Noise | None = None) -> Environment:
    """Creates an environment in this process.

    `repeat` is the action repeat, None the family's default. `view` chooses the observations, None those of the
    environment. `noise` None adds no noise. Everything that the environment returns is checked (`wrappers.checks`).

    Raises UserError for an unknown task, a repeat below 1, spaces that sobolev cannot use, and noise on velocities if
    the environment has none; WorkerError if the environment's own code fails.
    """
    check_task(task)
    family, name = family_of(task)
    repeat = family.repeat if repeat is None else repeat
    if repeat < 1:
        raise UserError(f"the action repeat is {repeat}: it must be at least 1")
    noise = noise or Noise()
    if noise.dynamics and not family.kicked:
        raise UserError(f"'{task}' takes no noise on its velocities: leave out --env.dynamics-noise")
    with guarded(task, lambda: "while it was created"):
        environment = family.make(name, repeat, Kicks(noise.dynamics))
    return seen(disturbed(Checked(task, environment), noise.observation), view or View())


def _known() -> list[str]:
    """Returns the names to suggest: the tasks of DeepMind Control, the toys, and the prefixes of other families."""
    toys = [f"toy:{name}" for name in FAMILIES.ours["toy"].tasks()]
    return [*tasks(), *toys, *(f"{prefix}:" for prefix in FAMILIES.names() if prefix != "toy")]
