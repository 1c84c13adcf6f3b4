"""What an experiment is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class Settings(Protocol):
    """The settings of an experiment: a frozen dataclass, each field with a docstring."""

    @property
    def out(self) -> Path:
        """The folder for numbers and figures."""
        ...


S = TypeVar("S", bound=Settings)

Record: TypeAlias = dict[str, Any]
"""Numbers, words, and lists or records of these, by name: what JSON can hold. NumPy's numbers and arrays count too."""

Results: TypeAlias = Mapping[str, Record]
"""A record for every file that an experiment writes, by the file's name without `.json`."""

Say: TypeAlias = Callable[[str], None]
"""Takes a line about the progress of an experiment: `print`, in the command line."""


def _any_settings(settings: Any) -> None:
    """The check of an experiment without one."""


@dataclass(frozen=True)
class Experiment(Generic[S]):
    """An experiment: `sobolev study` makes flags of its settings, runs it, and writes its numbers and figures."""

    about: str
    """for --help: one line on what it does, then what it measures and which files it writes"""
    settings: S
    """the default settings: every field is a flag, and its docstring the help of that flag"""
    run: Callable[[S, Say], Results]
    """makes the numbers of checked settings"""
    draw: "Callable[[S, Results], Mapping[str, Figure]]"
    """figures of these numbers, by the name of their files without `.png` and `.pdf`"""
    summary: Callable[[S, Results], Sequence[str]]
    """lines that say what came out"""
    check: Callable[[S], None] = _any_settings
    """raises UserError for settings that cannot be run, before anything is computed"""
    positional: str | None = None
    """the setting that is given without a flag, if there is one"""
