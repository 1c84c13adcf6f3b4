"""What others published, with its source: DreamerV3's training returns, and the tables of paper 1 (arXiv 2605.23089).

The numbers are JSON files in the folder of this name.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from sobolev.reports.scores import Score, Series, series, task_name

FILES = {"proprio": "dmc_proprio_dreamerv3_official", "pixels": "dmc_vision_dreamerv3_official"}
SOURCES = {
    "proprio": "github.com/danijar/dreamerv3, scores: returns of training episodes, 5 seeds, train ratio 512",
    "pixels": "github.com/danijar/dreamerv3, scores: returns of training episodes, 8 to 10 seeds",
}
TABLE_3 = "arXiv:2605.23089, Table 3 (1M env steps, 20 episodes per seed)"
LOCOMOTION = ("cheetah-run", "hopper-hop", "hopper-stand", "walker-run", "walker-stand", "walker-walk")
"""The tasks of Table 1."""
PAPER_NAMES = {"dreamer": "dreamerv3", "gpld": "gpld"}
"""Our methods as the files of the tables name them."""


class Spread(NamedTuple):
    """Mean and standard deviation over seeds."""

    mean: float
    std: float


class Cost(NamedTuple):
    """A row of Table 4: time as a ratio to DreamerV3's, and seconds more per 500k env steps."""

    rho: float
    posterior: float
    prior: float
    ratio: float
    std: float
    seconds: float


@cache
def curves(observations: str = "proprio") -> Mapping[str, tuple[Series, ...]]:
    """DreamerV3's training returns per task, a series per seed; none for observations that were not published.

    From proprioception they end at 490,000 env steps and lack acrobot-swingup-sparse and the quadruped; from pixels
    they end at 990,000.
    """
    if observations not in FILES:
        return {}
    found: dict[str, list[Series]] = {}
    scores: list[Score] = _read(FILES[observations])
    for score in scores:
        found.setdefault(task_name(score["task"]), []).append(series(score))
    return {task: tuple(seeds) for task, seeds in found.items()}


@cache
def table_3() -> Mapping[str, Mapping[str, Spread]]:
    """Scores at 1M env steps by our method's name and task, as paper 1 prints them."""
    tasks = _read("gpld_table3")["tasks"]
    return {
        method: {task: Spread(**row[theirs]) for task, row in tasks.items()} for method, theirs in PAPER_NAMES.items()
    }


@cache
def table_4() -> tuple[Cost, ...]:
    """The rows of Table 4."""
    return tuple(Cost(*row) for row in _read("gpld_table4")["rows"])


def _read(name: str) -> Any:
    return json.loads(resources.files("sobolev.reports").joinpath(f"published/{name}.json").read_text(encoding="utf-8"))
