"""`sobolev train TASK …`: train an agent, or go on with a run that stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sobolev.agents.method import Method
from sobolev.cli.parser import early, parse
from sobolev.config import TrainConfig, defaults
from sobolev.config.registry import METHODS, OURS
from sobolev.plugins import package
from sobolev.system.output import Guard, say

DESCRIPTION = """Train an agent on TASK: walker-walk and the like (DeepMind Control), or gym:Ant-v5 (Gymnasium).

The same command is the same run: given again it resumes where it stopped, a larger --steps goes further, and --fresh
begins anew. --preset, --size, --method and --regularizer choose the defaults shown here; every other flag changes one
setting.

"""


def config_from(arguments: Sequence[str]) -> TrainConfig[Any]:
    """The config of a command line: the defaults of its preset, size, method and regularizer, changed by its other
    flags."""
    chosen = early(arguments, "method", "size", "preset", "regularizer")
    method = chosen["method"] or "gpld"
    default = defaults("", method, chosen["size"], chosen["preset"], chosen["regularizer"])
    asks_help = "-h" in arguments or "--help" in arguments
    return parse(
        default,
        arguments,
        prog="sobolev train",
        description=DESCRIPTION + listed(METHODS.find(method)) if asks_help else "",
        positional="task",
        kind=TrainConfig[type(default.agent)],
    )


def listed(method: Method) -> str:
    """The methods that there are, and the presets and sizes of one of them."""
    about = {name: known.about for name, known in OURS.items()}
    about |= {point.name: f"from {package(point)}" for point in METHODS.registered() if point.name not in about}
    width = max(map(len, about))
    lines = ["Methods:", *(f"  {name:<{width}}  {what}" for name, what in about.items()), ""]
    return "\n".join(
        [*lines, f"Presets of {method.name}: {', '.join(method.presets)}. Sizes: {', '.join(method.sizes)}."]
    )


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
