"""Flags to dataclasses: tyro gives types and help, this file gives every mistake one sentence.

tyro reports a mistake in a box of several lines. Flags and values are therefore checked here, against the same
dataclass, before tyro sees them.
"""

import contextlib
import io
import math
import os
import shutil
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from sobolev.config.codec import as_path, bad_value, settings
from sobolev.errors import UserError, suggestion

T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """One flag: the type of its setting, and whether it takes no value, one, or several."""

    kind: Any
    values: Literal["none", "one", "many"]


def spelled(path: str) -> str:
    """The flag of a setting: --model.deter for model.deter."""
    return "--" + path.replace("_", "-")


def flags(default: Any, positional: str | None = None) -> dict[str, Flag]:
    """All flags of a config; a boolean has two, --fresh and --no-fresh."""
    found: dict[str, Flag] = {}
    for path, (kind, _) in settings(default).items():
        if path == positional:
            continue
        if kind is bool:
            head, _, tail = path.rpartition(".")
            negative = f"{head}.no-{tail}" if head else f"no-{tail}"
            found[spelled(path)] = found[spelled(negative)] = Flag(kind, "none")
        else:
            found[spelled(path)] = Flag(kind, "many" if get_origin(kind) is tuple else "one")
    return found


def value_of(arguments: Sequence[str], flag: str) -> str | None:
    """The value that follows a flag, before anything is parsed; None where the flag is not given."""
    found = None
    for index, token in enumerate(arguments):
        if token == flag and index + 1 < len(arguments) and not _is_flag(arguments[index + 1]):
            found = arguments[index + 1]
        elif token.startswith(flag + "="):
            found = token.partition("=")[2]
    return found


def parse(default: T, arguments: Sequence[str], *, prog: str, description: str, positional: str | None = None) -> T:
    """The config that flags make of a default. Prints help and exits where --help is asked for; raises UserError.

    `positional` is the field given without a flag, if any; where it is a tuple, it takes one value or more.
    """
    import tyro

    if "--help" in arguments or "-h" in arguments:
        arguments = ["--help"]
    else:
        several = positional is not None and isinstance(getattr(default, positional), tuple)
        arguments = checked(arguments, flags(default, positional), positional, several, prog)
    with _some_columns():
        if arguments == ["--help"]:
            return tyro.cli(type(default), prog=prog, description=description, args=arguments, default=default)
        return _at_home(_silently(default, arguments, prog))


def _silently(default: T, arguments: Sequence[str], prog: str) -> T:
    """What tyro makes of arguments, and its complaint as a UserError."""
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            return tyro.cli(type(default), prog=prog, args=arguments, default=default)
    except SystemExit:
        raise UserError(_sentence(complaint.getvalue())) from None


@contextlib.contextmanager
def _some_columns() -> Iterator[None]:
    """A terminal that is too narrow counts as one of `NARROWEST`: tyro would never end."""
    before = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        os.environ.update({} if before is None else {"COLUMNS": before})


NARROWEST = 40
"""Columns in which help can be read."""


def _at_home(value: Any) -> Any:
    """A config with the user's home in the place of ~ in every path."""
    if isinstance(value, Path):
        return as_path("the path", value)
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _at_home(getattr(value, item.name)) for item in fields(value)})
    return value


def checked(
    arguments: Sequence[str], known: dict[str, Flag], positional: str | None, several: bool = False, prog: str = ""
) -> list[str]:
    """The arguments as tyro takes them, the positional one first. Raises UserError for the first mistake."""
    free: list[str] = []
    result: list[str] = []
    waiting = list(arguments)
    while waiting:
        token = waiting.pop(0)
        if not _is_flag(token):
            free.append(token)
            continue
        name, equals, value = token.partition("=")
        name = name.replace("_", "-")
        if name not in known:
            raise _unknown(name, known)
        result += [name, *_values(name, known[name], [value] if equals else _take(known[name], waiting))]
    if positional is None and free:
        raise UserError(f"what is '{free[0]}' for? Flags begin with --")
    if positional is not None and not free:
        example = _EXAMPLES.get(positional, f"{{prog}} {positional.upper()}").format(prog=prog)
        raise UserError(f"a {positional.removesuffix('s')} is missing, as in {example}")
    if len(free) > 1 and not several:
        raise UserError(f"what is '{free[1]}' for? One {positional} is given, '{free[0]}', and flags begin with --")
    return [*free, *result]


