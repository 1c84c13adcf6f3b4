"""Published numbers with their sources: DreamerV3's training returns, and the tables of paper 1 (arXiv 2605.23089).

The numbers are JSON files in the folder `reports/published`.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from sobolev.reports.results.scores import Score, Series, series, task_name

FILES = {"proprio": "dmc_proprio_dreamerv3_official", "pixels": "dmc_vision_dreamerv3_official"}
SOURCES = {
    "proprio": "github.com/danijar/dreamerv3, scores: returns of training episodes, 5 seeds, train ratio 512",
    "pixels": "github.com/danijar/dreamerv3, scores: returns of training episodes, 8 to 10 seeds",
}
TABLE_3 = "arXiv:2605.23089, Table 3 (1M env steps, 20 episodes per seed)"
LOCOMOTION = ("cheetah-run", "hopper-hop", "hopper-stand", "walker-run", "walker-stand", "walker-walk")
"""The tasks of Table 1."""
PAPER_NAMES = {"dreamer": "dreamerv3", "gpld": "gpld"}
"""The names of our methods in the files of the tables."""
TABLE_4_SETTINGS = {"ρ": "penalty.rho", "λ posterior": "penalty.posterior", "λ prior": "penalty.prior"}
"""The settings in the rows of Table 4."""
ABLATED = "penalty."
"""Prefixes of settings that paper 1 varies: other values of these are still its protocol."""


class Ablation(NamedTuple):
    """A panel of Figure 5."""

    name: str
    title: str
    varied: tuple[str, ...]
    """settings in which its curves differ"""
    fixed: Mapping[str, object]
    """settings that all its curves share"""


FIGURE_5 = (
    Ablation(
        "figure-5a",
        "Figure 5a. ρ, with λ posterior 0.5",
        ("penalty.rho",),
        {"penalty.posterior": 0.5, "penalty.prior": 0.0, "penalty.schedule": "sqrt"},
    ),
    Ablation(
        "figure-5b",
        "Figure 5b. ρ, with λ prior 0.5",
        ("penalty.rho",),
        {"penalty.posterior": 0.0, "penalty.prior": 0.5, "penalty.schedule": "sqrt"},
    ),
    Ablation(
        "figure-5c",
        "Figure 5c. λ of posterior and prior",
        ("penalty.posterior", "penalty.prior"),
        {"penalty.rho": 0.5, "penalty.schedule": "sqrt"},
    ),
    Ablation(
        "figure-5d",
        "Figure 5d. Decay of λ",
        ("penalty.schedule",),
        {"penalty.posterior": 0.5, "penalty.prior": 0.0, "penalty.rho": 0.5},
    ),
)


class Spread(NamedTuple):
    """Mean and standard deviation over seeds."""

    mean: float
    std: float


class Cost(NamedTuple):
    """A row of Table 4: time as a ratio to DreamerV3's, and additional seconds per 500k env steps."""

    rho: float
    posterior: float
    prior: float
    ratio: float
    std: float
    seconds: float


@cache
def curves(observations: str = "proprio") -> Mapping[str, tuple[Series, ...]]:
    """Returns DreamerV3's training returns per task, with a series per seed; empty for unpublished observations.

    From proprioception they end at 490,000 env steps, and lack acrobot-swingup-sparse and the quadruped. From pixels
    they end at 990,000.
    """
    if observations not in FILES:
        return {}
    by_task: dict[str, list[Series]] = {}
    scores: list[Score] = _read(FILES[observations])
    for score in scores:
        by_task.setdefault(task_name(score["task"]), []).append(series(score))
    return {task: tuple(seeds) for task, seeds in by_task.items()}


@cache
def table_3() -> Mapping[str, Mapping[str, Spread]]:
    """Returns the scores of paper 1 at 1M env steps, by our name of the method and by task."""
    tasks = _read("gpld_table3")["tasks"]
    return {
        method: {task: Spread(**row[theirs]) for task, row in tasks.items()} for method, theirs in PAPER_NAMES.items()
    }


@cache
def table_4() -> tuple[Cost, ...]:
    """Returns the rows of Table 4."""
    return tuple(Cost(*row) for row in _read("gpld_table4")["rows"])


def _read(name: str) -> Any:
    return json.loads(resources.files("sobolev.reports").joinpath(f"published/{name}.json").read_text(encoding="utf-8"))
