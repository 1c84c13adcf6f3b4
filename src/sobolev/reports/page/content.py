"""What a report consists of, and what its parts are made from."""

from dataclasses import dataclass
from pathlib import Path

from sobolev.plotting.panels import Picture
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.page.table import Table


@dataclass(frozen=True)
class Illustration:
    """A figure with its title and caption."""

    name: str
    """the name of its files, as in figure-2"""
    title: str
    caption: str
    picture: Picture


Part = Table | Illustration


@dataclass(frozen=True)
class Material:
    """Everything that a part of a report may be made from."""

    comparison: Comparison
    with_published: bool
    """whether published numbers are put beside one's own"""
    output: Path
    """folder of the report, from which links lead"""
    sensitivity: tuple[Path, ...] = ()
    """files of `sobolev sensitivity`"""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    parts: tuple[Part, ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those of its parts that are tables."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    @property
    def illustrations(self) -> tuple[Illustration, ...]:
        """Those of its parts that are figures."""
        return tuple(part for part in self.parts if isinstance(part, Illustration))


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    title: str
    about: str
    command: str
    headline: tuple[tuple[str, str], ...]
    """numbers that come first, each with its meaning"""
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
