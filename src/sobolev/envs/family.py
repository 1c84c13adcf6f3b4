"""A family of environments: the tasks with one prefix, and the function that creates them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sobolev.envs.specs import Environment
from sobolev.envs.wrappers.noise import Kicks


def _anything(name: str) -> None:
    """Accepts any name: `make` then raises for one that does not exist."""


def _none() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Family:
    """Environments of one kind. Their tasks are called PREFIX:NAME, as in gym:Ant-v5.

    The prefix is the name under which a package registers the family (as an entry point of the group
    `sobolev.environments`), or its location, as in my_package.my_module:FAMILY.
    """

    make: Callable[[str, int, Kicks], Environment]
    """creates an environment from (name, action repeat, noise on velocities); raises UserError for an unknown name"""
    check: Callable[[str], Any] = _anything
    """raises UserError, with the nearest name, for an unknown name; should be fast"""
    tasks: Callable[[], Sequence[str]] = _none
    """returns the names of the tasks, as far as they can be listed, for "did you mean" and help texts"""
    repeat: int = 1
    """the default action repeat"""
    kicked: bool = False
    """whether the environments add the noise to their velocities; if not, --env.dynamics-noise is refused"""
    title: str = ""
    """what help texts call the family; its prefix by default"""
    examples: Sequence[str] = ()
    """names of tasks to begin with, for help texts; the first of `tasks` by default"""
