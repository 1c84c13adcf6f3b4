"""`sobolev study transition`: what a penalty on the Jacobian of DSDPG's world model does."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from sobolev.errors import UserError
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Results, Say
from sobolev.experiments.transition import figures
from sobolev.experiments.transition.runs import NONE, Cell, TransitionConfig, cells, train_all, train_config
from sobolev.smoothness import find
from sobolev.system.columns import aligned

ABOUT = """Train DSDPG with penalties on its world model's Jacobian, and measure κ, the return and the model's error.

DSDPG's operator is a contraction if γκ < 1 (paper 2), and κ grows with the slopes of the model (docs/dsdpg.md). There
is a run without penalty and one for each penalty and strength, with all seeds in one program; a study that was stopped
resumes. After training κ, the mean slope and the error of the model are measured at states of the policy's own
episodes. Writes transition.png and .pdf, transition.json (all numbers, and the command), parts (those of each run) and
runs into --out. A study that was stopped continues from parts; runs can be deleted."""


def check(config: TransitionConfig) -> None:
    """Raises UserError for invalid settings."""
    for name in config.regularizers:
        if find(name).penalty is None:
            raise UserError(f"--regularizers {name} is no penalty: choose among those that are, such as jacobian")
    if not config.regularizers:
        raise UserError("--regularizers is empty: give at least one, as in --regularizers jacobian")
    checks.positive(config, "strengths", "bound")
    if sorted(set(config.strengths)) != list(config.strengths):
        raise UserError("--strengths must increase, as in --strengths 0.1 1 10")
    checks.seeds(config.seeds)
    checks.at_least(config, steps=1, updates_per_step=1, episodes=1, states=1)
    for cell in cells(config):
        train_config(config, cell)


def run(config: TransitionConfig, say: Say) -> Results:
    """Returns `records` (see `runs.train_all`) and the `discount` of the runs."""
    discount = train_config(config, NONE).agent.critic.discount
    return {"transition": {"discount": discount, "records": train_all(config, say)}}


def draw(config: TransitionConfig, results: Results) -> Mapping[str, Figure]:
    """Draws all measures over the penalties' strength."""
    note = (
        f"{config.task}, mean and standard deviation over {len(config.seeds)} seeds after {config.steps:,} env steps "
        f"with {config.updates_per_step} updates per agent step; small networks"
    )
    record = results["transition"]
    return {"transition": figures.draw(record["records"], record["discount"], note)}


def summary(config: TransitionConfig, results: Results) -> Sequence[str]:
    """Returns a table with a row per run."""
    rows = [["penalty", *figures.MEASURES]]
    for record in results["transition"]["records"]:
        cell = Cell(record["regularizer"], record["strength"])
        found = [np.array(numbers(record)) for numbers in figures.MEASURES.values()]
        rows.append([str(cell), *(f"{one.mean():.3g} ± {one.std():.2g}" for one in found)])
    return aligned(rows)


EXPERIMENT = Experiment(ABOUT, TransitionConfig(), run, draw, summary, check)
