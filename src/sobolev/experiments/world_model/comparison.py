"""Compares the methods, given the records of their world models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sobolev.experiments.api import Record
from sobolev.experiments.intervals import half_width, student
from sobolev.experiments.world_model.config import METHODS
from sobolev.system.columns import aligned

NUMBERS = {
    "one_step": "observation, one step ahead",
    "open_loop": "observation, mean of all steps ahead",
    "reward_error": "reward, mean of all steps ahead",
    "kl": "KL of posterior and prior (nats)",
    "posterior_sensitivity": "posterior's sensitivity",
    "prior_sensitivity": "prior's sensitivity",
}
"""The numbers that are compared, with their titles."""
DERIVED: dict[str, Callable[[Record], float]] = {
    "one_step": lambda record: record["observation"][0],
    "open_loop": lambda record: float(np.mean(record["observation"])),
    "reward_error": lambda record: float(np.mean(record["reward"])),
}
"""Numbers that are computed from those in the records."""


def values(records: Sequence[Record], number: str, **facts: Any) -> Shaped[np.ndarray, "seeds *rest"]:
    """Returns a number, or a list of numbers, of the records with these fields, in the order of their seeds."""
    chosen = [r for r in records if all(r[name] == value for name, value in facts.items())]
    value = DERIVED.get(number, lambda record: record[number])
    return np.array([value(record) for record in sorted(chosen, key=lambda record: record["seed"])])


def interval(numbers: Shaped[np.ndarray, "seeds *rest"]) -> np.ndarray | np.floating:
    """Returns half the width of the 95% interval of the mean over seeds, by Student's t, since there are few seeds."""
    return half_width(numbers, student(len(numbers)))


def table(records: Sequence[Record]) -> list[str]:
    """Returns the lines of a table: for each behaviour, dataset and number, both methods and their paired difference
    with its interval."""
    rows = [["behaviour", "transitions", "", *METHODS, "gpld - dreamer [95%]"]]
    for behavior, episodes in sorted({(r["behavior"], r["episodes"]) for r in records}):
        facts = {"behavior": behavior, "episodes": episodes}
        steps = str(round(values(records, "transitions", **facts).mean()))
        for number, title in NUMBERS.items():
            plain, smooth = (values(records, number, method=name, **facts) for name in METHODS)
            mean, half = (smooth - plain).mean(), interval(smooth - plain)
            difference = f"{mean:+.3g} [{mean - half:+.3g}, {mean + half:+.3g}]"
            difference += " better" if mean + half < 0 else " worse" if mean - half > 0 else ""
            rows.append([behavior, steps, title, f"{plain.mean():.4g}", f"{smooth.mean():.4g}", difference])
    return aligned(rows)
