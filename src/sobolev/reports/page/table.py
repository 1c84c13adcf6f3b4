"""Tables, which can be written as HTML, Markdown and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Link(NamedTuple):
    """A cell that links to a file."""

    text: str
    target: str


Text = str | Link


@dataclass(frozen=True)
class Table:
    """Rows of text below a header. A row may be marked, such as the mean of the others."""

    name: str
    """stem of its file, as in table-3"""
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset({0})
    """indices of the columns of text, which are left-aligned; all others are numbers"""
    folded: bool = False
    """whether the page folds it, because it is long"""

    def markdown(self) -> str:
        """Returns the table in GitHub's Markdown."""
        rule = ["---" if index in self.words else "---:" for index in range(len(self.columns))]
        lines = [self.columns, rule, *(self._emphasised(index) for index in range(len(self.rows)))]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def _emphasised(self, index: int) -> list[str]:
        cells = [_markdown(cell) for cell in self.rows[index]]
        return [f"**{cell}**" if cell and index in self.marked else cell for cell in cells]

    def csv(self) -> str:
        """Returns the table as comma-separated values, with the target of each link."""
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([cell.target if isinstance(cell, Link) else cell for cell in row] for row in self.rows)
        return target.getvalue()


def _markdown(cell: Text) -> str:
    if isinstance(cell, Link):
        return f"[{cell.text}](<{cell.target}>)"
    return cell.replace("|", "\\|").replace("\n", " ")


def spread(mean: float, std: float) -> str:
    """Formats a mean with its standard deviation."""
    return f"{mean:.1f} ± {std:.1f}"


def percent(share: float | None) -> str:
    """Formats a gain in percent with its sign and one decimal; "" for None."""
    return "" if share is None else "+∞" if share == float("inf") else f"{100 * share:+.1f}%".replace("-", "−")


def signed(number: float) -> str:
    """Formats a difference with its sign and one decimal."""
    return f"{number:+.1f}".replace("-", "−")


def counts(number: int, what: str) -> str:
    """Formats a number of things: 1 seed, 2 seeds."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Joins names as in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
