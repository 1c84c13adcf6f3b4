"""`sobolev sensitivity RUN…`: the same as `sobolev study sensitivity RUN…`."""

from collections.abc import Sequence

from sobolev.cli import study


def main(arguments: Sequence[str]) -> int:
    """Runs the experiment with the settings of the flags. Returns the exit status."""
    return study.run("sensitivity", arguments, "sobolev sensitivity")
