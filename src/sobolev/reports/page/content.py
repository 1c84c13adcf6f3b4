"""The parts of a report, and the material from which they are made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sobolev.plotting.panels import Picture
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.analysis.measures import MEASURES, Measure
from sobolev.reports.page.table import Table

P = TypeVar("P")


@dataclass(frozen=True)
class Illustration:
    """A figure with its title and caption."""

    name: str
    """stem of its files, as in figure-2"""
    title: str
    caption: str
    picture: Picture


Part = Table | Illustration


@dataclass(frozen=True)
class Material:
    """The input of the functions in `registry`."""

    comparison: Comparison
    with_published: bool
    """whether to show published numbers beside those of the runs"""
    output: Path
    """folder of the report, to which links are relative"""
    sensitivity: tuple[Path, ...] = ()
    """files of `sobolev sensitivity`"""

    def of_families(self, part_of: Callable[[Comparison, str, Measure], P | None]) -> list[P]:
        """Returns what `part_of` makes for every measure and every family of tasks, without None."""
        families = self.comparison.families
        parts = [part_of(self.comparison, family, measure) for measure in MEASURES for family in families]
        return [part for part in parts if part is not None]


@dataclass(frozen=True)
class Section:
    """A section of the page with a heading."""

    id: str
    title: str
    parts: tuple[Part, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its parts that are tables."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def illustrations(self) -> tuple[Illustration, ...]:
        """Its parts that are figures."""
        return tuple(part for part in self.parts if isinstance(part, Illustration))


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    title: str
    about: str
    command: str
    headline: tuple[tuple[str, str], ...]
    """the first numbers of the page, each with its meaning"""
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
