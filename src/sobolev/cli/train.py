"""`sobolev train TASK …`: trains an agent, or resumes a run that stopped."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sobolev.cli import choices, short_help
from sobolev.cli.described import described
from sobolev.cli.parser import early, flags, parse
from sobolev.config import TrainConfig, defaults
from sobolev.config.codec import settings
from sobolev.config.registry import METHODS, OURS
from sobolev.smoothness.config import map_names
from sobolev.smoothness.regularizers.registry import REGULARIZERS, penalty_type
from sobolev.system.output import Guard, say

DESCRIPTION = """Train an agent on TASK: walker-walk and the like (DeepMind Control), or gym:Ant-v5 (Gymnasium).

The same command is the same run: given again, it resumes where the run stopped. A larger --steps trains it further,
--fresh starts over. --preset, --size, --method and --regularizer choose the defaults shown here; every other flag
changes one setting.

"""

EVERYDAY = {
    "preset": ("NAME", "set of defaults"),
    "size": ("NAME", "size of the networks"),
    "steps": ("N", "env steps per seed"),
    "seeds": ("S …", "trained in one program"),
    "observations": ("NAME", "proprio, pixels or both"),
    "run": ("DIR", "folder of the run; unless given, runs/TASK/METHOD-SIZE-HASH"),
    "fresh": ("", "delete what an earlier run left, and start over"),
    "regularizer": ("NAME", "how maps of the model are smoothed"),
    "penalty.rho": ("X", "share of a batch's states that is penalised"),
    "train_ratio": ("X", "replayed steps per agent step"),
    "updates_per_step": ("N", "updates per agent step"),
    "batch_size": ("N", "windows (or transitions) in the batch of an update"),
    "optimizer.learning_rate": ("X", "learning rate after the warm-up"),
    "env.number": ("N", "environments per seed"),
    "replay.memory": ("NAME", "device, or host if replay does not fit on the GPU"),
    "evaluation.every": ("N", "env steps between evaluations"),
    "evaluation.episodes": ("N", "episodes of an evaluation"),
    "log.wandb": ("PROJECT", "log to Weights & Biases too"),
    "devices.data": ("N", "devices that divide each batch"),
}
"""Settings that are changed often, in the order of the help: a placeholder for the value, and a description. The
coefficients of a method's maps come after the regularizer."""


def config_from(arguments: Sequence[str]) -> TrainConfig[Any]:
    """Returns the config of a command line: the defaults of its preset, size, method and regularizer, changed by its
    other flags."""
    chosen = early(arguments, "method", "size", "preset", "regularizer")
    method = chosen["method"] or "gpld"
    default = defaults("", method, chosen["size"], chosen["preset"], chosen["regularizer"])
    if short_help.asked(arguments) and short_help.ALL not in arguments:
        print("\n".join(everyday(default, chosen["regularizer"])))
        raise SystemExit(0)
    return parse(
        default,
        arguments,
        prog="sobolev train",
        description=DESCRIPTION + "\n".join(everything(default)) if short_help.asked(arguments) else "",
        positional="task",
        kind=TrainConfig[type(default.agent)],
        owner=owner,
    )


def owner(flag: str) -> str | None:
    """Returns which methods of ours have a flag, or else which regularizers, as in "--method dsdpg, mmd or iqn"; None
    if none has, or all have."""
    of_methods = {name: defaults("", name) for name in OURS}
    of_regularizers = {name: defaults("", "gpld", regularizer=name) for name in REGULARIZERS}
    for what, configs in (("method", of_methods), ("regularizer", of_regularizers)):
        having = [name for name, config in configs.items() if flag in changeable(config)]
        if 0 < len(having) < len(configs):
            *some, last = having
            return f"--{what} {', '.join(some)} or {last}" if some else f"--{what} {last}"
    return None


def changeable(config: TrainConfig[Any]) -> dict[str, str]:
    """Returns the flags that the method of a config lets change, each with its setting."""
    method = METHODS.find(config.method)
    return {flag: path for flag, path in flags(config).items() if method.fixing(path) is None}


def everyday(default: TrainConfig[Any], regularizer: str | None) -> list[str]:
    """Returns the short help, which fits on a screen: tasks, methods, everyday flags, and the flags of the chosen
    regularizer and of a method from another package."""
    method, all_flags = METHODS.find(default.method), described(default)
    free = [flag for flag in all_flags if method.fixing(flag.path) is None]
    texts = _with_maps(default) | {"preset": ("NAME", choices.presets(method))}
    lines = ["usage: sobolev train TASK [--FLAG VALUE …]", "", *textwrap.wrap(SHORT, 80), ""]
    lines += ["Tasks to try:", *choices.tasks(), "", "Methods:", *choices.methods(default.method), ""]
    lines += [*choices.names(default), "", "Everyday flags, with their defaults in brackets:"]
    lines += short_help.everyday(free, texts)
    if method.name not in OURS:
        common = {path for name in OURS for path in settings(defaults("", name))}
        if own := [flag for flag in free if flag.path not in common]:
            lines += ["", f"Flags of {method.name}:", *short_help.in_full(own)]
    if regularizer is not None:
        common = set(settings(defaults("", default.method)))
        if own := [flag for flag in free if flag.group == "penalty" and flag.path not in common]:
            lines += ["", f"Flags of {regularizer}:", *short_help.in_full(own)]
    return [*lines, "", f"All flags: sobolev train {short_help.ALL} [--method NAME] [--regularizer NAME]"]


def _with_maps(default: TrainConfig[Any]) -> dict[str, tuple[str, str]]:
    """Returns the texts of the everyday flags, with the coefficient of every map that the method can regularise."""
    kind = penalty_type(type(default.agent), "jacobian")
    maps = map_names(kind) if kind else ()
    texts: dict[str, tuple[str, str]] = {}
    for path, text in EVERYDAY.items():
        texts[path] = text
        if path == "regularizer":
            texts |= {f"penalty.{name}": ("X", f"initial coefficient, on the {name}") for name in maps}
    return texts


def everything(default: TrainConfig[Any]) -> list[str]:
    """Returns the lines above the full help: tasks, methods, and the choices of flags that take a name."""
    lines = ["Tasks to try:", *choices.tasks(), "", "Methods:", *choices.methods(default.method)]
    for line in [*choices.names(default), *choices.more(default)]:
        lines += ["", line]
    return lines


SHORT = """Train an agent on TASK, or resume a run that stopped: the same command is the same run. A larger --steps
goes further."""


def main(arguments: Sequence[str]) -> int:
    """Trains as the flags say, and draws the learning curve at the end. Returns the exit status."""
    config = config_from(arguments)
    from sobolev.distributed.processes import leads
    from sobolev.training.start import start

    run, status = start(config)
    if status == 0 and config.evaluation.episodes and leads():
        path = Guard(str(run / "curve.png"), Exception)(draw, run)  # matplotlib may raise anything
        if path is not None:
            say(f"learning curve: {path}")
    return status


def draw(run: Path) -> Path:
    """Draws the learning curve of a run into its folder. Returns the path of the picture."""
    from sobolev.reports.figures.run_curve import draw_run

    path = run / "curve.png"
    draw_run(run, path)
    return path
