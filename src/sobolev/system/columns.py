"""Formats rows of words in aligned columns."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Returns a line per row, with two spaces between columns. The columns in `right` are aligned to the right.

    Raises ValueError if rows differ in length.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.rjust if index in right else str.ljust for index in range(len(widths))]
    lines = [zip(sides, row, widths, strict=True) for row in rows]
    return ["  ".join(side(word, width) for side, word, width in line).rstrip() for line in lines]
