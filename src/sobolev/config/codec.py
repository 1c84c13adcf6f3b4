"""Frozen dataclasses as JSON and as flat settings, exactly and in both directions.

A config is a tree of frozen dataclasses whose leaves are numbers, strings, booleans, paths, literals, tuples of these,
or None. Nothing is guessed: an unknown or missing key, or a value of another type, is a UserError that names it.
"""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sobolev.errors import UserError, nearest
from sobolev.ranges import UNPREFIXED
from sobolev.system.atomic_files import json_text

T = TypeVar("T")

Kinds = Mapping[str, type]
"""By path ("agent"), the dataclass at a field that may hold one of several."""


@cache
def hints(cls: type) -> dict[str, Any]:
    """The field types of a dataclass, by field name, without what is annotated beside them."""
    return get_type_hints(cls)


def encode(value: Any) -> Any:
    """A config or a leaf of it as a tree that `json` can write."""
    if is_dataclass(value):
        return {item.name: encode(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", for which JSON has no number
    return str(value) if isinstance(value, Path) else value


def decode(kind: Any, value: Any, kinds: Kinds | None = None, path: str = "") -> Any:
    """The value of type `kind` that `encode` turned into `value`; whole numbers are taken for floats as well.

    Raises UserError naming `path` where the value is of another type, or a dataclass lacks or has other keys.
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
    """A number as a float. Raises UserError for one that a float cannot hold, and for nan."""
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
    for name in value.keys() - hints(kind).keys():
        raise nearest("setting", prefix + name, [prefix + known for known in hints(kind)])
    for name in hints(kind).keys() - value.keys():
        raise UserError(f"the setting '{prefix}{name}' is missing: another version wrote the file, or it is damaged")
    return kind(**{name: decode(hint, value[name], kinds, prefix + name) for name, hint in hints(kind).items()})


def _decode_tuple(arguments: tuple[Any, ...], value: Any, kinds: Kinds, path: str) -> tuple[Any, ...]:
    members = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(members) != len(value):
        raise UserError(f"{path} takes {len(members)} values, not {len(value)}")
    return tuple(decode(member, item, kinds, path) for member, item in zip(members, value, strict=True))


def as_path(name: str, value: str | Path) -> Path:
    """A path as a user writes it, ~ being home. Raises UserError, with the setting's name, for one without a letter,
    which would be the working folder."""
    if not str(value).strip():
        raise UserError(f"{name} is empty: give a path, . for the working folder")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} {value} has no home folder: give the whole path") from error


def bad_value(path: str, value: str, kind: Any) -> UserError:
    """The error for a value that the setting at `path` cannot take, with the nearest choice where there are choices."""
    if get_origin(kind) is Literal:
        return nearest(path, value, [str(item) for item in get_args(kind)])
    return UserError(f"{path} takes {describe(kind)}, not '{value}'")


def describe(kind: Any) -> str:
    """A type in words: "a whole number", "none or a path"."""
    words = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", Path: "a path"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(item) for item in arguments if item is not type(None)) + " or none"
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple:
        return "several of: " + describe(arguments[0])
    return words.get(kind, str(kind))


def to_json(config: Any) -> str:
    """A config as JSON text, one setting per line, in the order of its fields."""
    return json_text(encode(config), indent=2) + "\n"


def tree(text: str) -> Any:
    """The JSON tree of a text, for `decode`. Raises UserError where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"the config is not valid JSON ({error})") from error


def settings(config: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """All leaves of a config by path, as (type, value): {"steps": (int, 1000000), "penalty.rho": (float, 0.5), ...}."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, hint in hints(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            found |= settings(value, prefix if name in UNPREFIXED else f"{prefix}{name}.")
        else:
            found[prefix + name] = (hint, value)
    return found


def words(path: str, value: Any) -> list[str]:
    """A setting as the command line takes it: ["--penalty.rho", "0.25"], ["--log.no-tensorboard"]."""
    name = path.replace("_", "-")
    if isinstance(value, bool):
        head, dot, tail = name.rpartition(".")
        return [f"--{name}" if value else f"--{head}{dot}no-{tail}"]
    return ["--" + name, *_flat(value)]


def _flat(value: Any) -> list[str]:
    if isinstance(value, (tuple, list)):
        return [word for item in value for word in _flat(item)]
    return ["none" if value is None else str(value)]


def assign(config: T, path: str, value: Any) -> T:
    """A copy of a config with the setting (or the whole group of settings) at `path` replaced.

    Raises UserError for an unknown path, with the nearest one, or a value of the wrong type.
    """
    changed = _assign(config, path.split("."), value, path)
    if changed is None:
        raise nearest("setting", path, settings(config))
    return changed


def _assign(config: Any, names: list[str], value: Any, path: str) -> Any:
    types_of = hints(type(config))
    if names[0] in types_of:
        child = getattr(config, names[0])
        if len(names) == 1:
            kind = type(child) if is_dataclass(child) else types_of[names[0]]
            return replace(config, **{names[0]: decode(kind, value, None, path)})
        changed = _assign(child, names[1:], value, path) if is_dataclass(child) else None
        return None if changed is None else replace(config, **{names[0]: changed})
    for hidden in UNPREFIXED & types_of.keys():
        changed = _assign(getattr(config, hidden), names, value, path)
        if changed is not None:
            return replace(config, **{hidden: changed})
    return None
