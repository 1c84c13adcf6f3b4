"""Checks of the settings of experiments. Each raises a UserError that names the flag."""

from collections.abc import Sequence
from typing import Any

from sobolev.errors import UserError, spelled


def at_least(settings: Any, **least: int) -> None:
    """Checks that every named setting is at least its bound."""
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise UserError(f"{spelled(name)} is {getattr(settings, name)}, but must be at least {bound}")


def positive(settings: Any, *names: str) -> None:
    """Checks that every named setting, a number or a nonempty list of numbers, is above 0 and finite."""
    for name in names:
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values:
            raise UserError(f"{spelled(name)} needs one value at least")
        for number in values:
            if not 0 < number < float("inf"):
                raise UserError(f"{spelled(name)} is {number}, but must be above 0 and finite")


def increasing(name: str, values: Sequence[int], example: str) -> None:
    """Checks that there are values, that they are at least 1, and that they increase."""
    if not values or min(values) < 1 or sorted(set(values)) != list(values):
        raise UserError(f"{spelled(name)} must increase, from 1 on, as in {spelled(name)} {example}")


def seeds(values: Sequence[int], fewest: int = 1) -> None:
    """Checks that there are at least `fewest` seeds, that they are at least 0, and that they differ."""
    if len(values) < fewest or len(set(values)) < len(values) or min(values) < 0:
        needed = "one seed at least" if fewest == 1 else "two different seeds at least"
        reason = "" if fewest == 1 else ": the intervals are over seeds"
        raise UserError(f"--seeds needs {needed}, from 0 on, and none twice{reason}")
