"""The registry of families of environments, and `make`, which creates the environment of a task."""

from collections.abc import Sequence

from sobolev.envs.failures import brief, described, guarded
from sobolev.envs.families import dmc, toy
from sobolev.envs.families import gymnasium as gym
from sobolev.envs.families.gymnasium_registry import check_id, trainable
from sobolev.envs.family import Family
from sobolev.envs.specs import Environment
from sobolev.envs.wrappers.checks import Checked
from sobolev.envs.wrappers.noise import Kicks, Noise, disturbed
from sobolev.envs.wrappers.view import View, seen
from sobolev.errors import UserError, listed, nearest, suggestion
from sobolev.plugins import Registry

SUITE = Family(
    dmc.DeepMindControl,
    tasks=lambda: sorted(dmc.TASKS),
    repeat=2,
    kicked=True,
    title="DeepMind Control",
    examples=("cartpole-swingup", "finger-spin", "walker-walk", "hopper-hop"),
)
"""DeepMind Control, whose tasks have no prefix."""

FAMILIES: Registry[Family] = Registry(
    "family of environments",
    Family,
    {
        "gym": Family(
            gym.Gymnasium,
            check_id,
            trainable,
            kicked=True,
            title="Gymnasium",
            examples=("InvertedDoublePendulum-v5", "HalfCheetah-v5"),
        ),
        "toy": Family(toy.PointMass, toy.layout_of, lambda: [toy.NAME], kicked=True, title="a toy"),
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
        raise _unknown(task)
    if not name:
        named = (
            f": {prefix}:{attribute}:NAME if {attribute} is the family, {prefix}:FAMILY:{attribute} if it is the task"
        )
        raise UserError(f"{task} is not a whole task, which is MODULE:FAMILY:NAME{named if attribute else ''}")
    return FAMILIES.find(f"{prefix}:{attribute}"), name


def check_task(task: str) -> None:
    """Raises UserError, with the nearest valid name, if there is no such task. Does not load dm_control."""
    family, name = family_of(task)
    prefix = task.removesuffix(":")
    if prefix in FAMILIES.names() and task in (prefix, f"{prefix}:"):
        example = (*_examples(prefix), "NAME")[0]
        raise UserError(f"'{prefix}' is a family of tasks: give one of them, as in {prefix}:{example}")
    if family is SUITE and name not in SUITE.tasks():
        raise _unknown(task)
    family.check(name)


def default_repeat(task: str) -> int:
    """Returns the default action repeat of a task's family: 2 for DeepMind Control, 1 for most others."""
    return family_of(task)[0].repeat


def make(task: str, repeat: int | None = None, *, view: View | None = None, noise: Noise | None = None) -> Environment:
    """Creates an environment in this process.

    `repeat` is the action repeat, None the family's default. `view` chooses the observations, None those of the
    environment. `noise` None adds no noise. Everything that the environment returns is checked (`wrappers.checks`).

    Raises UserError for an unknown task, a repeat below 1, spaces that sobolev cannot use, noise on velocities if the
    environment has none, and noise on observations if all of them are bytes; WorkerError if the environment's own code
    fails.
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
    found = seen(disturbed(Checked(task, environment), noise.observation), view or View())
    if noise.observation and all(spec.dtype == "uint8" for _, spec in found.spaces.observation):
        raise UserError(f"'{task}' is observed by images or bytes alone: leave out --env.observation-noise")
    return found


def to_try() -> list[tuple[str, list[str]]]:
    """Returns every family's name, and some of its tasks: those to begin with, PREFIX:NAME if they are not known.

    A family of an installed package is called by that package, which is not imported.
    """
    found = [(SUITE.title, list(SUITE.examples))]
    for prefix, family in FAMILIES.ours.items():
        found.append((family.title or prefix, [f"{prefix}:{name}" for name in _examples(prefix) or ("NAME",)]))
    return found + [(package, [f"{prefix}:NAME"]) for prefix, package in FAMILIES.origins().items()]


def _examples(prefix: str) -> Sequence[str]:
    """Returns the tasks to begin with of the family with that prefix; none if they, or the family, are not known."""
    family, _ = FAMILIES.attempt(prefix)
    return () if family is None else family.examples or _listed(family)[0][:EXAMPLES]


EXAMPLES = 4
"""Largest number of tasks of a family that help texts show."""


def _listed(family: Family) -> tuple[Sequence[str], str]:
    """Returns the names of a family's tasks, and why they cannot be listed, if so."""
    try:
        return family.tasks(), ""
    except Exception as error:  # the code of another package
        return (), brief(described(error))


def _unknown(task: str) -> UserError:
    """Returns the error for a task that does not exist, with the nearest task of all families.

    A family of an installed package that cannot be loaded is named with the reason, since the task may be one of its
    tasks.
    """
    known, broken = list(SUITE.tasks()), []
    for prefix in FAMILIES.names():
        family, problem = FAMILIES.attempt(prefix)
        names, failure = ((), problem) if family is None else _listed(family)
        known += [f"{prefix}:{name}" for name in names]
        broken += [f"; the tasks of '{prefix}' are not known ({failure})"] if failure else []
    prefix, colon, _ = task.partition(":")
    if colon and prefix not in FAMILIES.names() and suggestion(task, known) is None:
        there = listed([*FAMILIES.names(), "or a DeepMind Control task, without a prefix"])
        return UserError(f"unknown family '{prefix}' of task '{task}': install its package, or choose from {there}")
    return UserError(str(nearest("task", task, known)) + "".join(broken))
