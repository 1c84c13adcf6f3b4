"""`sobolev study point-mass`: which critics learn if returns have many modes."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from sobolev.envs.families.toy import PointMass
from sobolev.errors import UserError, nearest
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Record, Results, Say
from sobolev.experiments.point_mass import figures
from sobolev.experiments.point_mass.controller import reference
from sobolev.experiments.point_mass.runs import (
    VARIANTS,
    PointMassConfig,
    final_returns,
    returns_while_training,
    train_all,
)
from sobolev.system.columns import aligned

ABOUT = """Compare methods with a deterministic policy on toy:point-mass-N, over the number N of reward locations.

The return has a mode for each location, and the gradient of each mode points to its own location (docs/dsdpg.md). There
is a run per method and N, with all seeds in one program; a study that was stopped resumes. Writes point-mass.png,
point-mass.pdf, point-mass.json (all numbers, and the command) and the runs into --out."""


def check(config: PointMassConfig) -> None:
    """Raises UserError for invalid settings."""
    checks.increasing("locations", config.locations, "1 2 4 8")
    for number in config.locations:
        PointMass(f"point-mass-{number}")
    for method in config.methods:
        if method not in VARIANTS:
            raise nearest("method", method, VARIANTS)
    if not config.methods:
        raise UserError("--methods is empty: give at least one, as in --methods dsdpg td3")
    checks.at_least(config, steps=1, updates_per_step=1, episodes=1)


def run(config: PointMassConfig, say: Say) -> Results:
    """Returns `records` (see `runs.train_all`), and `controller`, the `returns` and `goals` of the controller for each
    N."""
    references = [reference(number) for number in config.locations]
    for record in references:
        del record["paths"]  # paths take a megabyte, and are computed again in a second
    return {"point-mass": {"records": train_all(config, say), "controller": references}}


def draw(config: PointMassConfig, results: Results) -> dict[str, Figure]:
    """Draws the environment and the returns of the methods."""
    note = (
        f"mean and standard deviation over {len(config.seeds)} seeds, {config.episodes} episodes each after "
        f"{config.steps:,} env steps with {config.updates_per_step} updates per agent step; small networks"
    )
    record = results["point-mass"]
    return {"point-mass": figures.draw(record["records"], record["controller"], note)}


def summary(config: PointMassConfig, results: Results) -> Sequence[str]:
    """Returns two tables, of final returns and of returns during training."""
    record = results["point-mass"]
    final = table("final return", record["records"], record["controller"], final_returns)
    return [*final, "", *table("while training", record["records"], record["controller"], returns_while_training)]


def table(
    title: str,
    records: Sequence[Record],
    references: Sequence[Record],
    returns: Callable[[Record], Sequence[float]],
) -> list[str]:
    """Returns a table of mean and standard deviation over seeds for each method and N, with the controller's mean."""
    numbers = [record["locations"] for record in references]
    rows = [[title, *(f"N = {number}" for number in numbers)]]
    rows.append(["controller", *(f"{np.mean(record['returns']):.1f}" for record in references)])
    for method in dict.fromkeys(record["method"] for record in records):
        own = {r["locations"]: returns(r) for r in records if r["method"] == method}
        rows.append([method, *(f"{np.mean(own[n]):.1f} ± {np.std(own[n]):.1f}" for n in numbers)])
    return aligned(rows)


EXPERIMENT = Experiment(ABOUT, PointMassConfig(), run, draw, summary, check)
