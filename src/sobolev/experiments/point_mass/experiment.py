"""`sobolev study point-mass`: which critics learn if returns have many modes and actions many dimensions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from sobolev.envs.families.toy import layout_of
from sobolev.errors import UserError, nearest
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Record, Results, Say
from sobolev.experiments.point_mass import figures
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.point_mass.runs import (
    VARIANTS,
    PointMassConfig,
    cell_of,
    cells,
    gradients_of,
    predicted_over_true,
    train_all,
)
from sobolev.experiments.trained import final_returns, returns_while_training
from sobolev.system.columns import aligned

ABOUT = """Compare methods with a deterministic policy on toy:point-mass, over reward locations, dimensions and noise.

N is the number of reward locations, D that of the dimensions of actions; the noise is on velocities. The return has a
mode for each location, and the gradient of each mode points to its own location (docs/dsdpg.md). There is a run per
method and combination, with all seeds in one program; a study that was stopped resumes. After training the action
gradients of the critics are compared with the simulator's. Writes point-mass (returns over D, or over N where there is
one D), point-mass-curves (returns over env steps) and point-mass-gradients (their errors) as PNG and PDF,
point-mass.json (all numbers, and the command), parts (those of each run) and runs into --out. A study that was stopped
continues from parts; runs can be deleted."""


def check(config: PointMassConfig) -> None:
    """Raises UserError for invalid settings."""
    checks.increasing("locations", config.locations, "1 2 4 8")
    checks.increasing("dimensions", config.dimensions, "1 2 4 8")
    if not config.noise or min(config.noise) < 0 or sorted(set(config.noise)) != list(config.noise):
        raise UserError("--noise must increase, from 0 on, as in --noise 0 0.2")
    for cell in cells(config):
        layout_of(cell.layout.name)
    for method in config.methods:
        if method not in VARIANTS:
            raise nearest("method", method, VARIANTS)
    if not config.methods:
        raise UserError("--methods is empty: give at least one, as in --methods dsdpg td3")
    checks.seeds(config.seeds)
    checks.at_least(config, steps=1, updates_per_step=1, episodes=1, states=1, rollouts=2)


def run(config: PointMassConfig, say: Say) -> Results:
    """Returns `records` (see `runs.train_all`), and `controller`, the `returns` and `goals` of the controller on every
    point mass."""
    references = [reference(cell.layout, cell.noise) for cell in cells(config)]
    for record in references:
        del record["paths"]  # paths take a megabyte, and are computed again in a second
    return {"point-mass": {"records": train_all(config, say), "controller": references}}


def draw(config: PointMassConfig, results: Results) -> Mapping[str, Figure]:
    """Draws the environment, the returns of the methods and the errors of their critics' gradients."""
    note = (
        f"mean and standard deviation over {len(config.seeds)} seeds, {config.episodes} episodes each after "
        f"{config.steps:,} env steps with {config.updates_per_step} updates per agent step; small networks"
    )
    record = results["point-mass"]
    return figures.draw(record["records"], record["controller"], note)


def summary(config: PointMassConfig, results: Results) -> Sequence[str]:
    """Returns tables of returns during training and at the end, and of the errors of gradients."""
    records, references = results["point-mass"]["records"], results["point-mass"]["controller"]
    axis = figures.axis_of([cell_of(record) for record in references])
    lines: list[str] = []
    for panel in axis.others([cell_of(record) for record in references]):
        own, best = ([r for r in some if figures.belongs(r, panel, axis)] for some in (records, references))
        for title, numbers in MEASURES.items():
            if title in RETURNS or all("gradients" in record for record in records):
                lines += [*table(f"{axis.title(panel)}: {title}", own, best, axis, numbers, title in RETURNS), ""]
    return lines[:-1]


RETURNS = ("final return", "return while training")
MEASURES: Mapping[str, Callable[[Record], Sequence[float]]] = {
    "final return": final_returns,
    "return while training": returns_while_training,
    "bias²/gradient²": partial(gradients_of, name="bias"),
    "variance/gradient²": partial(gradients_of, name="variance"),
    "cosine with the gradient": partial(gradients_of, name="cosine"),
    "cosine of two estimates of it": partial(gradients_of, name="agreement"),
    "predicted over true value": predicted_over_true,
}
"""What the tables show: a number per seed of a record."""


def table(
    title: str,
    records: Sequence[Record],
    references: Sequence[Record],
    axis: figures.Axis,
    numbers: Callable[[Record], Sequence[float]],
    returns: bool,
) -> list[str]:
    """Returns a table of mean and standard deviation over seeds for each method and value of the axis; for returns with
    the controller's mean."""
    digits = 1 if returns else 2
    rows = [[title, *(f"{axis.symbol} = {value}" for value in axis.values)]]
    if returns:
        best = {record[axis.name]: np.mean(record["returns"]) for record in references}
        rows.append(["controller", *(f"{best[value]:.1f}" for value in axis.values)])
    for method in dict.fromkeys(record["method"] for record in records):
        own = {r[axis.name]: numbers(r) for r in records if r["method"] == method}
        rows.append([method, *(f"{np.mean(own[n]):.{digits}f} ± {np.std(own[n]):.{digits}f}" for n in axis.values)])
    return aligned(rows)


EXPERIMENT = Experiment(ABOUT, PointMassConfig(), run, draw, summary, check)
