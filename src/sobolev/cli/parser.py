"""Parses flags into dataclasses with tyro, and turns its errors into a `UserError` of one sentence.

tyro prints an error as a box of several lines, but first passes it to a hook, which raises the `UserError`. The hook is
in a private module of tyro; with versions of tyro that lack it, the text of the box becomes the sentence.
"""

import contextlib
import copy
import io
import itertools
import os
import shutil
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from sobolev.config.codec import as_path, bad_value, off, settings
from sobolev.errors import UserError, nearest, spelled, suggestion
from sobolev.ranges import infinite

T = TypeVar("T")

Owner = Callable[[str], str | None]
"""What has a flag that is unknown here, as in "--method mage", or None."""


def flags(config: Any) -> dict[str, str]:
    """Returns the setting of every flag of a config. A boolean has two flags, --fresh and --no-fresh."""
    found: dict[str, str] = {}
    for path, (kind, _) in settings(config).items():
        found |= {spelled(path): path} | ({off(path): path} if kind is bool else {})
    return found


def flag_of(word: str) -> str | None:
    """Returns the flag in a word of the command line, spelled alike; None if the word is a value."""
    flag = word.startswith("-") and not _is_number(word)
    return word.partition("=")[0].replace("_", "-") if flag else None


def early(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """Returns the values of the named flags, None for one that is not given, without parsing any others.

    The defaults of all other flags depend on these.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", nargs="?")
    return vars(parser.parse_known_args(list(arguments))[0])


def parse(
    default: T,
    arguments: Sequence[str],
    *,
    prog: str,
    description: str,
    positional: str | None = None,
    kind: Any = None,
    owner: Owner = lambda flag: None,
) -> T:
    """Returns the default config with the settings changed that the flags name.

    `positional` is the field that is given without a flag, before the flags or after them; a tuple takes one value or
    more. `kind` is the type to parse, by default the class of the config. `owner` says for an unknown flag what else
    has it (see `unknown_flag`). Prints help and exits for --help. Raises UserError for a mistake in the arguments.
    """
    return _parsed(default, arguments, prog, description, positional, kind, owner)[0]


def parse_known(
    default: T, arguments: Sequence[str], *, prog: str, description: str, positional: str
) -> tuple[T, list[str]]:
    """Like `parse`, for a positional word that comes first. Also returns the words of flags that are not known."""
    return _parsed(default, arguments, prog, description, positional, None, None)


def _parsed(
    default: T,
    arguments: Sequence[str],
    prog: str,
    description: str,
    positional: str | None,
    kind: Any,
    owner: Owner | None,
) -> tuple[T, list[str]]:
    """See `parse`; without an owner, the words of unknown flags are returned."""
    import tyro

    words = ["--help"] if {"--help", "-h", "--help-all"} & set(arguments) else list(arguments)
    line = _Line(default, words, positional, prog)
    line.check_flags(owner)
    if positional is not None:
        default = copy.copy(default)
        vars(default)[positional] = tyro.MISSING  # `dataclasses.replace` would check the type of the value
    box = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_some_columns())
        if words != ["--help"]:
            stack.enter_context(contextlib.redirect_stderr(box))
            stack.enter_context(contextlib.redirect_stdout(box))
            stack.enter_context(_hooked(line.tell))
        named: Any = {"prog": prog, "description": description, "args": words, "registry": _registry()}
        try:
            found: Any = tyro.cli(kind or type(default), default=default, return_unknown_args=owner is None, **named)
        except SystemExit:
            if words == ["--help"]:
                raise
            raise UserError(_sentence(box.getvalue())) from None
    config, unknown = found if owner is None else (found, [])
    line.check_given(config)
    return config, unknown


@contextlib.contextmanager
def _some_columns() -> Iterator[None]:
    """Makes a narrower terminal count as one of `NARROWEST` columns, with which tyro would loop forever."""
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


class _Line:
    """A command line, and the errors that it can have."""

    def __init__(self, default: Any, words: Sequence[str], positional: str | None, prog: str) -> None:
        self.words, self.positional, self.prog = words, positional, prog
        self.flags = {flag: path for flag, path in flags(default).items() if path != positional}
        self.kinds = {path: kind for path, (kind, _) in settings(default).items()}

    def check_flags(self, owner: Owner | None) -> None:
        """Raises UserError for a switch with a value, and with an `owner` to ask for a flag that does not exist.

        tyro would take either for the positional word, or report that word as missing.
        """
        for flag, word in ((flag, word) for word in self.words if (flag := flag_of(word)) not in (None, "--help")):
            if flag not in self.flags and owner is not None:
                raise unknown_flag(flag, self.flags, owner(flag))
            if "=" in word and self.kinds.get(self.flags.get(flag, "")) is bool:
                raise UserError(f"{flag} takes no value")

    def check_given(self, config: Any) -> None:
        """Raises UserError for a flag of several values that has none, a missing positional word, nan and infinity."""
        for path, (_, value) in settings(config).items():
            # if the positional word is missing, tyro takes the last value of a flag for it
            if path == self.positional and (value == () or isinstance(value, str) and _is_number(value)):
                raise self.missing()
            if value == () and any(flag_of(word) == spelled(path) for word in self.words):
                raise UserError(f"{spelled(path)} needs a value")
        for path, number in infinite(config):
            raise UserError(f"{spelled(path)} takes a finite number, not '{number}'")

    def missing(self) -> UserError:
        """Returns the error for a line without its positional word."""
        assert self.positional is not None
        example = _EXAMPLES.get(self.positional, f"{{prog}} {self.positional.upper()}").format(prog=self.prog)
        others = _OTHERS.get(self.positional, "")
        return UserError(f"a {self.positional.removesuffix('s')} is missing, as in {example}{others}")

    def tell(self, event: Any) -> None:
        """Raises UserError for an error that tyro found; kinds that are not handled here are left to tyro."""
        argument = getattr(event, "argument", None)
        flag = argument.lowered.name_or_flags[0] if argument is not None else ""
        match type(event).__name__:
            case "MissingArgs":
                raise self.missing()
            case "UnrecognizedArgs":
                raise unexpected(event.tokens[0], self.prog, self.positional)
            case "BadValue":
                raise UserError(f"{flag} needs a value") if flag in self.flags else self.missing()
            case "InvalidChoice":
                raise nearest(flag, event.value, event.choices)
            case "InstantiationFailure" if flag in self.flags:
                raise wrong_value(flag, self.kinds[self.flags[flag]], self.values(flag))
            case "InstantiationFailure" if self.positional is not None:
                free = [word for word in self.words if flag_of(word) is None]
                raise wrong_value(self.positional.upper(), self.kinds[self.positional], free)

    def values(self, flag: str) -> list[str]:
        """Returns the values that follow the last occurrence of a flag."""
        at = max(number for number, word in enumerate(self.words) if flag_of(word) == flag)
        _, equals, value = self.words[at].partition("=")
        after = itertools.takewhile(lambda word: flag_of(word) is None, self.words[at + 1 :])
        return [value] if equals else list(after)


def unexpected(word: str, prog: str, positional: str | None) -> UserError:
    """Returns the error for a word that is neither a flag, nor a flag's value, nor the positional word."""
    takes = "only flags" if positional is None else f"one {positional.upper()}, and flags"
    return UserError(f"unexpected argument '{word}': {prog} takes {takes}, which begin with --")


def unknown_flag(name: str, known: Iterable[str], owner: str | None) -> UserError:
    """Returns the error for a flag that does not exist: with its `owner`, or a suggestion: first the same name
    inside a group."""
    if owner is not None:
        return UserError(f"unknown flag '{name}': it belongs to {owner}")
    known = list(known)
    inside = [flag for flag in known if flag.endswith("." + name.lstrip("-"))]
    near = inside[0] if inside else suggestion(name.lstrip("-"), [flag.lstrip("-") for flag in known])
    if near is None:
        return UserError(f"unknown flag '{name}': --help-all lists all flags")
    return UserError(f"unknown flag '{name}': did you mean --{near.lstrip('-')}?")


def wrong_value(flag: str, kind: Any, values: Sequence[str]) -> UserError:
    """Returns the error for the first value that a flag of this type cannot take."""
    member = get_args(kind)[0] if get_origin(kind) is tuple else kind
    members = get_args(member) if get_origin(member) is tuple else (member,)
    if len(values) % len(members):
        return UserError(f"{flag} takes values in groups of {len(members)}, not {len(values)} of them")
    for value, each in zip(values, itertools.cycle(members), strict=False):
        inner = next((item for item in get_args(each) if item is not NoneType), each)
        try:
            {int: whole, float: float, Path: partial(as_path, flag)}.get(inner, str)(value)
        except ValueError:
            return bad_value(flag, value, inner)
    return bad_value(flag, " ".join(values), kind)


def whole(word: str) -> int:
    """Returns the whole number in a word: 1000000, 1_000_000 or 1e6. Raises ValueError for any other word."""
    with contextlib.suppress(ValueError):
        return int(word)
    number = float(word)
    if not number.is_integer():
        raise ValueError(word)
    return int(number)


def _is_number(word: str) -> bool:
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False


def _registry() -> Any:
    """Returns tyro's registry with our own parsers for whole numbers (`whole`), paths (`as_path`) and None ("none")."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def integers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
        if info.type is not int:
            return None
        return PrimitiveConstructorSpec(
            1, "INT", lambda words: whole(words[0]), lambda x: type(x) is int, lambda x: [str(x)]
        )

    @registry.primitive_rule
    def paths(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
        if info.type is not Path:
            return None
        return PrimitiveConstructorSpec(
            1, "PATH", lambda words: _path(words[0]), lambda x: isinstance(x, Path), lambda x: [str(x)]
        )

    @registry.primitive_rule
    def nothing(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
        if info.type is not NoneType:
            return None
        return PrimitiveConstructorSpec(
            1, "none", lambda words: None, lambda x: x is None, lambda x: ["none"], choices=("none", "None")
        )

    return registry


def _path(word: str) -> Path:
    """Returns the path of a word. Raises ValueError, as tyro expects, if `as_path` refuses it."""
    try:
        return as_path("the path", word)
    except UserError as error:
        raise ValueError(str(error)) from error


def _hooked(tell: Any) -> contextlib.AbstractContextManager[None]:
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        return contextlib.nullcontext()
    return on_parse_error(tell)


_EXAMPLES = {
    "task": "sobolev train walker-walk",
    "run": "sobolev evaluate runs/walker-walk/gpld-1m-0123abcd",
    "runs": "{prog} runs/walker-walk/*",
    "suite": "sobolev sweep dmc-proprio-locomotion",
    "sweep": "sobolev status runs/dmc-proprio-locomotion",
}
_OTHERS = {
    "task": "; others to try are cartpole-swingup, finger-spin, hopper-hop, gym:HalfCheetah-v5 and toy:point-mass, and "
    "sobolev train --help has more",
}
"""What the message adds to the example of a missing word."""


def _sentence(box: str) -> str:
    """Returns the text of tyro's box on one line."""
    words = "".join(" " if character in "─│╭╮╰╯" else character for character in box).split()
    return " ".join(words) or "these flags cannot be understood: see --help"
