"""`sobolev sensitivity RUN…`: how far the latent tables of runs' agents move when their inputs do."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from sobolev.commands.arguments import parse
from sobolev.errors import UserError
from sobolev.training import jaxconfig
from sobolev.training.run import read_config, write_text

DESCRIPTION = """Local sensitivity of posterior and prior (paper 1, Appendix F) and exact Jacobian norms.

For every RUN, at its newest checkpoint and at every kept copy of its networks (sobolev train --checkpoint.snapshots N),
each seed's agent plays episodes, and the inputs of its tables are perturbed there by 0.1% to 10% of their mean norm.
Runs with the same settings are seeds of one curve. Writes sensitivity.json, .png and .pdf into --out."""


@dataclass(frozen=True)
class SensitivityConfig:
    """What to measure, and how much of it."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help_behavior_hint="")]
    """folders of runs, of several methods and seeds"""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/sensitivity")
    """folder for the figure and the numbers"""
    episodes: Annotated[int, arg(metavar="N")] = 2
    """episodes per seed and checkpoint"""
    states: Annotated[int, arg(metavar="N")] = 512
    """states of these episodes, drawn at random, at which the tables are measured"""


def main(arguments: Sequence[str]) -> int:
    """Measure as the flags say; returns the exit status."""
    default = SensitivityConfig(runs=(Path("RUN"),))
    config = parse(default, arguments, prog="sobolev sensitivity", description=DESCRIPTION, positional="runs")
    for flag, value in (("episodes", config.episodes), ("states", config.states)):
        if value < 1:
            raise UserError(f"--{flag} is {value}, but must be at least 1")
    jaxconfig.configure(all(read_config(run).compilation_cache for run in config.runs))
    from sobolev.plotting.output_files import create_folder, save
    from sobolev.study import sensitivity as study
    from sobolev.study import sensitivity_figure

    out = create_folder(config.out)
    records = study.measure_runs(config.runs, config.episodes, config.states)
    command = shlex.join(["sobolev", "sensitivity", *arguments])
    numbers = {"command": command, "magnitudes": study.MAGNITUDES, "records": records}
    write_text(out / "sensitivity.json", json.dumps(numbers) + "\n")
    note = f"{config.states} states of {config.episodes} episodes per seed and checkpoint"
    paths = save(sensitivity_figure.draw(records, note), out / "sensitivity")
    print("\n".join([*study.summary(records), *(f"written: {path}" for path in paths)]))
    return 0
