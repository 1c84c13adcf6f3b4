"""The interface of an experiment."""

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
"""A JSON tree by name: numbers, strings, and lists or records of them. Numbers and arrays of NumPy are converted."""

Results: TypeAlias = Mapping[str, Record]
"""A record for each JSON file that an experiment writes, by the name of the file without `.json`."""

Say: TypeAlias = Callable[[str], None]
"""A function that takes a line about the progress of an experiment, such as `print`."""


def _any_settings(settings: Any) -> None:
    """Accepts any settings: the default check."""


@dataclass(frozen=True)
class Experiment(Generic[S]):
    """An experiment. `sobolev study` turns its settings into flags, runs it, and writes its numbers and figures."""

    about: str
    """text of --help: a line that says what it does, then what it measures and which files it writes"""
    settings: S
    """the default settings; every field becomes a flag, with its docstring as the help"""
    run: Callable[[S, Say], Results]
    """computes the numbers, for settings that passed `check`"""
    draw: "Callable[[S, Results], Mapping[str, Figure]]"
    """draws the figures of these numbers, by the name of their files without `.png` and `.pdf`"""
    summary: Callable[[S, Results], Sequence[str]]
    """returns lines that summarise the results"""
    check: Callable[[S], None] = _any_settings
    """raises UserError for invalid settings, before anything is computed"""
    positional: str | None = None
    """setting that is given without a flag, if any"""
