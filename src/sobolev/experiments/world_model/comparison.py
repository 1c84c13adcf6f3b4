"""Compares each strength of the penalty with no penalty, given the records of their world models."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sobolev.experiments.api import Record
from sobolev.experiments.intervals import half_width, student
from sobolev.experiments.world_model.config import WorldModelConfig, label
from sobolev.system.columns import aligned

NUMBERS = {
    "one_step": "observation, one step ahead",
    "last_step": "observation, the last step ahead",
    "open_loop": "observation, mean of all steps ahead",
    "reward_error": "reward, mean of all steps ahead",
    "kl": "KL of posterior and prior (nats)",
    "posterior_sensitivity": "posterior's sensitivity",
    "prior_sensitivity": "prior's sensitivity",
}
"""What is compared: a description by name. Less is better for all but the sensitivities, where that is the question."""
SCALES = {
    "token_norm": "norm of the tokens",
    "kernel_norm": "norm of the posterior's first kernel, tokens' rows",
    "posterior_jacobian": "norm of the posterior's Jacobian",
    "relative_sensitivity": "posterior's sensitivity times the tokens' norm",
}
"""What tells a smooth posterior from one whose inputs have become large."""
DERIVED: dict[str, Callable[[Record], float]] = {
    "one_step": lambda record: record["observation"][0],
    "last_step": lambda record: record["observation"][-1],
    "open_loop": lambda record: float(np.mean(record["observation"])),
    "reward_error": lambda record: float(np.mean(record["reward"])),
    "relative_sensitivity": lambda record: record["posterior_sensitivity"] * record["token_norm"],
}
"""Numbers that are computed from those in the records."""


def values(records: Sequence[Record], number: str, **facts: Any) -> Shaped[np.ndarray, "seeds *rest"]:
    """Returns a number, or a list of numbers, of the records with these fields, in the order of their seeds."""
    chosen = [r for r in records if all(r[name] == value for name, value in facts.items())]
    value = DERIVED.get(number, lambda record: record[number])
    return np.array([value(record) for record in sorted(chosen, key=lambda record: record["seed"])])


def has_scales(records: Sequence[Record]) -> bool:
    """Returns whether the records have the numbers of `SCALES`, which the study did not always measure."""
    return all("token_norm" in record for record in records)


def interval(numbers: Shaped[np.ndarray, "seeds *rest"]) -> np.ndarray | np.floating:
    """Returns half the width of the 95% interval of the mean over seeds, by Student's t, since there are few seeds."""
    return half_width(numbers, student(len(numbers)))


def table(records: Sequence[Record], config: WorldModelConfig) -> list[str]:
    """For each behaviour, dataset and number: without penalty, and each strength's paired difference and interval."""
    names = [label(config, multiple) for multiple in config.multiples]
    rows = [["behaviour", "transitions", "", names[0], *(f"{name} [95% of the difference]" for name in names[1:])]]
    for behavior, episodes in sorted({(r["behavior"], r["episodes"]) for r in records}):
        facts = {"behavior": behavior, "episodes": episodes}
        steps = str(round(values(records, "transitions", **facts).mean()))
        for number, title in (NUMBERS | (SCALES if has_scales(records) else {})).items():
            plain, *others = (values(records, number, multiple=each, **facts) for each in config.multiples)
            better = number in NUMBERS and not number.endswith("sensitivity")
            rows.append([behavior, steps, title, f"{plain.mean():.4g}", *(_against(plain, o, better) for o in others)])
    return aligned(rows)


def _against(plain: np.ndarray, other: np.ndarray, better: bool) -> str:
    """The mean, and the difference's interval. If less is better (`better`), it says so when the interval lies on one
    side of 0."""
    mean, half = (other - plain).mean(), interval(other - plain)
    found = f"{other.mean():.4g} [{mean - half:+.3g}, {mean + half:+.3g}]"
    verdict = ("better" if mean + half < 0 else "worse" if mean - half > 0 else "") if better else ""
    return f"{found} {verdict}".rstrip()
