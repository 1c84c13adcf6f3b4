"""`sobolev sensitivity RUN…`: the experiment `sensitivity`, as a command of its own."""

from collections.abc import Sequence

from sobolev.cli import study


def main(arguments: Sequence[str]) -> int:
    """Measure as the flags say; returns the exit status."""
    return study.run("sensitivity", arguments, "sobolev sensitivity")
