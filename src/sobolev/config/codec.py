"""Converts frozen dataclasses to JSON or to flat settings, and back, without loss.

A config is a tree of frozen dataclasses whose leaves are numbers, strings, booleans, paths, literals, tuples of these,
or None. An unknown or missing key, or a value of the wrong type, raises a UserError that names it.
"""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from sobolev.errors import UserError, nearest, spelled
from sobolev.ranges import UNPREFIXED
from sobolev.system.atomic_files import json_text

T = TypeVar("T")

Kinds = Mapping[str, type]
"""The dataclass to decode at each path ("agent") whose field may hold one of several."""


@cache
def hints(cls: type) -> dict[str, Any]:
    """Returns the types of a dataclass's fields by name, without their `Annotated` metadata."""
    return get_type_hints(cls)


def encode(value: Any) -> Any:
    """Converts a config, or a leaf of one, to a tree that `json` can write."""
    if is_dataclass(value):
        return {item.name: encode(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", for which JSON has no number
    return str(value) if isinstance(value, Path) else value


def decode(kind: Any, value: Any, kinds: Kinds | None = None, path: str = "") -> Any:
    """Inverse of `encode`: returns the value of type `kind`. Whole numbers are accepted for floats.

    Raises UserError, naming `path`, if the value has another type, or if keys of a dataclass are missing or unknown.
    """
    kinds = kinds or {}
    kind = kinds.get(path, kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return value if isinstance(value, kind) else _decode_dataclass(kind, value, kinds, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if is_dataclass(value) and isinstance(value, arguments) or value is None and type(None) in arguments:
            return value
        return decode(next(item for item in arguments if item is not type(None)), value, kinds, path)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        return _decode_tuple(arguments, value, kinds, path)
    if kind is float and (value in ("inf", "-inf") or isinstance(value, (int, float)) and not isinstance(value, bool)):
        return _number(path, value)
    if kind is Path and isinstance(value, (str, Path)):
        return as_path(path, value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise bad_value(path, str(value), kind)


def _number(path: str, value: Any) -> float:
    """Converts a number to a float. Raises UserError for one that is too large, and for nan."""
    try:
        number = float(value)
    except OverflowError:
        number = math.nan
    if math.isnan(number):
        raise bad_value(path, str(value), float)
    return number


def _decode_dataclass(kind: Any, value: Any, kinds: Kinds, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{path or 'the config'} must be a table of settings, not {value!r}")
    prefix = f"{path}." if path else ""
    for name in value:
        if name not in hints(kind):
            raise nearest("setting", f"{prefix}{name}", [prefix + known for known in hints(kind)])
    for name in hints(kind):
        if name not in value:
            raise UserError(f"the setting '{prefix}{name}' is missing: the file is damaged or of another version")
    return kind(**{name: decode(hint, value[name], kinds, prefix + name) for name, hint in hints(kind).items()})


def _decode_tuple(arguments: tuple[Any, ...], value: Any, kinds: Kinds, path: str) -> tuple[Any, ...]:
    members = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(members) != len(value):
        raise UserError(f"{path} takes {len(members)} values, not {len(value)}")
    return tuple(decode(member, item, kinds, path) for member, item in zip(members, value, strict=True))


def as_path(name: str, value: str | Path) -> Path:
    """Converts what a user typed to a path; ~ is the home folder. Raises UserError, with the setting's name, for an
    empty word, which would mean the working folder."""
    if not str(value).strip():
        raise UserError(f"{name} is empty: give a path, . for the working folder")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} {value}: there is no such home folder; give the whole path") from error


def bad_value(path: str, value: str, kind: Any) -> UserError:
    """Returns the error for a value that the setting at `path` cannot take, with the nearest of its choices, if any."""
    if get_origin(kind) is Literal:
        return nearest(path, value, [str(item) for item in get_args(kind)])
    return UserError(f"{path} takes {describe(kind)}, not '{value}'")


MANY: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "words", Path: "paths"}


def describe(kind: Any) -> str:
    """Describes a type in words: "a whole number", "a path or none"."""
    words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", Path: "a path"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(item) for item in arguments if item is not type(None)) + " or none"
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return "a list of " + MANY.get(arguments[0], describe(arguments[0]))
    return words.get(kind, str(kind))


def to_json(config: Any) -> str:
    """Converts a config to JSON text with a setting per line, in the order of its fields."""
    return json_text(encode(config), indent=2) + "\n"


def tree(text: str) -> Any:
    """Parses JSON text to a tree for `decode`. Raises UserError if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"the config is not valid JSON ({error})") from error


def settings(config: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Returns the leaves of a config by path as (type, value): {"steps": (int, 160), "penalty.rho": (float, 0.5)}."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, hint in hints(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            found |= settings(value, prefix if name in UNPREFIXED else f"{prefix}{name}.")
        else:
            found[prefix + name] = (hint, value)
    return found


def words(path: str, value: Any) -> list[str]:
    """Returns the words of the command line for a setting: ["--penalty.rho", "0.25"], ["--log.no-tensorboard"]."""
    if isinstance(value, bool) and not value:
        return [off(path)]
    return [spelled(path), *([] if isinstance(value, bool) else _flat(value))]


def off(path: str) -> str:
    """Returns the flag that turns a switch off: --log.no-tensorboard for log.tensorboard."""
    head, dot, tail = path.rpartition(".")
    return spelled(f"{head}{dot}no-{tail}")


def _flat(value: Any) -> list[str]:
    if isinstance(value, (tuple, list)):
        return [word for item in value for word in _flat(item)]
    return ["none" if value is None else str(value)]


def flattened(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns settings by path: {"penalty": {"rho": 0.25}}, or {"penalty.rho": 0.25}, as {"penalty.rho": 0.25}.

    Raises UserError for a setting that is given in both forms, and for a group without settings.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        head, _, tail = f"{prefix}{name}".partition(".")
        path = tail if tail and head in UNPREFIXED else f"{prefix}{name}"
        below = {path: value}
        if isinstance(value, Mapping):
            below = flattened(value, "" if path in UNPREFIXED else f"{path}.")
            if not below:
                raise UserError(f"the table '{path}' has no settings: give one, or leave it out")
        for known in below:
            if known in found:
                raise UserError(f"the setting '{known}' is given twice: leave one out")
        found |= below
    return found


def assign(config: T, path: str, value: Any) -> T:
    """Returns a copy of a config with one setting replaced; see `assign_all`."""
    return assign_all(config, {path: value})


def assign_all(config: T, given: Mapping[str, Any]) -> T:
    """Returns a copy of a config with these settings replaced: {"penalty.rho": 0.25} or {"penalty": {"rho": 0.25}}.

    They are replaced at once, so that settings that only fit together may be given in any order. Raises UserError for
    an unknown path, naming the nearest one, for a setting that is given twice, and for a value of the wrong type.
    """
    changes: dict[str, Any] = {}
    for path, value in flattened(given).items():
        where = _located(config, path.split("."))
        if where is None:
            raise _unknown(config, path, value)
        group: Any = changes
        for name in where[:-1]:
            group = group.setdefault(name, {}) if isinstance(group, dict) else group
        if not isinstance(group, dict) or where[-1] in group:
            raise UserError(f"the setting '{path}' is given twice, by itself and with its group: leave one out")
        group[where[-1]] = _Given(path, value)
    return _replaced(config, changes)


def _unknown(config: Any, path: str, value: Any) -> UserError:
    """Returns the error for a path that is none, such as steps.x, with the nearest one."""
    known, head = settings(config), path.rpartition(".")[0]
    if head in known:
        return bad_value(head, str({path.rpartition(".")[2]: value}), known[head][0])
    return nearest("setting", path, known)


class _Given(NamedTuple):
    """A new value of the setting at a path."""

    path: str
    value: Any


def _located(group: Any, names: list[str]) -> tuple[str, ...] | None:
    """Returns the fields that lead to a setting, groups without a prefix included; None if there is no such setting."""
    known = hints(type(group))
    if len(names) == 1 and names[0] in known:
        return (names[0],)
    if names[0] in known:
        child = getattr(group, names[0])
        below = _located(child, names[1:]) if is_dataclass(child) else None
        return None if below is None else (names[0], *below)
    for hidden in UNPREFIXED & known.keys():
        below = _located(getattr(group, hidden), names)
        if below is not None:
            return (hidden, *below)
    return None


def _replaced(group: Any, changes: Mapping[str, Any]) -> Any:
    known = hints(type(group))

    def changed(name: str, change: Any) -> Any:
        child = getattr(group, name)
        if not isinstance(change, _Given):
            return _replaced(child, change)
        return decode(type(child) if is_dataclass(child) else known[name], change.value, None, change.path)

    return replace(group, **{name: changed(name, change) for name, change in changes.items()})
