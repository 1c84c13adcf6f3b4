"""`sobolev sensitivity`, or `sobolev study sensitivity`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from matplotlib.figure import Figure
from tyro.conf import Positional, arg

from sobolev.checkpoints.run_folder import read_config
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Results, Say
from sobolev.experiments.sensitivity import figures, runs
from sobolev.smoothness.sensitivity import MAGNITUDES
from sobolev.system import jax_setup

ABOUT = """Measure local sensitivity (arXiv 2605.23089, Appendix F) and exact Jacobian norms of posterior and prior.

For every RUN, at its newest checkpoint and at every snapshot (sobolev train --checkpoint.snapshots N), the agent of
each seed plays episodes, and the inputs of posterior and prior are perturbed by 0.1% to 10% of their mean norm. Runs
with the same settings count as seeds of one curve. Writes sensitivity.json, .png and .pdf into --out."""


@dataclass(frozen=True)
class SensitivityConfig:
    """The runs to measure, and the numbers of episodes and states."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN", help_behavior_hint="")]
    """folders of runs, of several methods and seeds"""
    out: Annotated[Path, arg(metavar="DIR")] = Path("results/sensitivity")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    episodes: Annotated[int, arg(metavar="N")] = 2
    """episodes per seed and checkpoint"""
    states: Annotated[int, arg(metavar="N")] = 512
    """states of these episodes, drawn at random, at which to measure"""


def check(config: SensitivityConfig) -> None:
    """Raises UserError for invalid settings, and for folders that are not runs."""
    checks.at_least(config, episodes=1, states=1)
    for run in config.runs:
        read_config(run)


def run(config: SensitivityConfig, say: Say) -> Results:
    """Returns `magnitudes`, and `records` (see `runs.measure_runs`)."""
    jax_setup.configure(all(read_config(run).compilation_cache for run in config.runs))
    records = runs.measure_runs(config.runs, config.episodes, config.states, say)
    return {"sensitivity": {"magnitudes": MAGNITUDES, "records": records}}


def draw(config: SensitivityConfig, results: Results) -> dict[str, Figure]:
    """Draws the methods side by side, or over env steps if there are several checkpoints."""
    note = f"{config.states} states of {config.episodes} episodes per seed and checkpoint"
    return {"sensitivity": figures.draw(results["sensitivity"]["records"], note)}


def summary(config: SensitivityConfig, results: Results) -> Sequence[str]:
    """Returns a table of means and standard deviations over seeds."""
    return runs.table(results["sensitivity"]["records"])


EXPERIMENT = Experiment(ABOUT, SensitivityConfig(runs=(Path("RUN"),)), run, draw, summary, check, positional="runs")
