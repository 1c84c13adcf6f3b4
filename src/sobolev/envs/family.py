"""What a family of environments is: the tasks whose names begin alike, and what makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sobolev.envs.specs import Environment
from sobolev.envs.wrappers.noise import Kicks


def _anything(name: str) -> None:
    """The check of a family that finds out what a name is worth when it makes the environment."""


def _none() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Family:
    """Environments of one kind. Their tasks are called PREFIX:NAME, as in gym:Ant-v5.

    The prefix is the name under which a package registers the family (entry points of the group
    `sobolev.environments`), or where it is, as in my_package.my_module:FAMILY.
    """

    make: Callable[[str, int, Kicks], Environment]
    """(name, action repeat, kicks to velocities) → an environment; raises UserError for a name that is none"""
    check: Callable[[str], Any] = _anything
    """raises UserError, with the nearest name, for a name that is none, without making anything that takes long"""
    tasks: Callable[[], Sequence[str]] = _none
    """names to choose from, so far as they can be listed"""
    repeat: int = 1
    """the usual action repeat"""
    kicked: bool = False
    """whether `make` heeds the kicks (--env.dynamics-noise); else they are always zero"""
