"""The rows of metrics that log sinks receive, and the interface of a sink's view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class Picture(NamedTuple):
    """An encoded PNG or animated GIF, and its size in pixels."""

    encoded: bytes
    height: int
    width: int
    film: Path | None = None
    """an .mp4 or .gif file with the same film at full size and length, if there is one"""

    @property
    def moves(self) -> bool:
        """Whether it is an animated GIF."""
        return self.encoded.startswith(b"GIF8")


@dataclass(frozen=True)
class Row:
    """The metrics and pictures of one seed at one env step."""

    number: int
    """index among all rows of the run, from 0, counting all seeds"""
    step: int
    """env steps"""
    seed: int
    values: Mapping[str, float]
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@runtime_checkable
class View(Protocol):
    """Receives the rows of a run. If it raises, that is reported once, and the run continues."""

    def write(self, row: Row) -> None:
        """Write a row."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...
