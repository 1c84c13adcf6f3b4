"""Checks that experiments make of their settings: each mistake is a UserError that names the flag."""

from collections.abc import Sequence
from typing import Any

from sobolev.errors import UserError


def flag(name: str) -> str:
    """The flag of a setting: --held-out for held_out."""
    return "--" + name.replace("_", "-")


def at_least(settings: Any, **least: int) -> None:
    """Every named setting is as large as its bound, or larger."""
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise UserError(f"{flag(name)} is {getattr(settings, name)}, but must be at least {bound}")


def positive(settings: Any, *names: str) -> None:
    """Every named setting is above 0 and finite: one number, or several, of which there is one at least."""
    for name in names:
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values:
            raise UserError(f"{flag(name)} needs one value at least")
        for number in values:
            if not 0 < number < float("inf"):
                raise UserError(f"{flag(name)} is {number}, but must be above 0 and finite")


def increasing(name: str, values: Sequence[int], example: str) -> None:
    """There are values, from 1 on, each larger than the one before."""
    if not values or min(values) < 1 or sorted(set(values)) != list(values):
        raise UserError(f"{flag(name)} must increase, from 1 on, as in {flag(name)} {example}")


def seeds(values: Sequence[int], fewest: int = 1) -> None:
    """Different seeds, from 0 on: one at least, or two where intervals are taken over them."""
    if len(values) < fewest or len(set(values)) < len(values) or min(values) < 0:
        needed = "one seed at least" if fewest == 1 else "two different seeds at least"
        reason = "" if fewest == 1 else ": the intervals are over seeds"
        raise UserError(f"--seeds needs {needed}, from 0 on, and none twice{reason}")
