"""`sobolev train TASK …`: train an agent, or go on with a run that stopped."""

from collections.abc import Sequence
from pathlib import Path

from sobolev.cli.parser import parse, value_of
from sobolev.config.train import TrainConfig, defaults
from sobolev.system.output import Guard, say

DESCRIPTION = """Train an agent on TASK: walker-walk and the like (DeepMind Control), or gym:Ant-v5 (Gymnasium).

The same command is the same run: given again it goes on where it stopped, a larger --steps goes further, and --fresh
begins anew. --preset, --size, --method and --regularizer choose the defaults shown here; every
other flag changes one setting."""


def config_from(arguments: Sequence[str]) -> TrainConfig:
    """The config of a command line: the defaults of its preset, size and method, changed by its other flags."""
    chosen = {name: value_of(arguments, f"--{name}") for name in ("method", "size", "preset", "regularizer")}
    asks_help = "-h" in arguments or "--help" in arguments
    default = defaults(
        "walker-walk" if asks_help else "",
        method=chosen["method"] or "gpld",
        size=chosen["size"],
        preset=chosen["preset"] or "paper",
        regularizer=chosen["regularizer"],
    )
    return parse(default, arguments, prog="sobolev train", description=DESCRIPTION, positional="task")


def main(arguments: Sequence[str]) -> int:
    """Train as the flags say, and draw the learning curve at the end; returns the exit status."""
    config = config_from(arguments)
    from sobolev.distributed.processes import leads
    from sobolev.training.start import start

    run, status = start(config)
    if status == 0 and config.evaluation.episodes and leads():
        path = Guard(str(run / "curve.png"), Exception)(draw, run)  # matplotlib may fail in its own ways
        if path is not None:
            say(f"learning curve: {path}")
    return status


def draw(run: Path) -> Path:
    """Draws the run's learning curve into its folder and returns the picture's path."""
    from sobolev.reports.run_curve import draw_run

    path = run / "curve.png"
    draw_run(run, path)
    return path
