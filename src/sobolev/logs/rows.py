"""What goes to the views of a run's metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable


class Picture(NamedTuple):
    """A PNG, or a GIF that moves, and its size."""

    encoded: bytes
    height: int
    width: int
    film: Path | None = None
    """a file that shows the same at full size and length, .mp4 or .gif, if there is one"""

    @property
    def moves(self) -> bool:
        """Whether it is a GIF."""
        return self.encoded.startswith(b"GIF8")


@dataclass(frozen=True)
class Row:
    """What is logged of one seed at one env step."""

    number: int
    """of the rows of the run from its beginning, all seeds together; from 0"""
    step: int
    """env steps"""
    seed: int
    values: Mapping[str, float]
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@runtime_checkable
class View(Protocol):
    """Another place to which rows go; what it raises is reported once, and ends nothing."""

    def write(self, row: Row) -> None:
        """Write a row."""
        ...

    def close(self) -> None:
        """Write everything out and close."""
        ...
