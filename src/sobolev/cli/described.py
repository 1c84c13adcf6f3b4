"""Descriptions of the flags of a config, for the short help and for the reference in docs/, which is generated."""

import types
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from sobolev.config.codec import hints
from sobolev.errors import spelled
from sobolev.ranges import UNPREFIXED, allowed


@dataclass(frozen=True)
class Flag:
    """One flag of a command."""

    name: str
    """as typed on the command line: --penalty.rho"""
    path: str
    """path of the setting: penalty.rho"""
    group: str
    """group of the setting: penalty; empty if it has none"""
    values: str
    """the values it takes, in words"""
    default: Any
    about: str
    """the docstring of the setting; empty if it has none"""


def described(config: Any, prefix: str = "") -> list[Flag]:
    """Returns the flags of a config, in the order of its fields."""
    found: list[Flag] = []
    about, limits = docstrings(type(config)), allowed(type(config))
    for name, hint in hints(type(config)).items():
        value, path = getattr(config, name), prefix + name
        if is_dataclass(value):
            found += described(value, prefix if name in UNPREFIXED else f"{path}.")
        else:
            takes, group = _values(hint, limits[name]), path.rpartition(".")[0]
            found.append(Flag(spelled(path), path, group, takes, value, about.get(name, "")))
    return found


@cache
def docstrings(cls: type) -> dict[str, str]:
    """Returns the docstring below each field of a dataclass and of its base classes, on one line each."""
    from docstring_parser import parse_from_object

    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if is_dataclass(part) and fields(part):
            try:
                params = parse_from_object(part).params
            except (OSError, TypeError):  # a class without source code, as from `make_dataclass`
                continue
            found |= {item.arg_name: " ".join((item.description or "").split()) for item in params}
    return found


def shown(value: Any) -> str:
    """Returns a default in the spelling of the command line."""
    if isinstance(value, (tuple, list)):
        return " ".join(map(shown, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _values(kind: Any, limits: str) -> str:
    names = {int: "whole number", float: "number", str: "word", bool: "on or off", Path: "path"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return ", or ".join("none" if item is type(None) else _values(item, limits) for item in arguments)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return "several: " + _values(arguments[0], limits)
    if origin is tuple:
        return " and ".join(_values(item, limits) for item in arguments)
    return f"{names.get(kind, str(kind))} {limits}".strip()
