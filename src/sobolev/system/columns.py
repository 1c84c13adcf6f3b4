"""Rows of words as lines of text in aligned columns."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """A line for every row, its columns two blanks apart; the columns numbered in `right` stand right, others left.

    Raises ValueError where rows differ in length.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.rjust if index in right else str.ljust for index in range(len(widths))]
    lines = [zip(sides, row, widths, strict=True) for row in rows]
    return ["  ".join(side(word, width) for side, word, width in line).rstrip() for line in lines]