def _take(flag: Flag, waiting: list[str]) -> list[str]:
    """Take the values of a flag off the waiting tokens; numbers end where a word follows, so the task may come last.

    A flag of several words takes all up to the next flag, so that the task cannot come after it, unless the words are
    known: then it takes those.
    """
    wanted = {"none": 0, "one": 1, "many": len(waiting)}[flag.values]
    choices = get_args(get_args(flag.kind)[0]) if flag.values == "many" else ()
    taken: list[str] = []
    while waiting and len(taken) < wanted and not _is_flag(waiting[0]):
        more = _takes_words(flag) or _is_number(waiting[0]) or waiting[0] in choices
        if taken and flag.values == "many" and not more:
            break
        taken.append(waiting.pop(0))
    return taken


def _takes_words(flag: Flag) -> bool:
    return get_args(flag.kind)[:1] == (str,)


def _unknown(name: str, known: dict[str, Flag]) -> UserError:
    """The error for a flag that does not exist: the same name inside a group is nearest of all."""
    inside = [flag for flag in known if flag.endswith("." + name.lstrip("-"))]
    near = inside[0] if inside else suggestion(name.lstrip("-"), [flag.lstrip("-") for flag in known])
    if near is None:
        return UserError(f"unknown flag '{name}': --help lists all flags")
    return UserError(f"unknown flag '{name}': did you mean --{near.lstrip('-')}?")


_EXAMPLES = {
    "task": "sobolev train walker-walk",
    "run": "sobolev evaluate runs/walker-walk/gpld-1m-0123abcd",
    "runs": "{prog} runs/walker-walk/*",
    "suite": "sobolev sweep dmc-proprio-locomotion",
    "sweep": "sobolev status runs/dmc-proprio-locomotion",
}


def _is_flag(token: str) -> bool:
    return token.startswith("-") and not _is_number(token)


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _values(name: str, flag: Flag, values: Sequence[str]) -> list[str]:
    if flag.values == "none" and values:
        raise UserError(f"{name} takes no value")
    if flag.values != "none" and not values:
        raise UserError(f"{name} needs a value")
    if flag.values != "many":
        return [_value(name, flag.kind, value) for value in values]
    member = get_args(flag.kind)[0]
    kinds = get_args(member) if get_origin(member) is tuple else (member,)
    if len(values) % len(kinds):
        raise UserError(f"{name} takes values in groups of {len(kinds)}, not {len(values)} of them")
    return [_value(name, kinds[index % len(kinds)], value) for index, value in enumerate(values)]


def _value(name: str, kind: Any, value: str) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        inner = next(item for item in get_args(kind) if item is not type(None))
        return "None" if value.lower() == "none" else _value(name, inner, value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise bad_value(name, value, kind)
    elif kind is int:
        return _whole(name, value)
    elif kind is Path:
        return str(as_path(name, value))
    elif kind is float:
        number = _number(name, value, kind)
        if math.isnan(number) or (math.isinf(number) and name not in ENDLESS):
            raise UserError(f"{name} takes a finite number, not '{value}'")
    return value


ENDLESS = ("--checkpoint.minutes",)
"""Flags that take inf."""


def _number(name: str, value: str, kind: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise bad_value(name, value, kind) from None


def _whole(name: str, value: str) -> str:
    """Whole numbers may be written as 1000000, 1_000_000 or 1e6."""
    with contextlib.suppress(ValueError):
        return str(int(value))
    number = _number(name, value, int)
    if not number.is_integer():
        raise bad_value(name, value, int)
    return str(int(number))


def _sentence(box: str) -> str:
    """What tyro says in a box, in one line."""
    words = "".join(" " if character in "─│╭╮╰╯" else character for character in box).split()
    return " ".join(words) or "these flags cannot be understood: see --help"
