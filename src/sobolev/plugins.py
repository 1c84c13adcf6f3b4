"""Objects of one kind by name: ours, those that installed packages register, and any other by `module:OBJECT`."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from sobolev.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Where objects of one kind come from. Imports no package of others before one of its objects is asked for."""

    kind: str
    """what they are called in messages: "method" """
    of: type[T]
    """their type"""
    ours: Mapping[str, T]
    group: str
    """the entry point group under which packages register theirs"""
    places: Mapping[str, str] = field(default_factory=dict)
    """more of ours, as module:OBJECT: those that are slow to import"""

    def find(self, reference: str) -> T:
        """The object of that name, or at `module:OBJECT`. Raises UserError where there is none, with the nearest."""
        if reference in self.ours:
            return self.ours[reference]
        if reference in self.places:
            return self._load(self.places[reference])
        if ":" in reference:
            return self._load(reference)
        points = [point for point in self.registered() if point.name == reference]
        if not points:
            raise nearest(self.kind, reference, self.names())
        if len(points) > 1:
            places = ", ".join(f"{point.value} ({package(point)})" for point in points)
            raise UserError(f"several packages have a {self.kind} '{reference}': give one of {places} in its place")
        return self._load(f"{points[0].module}:{points[0].attr}")  # without the extras that it may name

    def names(self) -> list[str]:
        """All names: ours, then those of packages."""
        return list(dict.fromkeys([*self.ours, *self.places, *(point.name for point in self.registered())]))

    def origins(self) -> dict[str, str]:
        """The names that only installed packages have, each with its package, in order. Imports none of them."""
        found: dict[str, str] = {}
        for point in self.registered():
            if point.name not in self.ours and point.name not in self.places:
                others = f"{found[point.name]} and " if point.name in found else ""
                found[point.name] = others + package(point)
        return found

    def attempt(self, name: str) -> tuple[T | None, str]:
        """The object of that name and "", or None and why it cannot be loaded.

        For lists of what there is, which a broken package must not end.
        """
        try:
            return self.find(name), ""
        except Exception as error:  # the package of somebody else may raise anything
            return None, str(error) if isinstance(error, UserError) else _brief(error)

    def registered(self) -> list[EntryPoint]:
        """What installed packages register, in the order of the names."""
        return sorted(entry_points(group=self.group), key=lambda point: point.name)

    def _load(self, reference: str) -> T:
        module_name, _, attribute = reference.partition(":")
        module = _module(module_name, reference)
        if not hasattr(module, attribute):
            there = [name for name, value in vars(module).items() if isinstance(value, self.of)]
            if there:
                raise nearest(f"{self.kind} of {module_name}", attribute, there)
            lack = f"{module_name} has no {self.kind}: "
            if attribute:
                lack = f"unknown {self.kind} of {module_name} '{attribute}': it has none; "
            others = ", ".join(self.names()) or "an installed package"
            raise UserError(f"{lack}give one of {others}, or MODULE:NAME of a {_place(self.of)}")
        found: Any = getattr(module, attribute)
        if not isinstance(found, self.of):
            raise UserError(f"{reference} is of type {type(found).__name__}: it must be a {_place(self.of)}")
        return found


def package(point: EntryPoint) -> str:
    """The package that registers an object."""
    return point.dist.name if point.dist else point.module


def _brief(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _module(name: str, reference: str) -> Any:
    """The module of a reference. An error inside of it is raised as it is, for the one who writes it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"there is no module '{error.name}' for {reference}: install its package, or run from the folder it is in"
        ) from None
    except (ValueError, TypeError):  # no name, or one that begins with a dot
        raise UserError(f"'{reference}' has no module: give module:OBJECT, as in my_package.my_module:NAME") from None
