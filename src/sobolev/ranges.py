"""The numbers that a setting can have, as bounds on its field: `rho: Annotated[float, Gt(0), Le(1)] = 0.5`."""

import math
import operator
from collections.abc import Iterator
from dataclasses import astuple, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from sobolev.errors import UserError

Bound = Ge | Gt | Le | Lt

UNPREFIXED = frozenset({"agent"})
"""Fields whose settings are named without them: `--batch-size`, not `--agent.batch-size`."""


def check_ranges(config: Any, prefix: str = "--") -> None:
    """UserError for the first number of a config, or of the groups within it, that is infinite or out of its bounds.

    The setting is called by `prefix` and its name: "--penalty.rho is 0.0, but must be in (0, 1]". A setting without
    bounds takes all finite numbers, and one that may be None is not checked where it is. A bound of infinity, as in
    `Le(math.inf)`, is what lets a number be infinite.
    """
    for path, value, limits in bounded(config):
        if isinstance(value, (int, float)) and not _inside(value, limits):
            raise UserError(f"{prefix}{path.replace('_', '-')} is {value}, but must be {_words(value, limits)}")


def infinite(config: Any) -> Iterator[tuple[str, float]]:
    """Path and value of every number in a config that is not finite, and has no bound that lets it be so."""
    for path, value, limits in bounded(config):
        yield from ((path, number) for number in _numbers(value) if not _finite(number, limits))


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)):
        yield value


def bounded(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, tuple[Bound, ...]]]:
    """Path, value and bounds of every setting of a config and of the groups within it."""
    for name, limits in _bounds(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            yield from bounded(value, prefix if name in UNPREFIXED else f"{prefix}{name}.")
        else:
            yield prefix + name, value, limits


def allowed(cls: type) -> dict[str, str]:
    """The numbers that each field of a dataclass can have, in words as in "at least 1"; empty where all are allowed."""
    return {name: _words(0, limits) if limits else "" for name, limits in _bounds(cls).items()}


@cache
def _bounds(cls: type) -> dict[str, tuple[Bound, ...]]:
    """The bounds of each field of a dataclass, by name; () for one that has none."""
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: tuple(_of(hints[item.name])) for item in fields(cls)}


def _of(hint: Any) -> Iterator[Bound]:
    """The bounds of a number's type, or of one that may be None."""
    if get_origin(hint) is Annotated:
        yield from (item for item in hint.__metadata__ if isinstance(item, Bound))
    for part in get_args(hint):
        yield from _of(part)


def _inside(value: int | float, limits: tuple[Bound, ...]) -> bool:
    return _finite(value, limits) and all(_keeps(value, limit) for limit in limits)


def _finite(value: int | float, limits: tuple[Bound, ...]) -> bool:
    return isinstance(value, int) or math.isfinite(value) or any(astuple(limit)[0] == value for limit in limits)


def _keeps(value: int | float, limit: Bound) -> bool:
    compare: Any = {Ge: operator.ge, Gt: operator.gt, Le: operator.le, Lt: operator.lt}[type(limit)]
    return compare(value, astuple(limit)[0])


def _words(value: int | float, limits: tuple[Bound, ...]) -> str:
    """The bounds in words: "at least 1", "above 0", "in [0, 1)"."""
    limits = tuple(limit for limit in limits if math.isfinite(astuple(limit)[0]))
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number" + (" " + _words(0, limits) if limits else "")
    if len(limits) == 1:
        names = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
        return f"{names[type(limits[0])]} {astuple(limits[0])[0]}"
    opening = next(f"{'[' if isinstance(x, Ge) else '('}{astuple(x)[0]}" for x in limits if isinstance(x, (Ge, Gt)))
    closing = next(f"{astuple(x)[0]}{']' if isinstance(x, Le) else ')'}" for x in limits if isinstance(x, (Le, Lt)))
    return f"in {opening}, {closing}"
