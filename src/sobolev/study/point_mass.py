"""What a critic has to know where returns have many modes: every method on the point mass, against N locations."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sobolev.config import TrainConfig, configure
from sobolev.envs.toy import PointMass
from sobolev.errors import UserError, nearest

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dsdpg": ("dsdpg", {}),
    "dsdpg-mmd": ("dsdpg", {"discrepancy.kind": "mmd"}),
    "mage": ("mage", {}),
    "mmd": ("mmd", {}),
    "iqn": ("iqn", {}),
    "td3": ("td3", {}),
}
"""Method and settings: DSDPG with MSMMD and with plain MMD, and the baselines."""
EPISODES = 600
"""Episodes of the reference controller for each N."""


@dataclasses.dataclass(frozen=True)
class PointMassConfig:
    """Sizes of the study."""

    out: Path = Path("results/point-mass")
    """folder for the figure (PNG and PDF), the numbers (JSON) and the runs"""
    locations: tuple[int, ...] = (1, 2, 4, 8)
    """numbers of reward locations N, increasing"""
    methods: tuple[str, ...] = tuple(VARIANTS)
    """which to compare: dsdpg, dsdpg-mmd, mage, mmd, iqn, td3"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """trained side by side in one program"""
    steps: int = 5000
    """env steps of every run and seed"""
    updates_per_step: int = 4
    """updates per agent step; paper 2 has 10"""
    episodes: int = 40
    """final evaluation episodes per seed"""


def check(config: PointMassConfig) -> None:
    """Raises UserError for sizes that the study cannot have."""
    if not config.locations or sorted(set(config.locations)) != list(config.locations):
        raise UserError("--locations must increase, as in --locations 1 2 4 8")
    for number in config.locations:
        PointMass(f"point-mass-{number}")
    for method in config.methods:
        if method not in VARIANTS:
            raise nearest("method", method, VARIANTS)
    if not config.methods:
        raise UserError("--methods is empty: give at least one, as in --methods dsdpg td3")
    for flag, value in (("steps", config.steps), ("updates-per-step", config.updates_per_step)):
        if value < 1:
            raise UserError(f"--{flag} is {value}, but must be at least 1")
    if config.episodes < 1:
        raise UserError(f"--episodes is {config.episodes}, but must be at least 1")


def cell(config: PointMassConfig, method: str, number: int) -> TrainConfig:
    """The run of a method at N locations; all methods share networks, batch, exploration and number of updates."""
    name, changes = VARIANTS[method]
    shared = {
        "steps": config.steps,
        "seeds": config.seeds,
        "updates_per_step": config.updates_per_step,
        "batch_size": 64,
        "env.number": 4,
        "env.workers": 0,
        "evaluation.every": max(1, config.steps // 8),
        "evaluation.episodes": 8,
        "log.tensorboard": False,
        "run": config.out / "runs" / f"{method}-{number}",
    }
    return configure(f"toy:point-mass-{number}", method=name, preset="laptop", settings=shared | changes)


def run(config: PointMassConfig, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """A JSON-able record per method and N: `returns` [seeds], means over final episodes, and `curve` (see `scores`).

    Runs that are complete already are not made again. `say` gets a line per run. Raises SystemExit with the status of a
    run that a signal ended.
    """
    from sobolev.study.scores import read
    from sobolev.training.evaluation import evaluate
    from sobolev.training.start import start

    records = []
    for method in config.methods:
        for number in config.locations:
            begun = time.monotonic()
            folder, status = start(cell(config, method, number))
            if status:
                raise SystemExit(status)
            found = evaluate(folder, config.episodes)
            scores = read(folder / "scores.json")
            curve = {"steps": scores[0]["xs"], "returns": [score["ys"] for score in scores]}
            returns = [seed["mean"] for seed in found]
            records.append({"method": method, "locations": number, "returns": returns, "curve": curve})
            seconds = time.monotonic() - begun
            say(f"{method}, N = {number}: return {np.mean(returns):.1f} ± {np.std(returns):.1f}, {seconds:.0f} s")
    return records


def controlled(observation: dict[str, np.ndarray]) -> Float[np.ndarray, "2"]:
    """The action of the reference controller: towards the goal with damping, towards the middle until it is known."""
    return (3 * (observation["goal"] - observation["position"]) - 2 * observation["velocity"]).astype(np.float32)


def reference(number: int, episodes: int = EPISODES) -> dict[str, Any]:
    """What a controller that knows the equations gets with N locations: `returns` [episodes], `goals` and `paths`.

    paths: positions [episodes][steps][2]; goals: the location of each episode, −1 where none was drawn.
    """
    environment, returns, goals, paths = PointMass(f"point-mass-{number}"), [], [], []
    for seed in range(episodes):
        step, total, path = environment.reset(seed), 0.0, []
        while not step.last:
            path.append(environment.position.tolist())
            step = environment.step(controlled(step.observation))
            total += step.reward
        returns.append(total)
        goals.append(environment.goal)
        paths.append(path)
    return {"locations": number, "returns": returns, "goals": goals, "paths": paths}


def over_training(record: dict[str, Any]) -> list[float]:
    """The mean over training of every seed's evaluation returns: how early a method learns."""
    steps, returns = record["curve"]["steps"], np.array(record["curve"]["returns"])
    return (np.trapezoid(returns, steps) / (steps[-1] - steps[0])).tolist()


def lines(records: Sequence[dict[str, Any]], references: Sequence[dict[str, Any]]) -> list[str]:
    """Two tables of mean and standard deviation over seeds per method and N, beside the controller's mean: final
    returns, and those over training."""
    final = _table("final return", records, references, lambda record: record["returns"])
    return [*final, "", *_table("while training", records, references, over_training)]


def _table(
    title: str,
    records: Sequence[dict[str, Any]],
    references: Sequence[dict[str, Any]],
    returns: Callable[[dict[str, Any]], Sequence[float]],
) -> list[str]:
    numbers = [record["locations"] for record in references]
    rows = [[title, *(f"N = {number}" for number in numbers)]]
    rows.append(["controller", *(f"{np.mean(record['returns']):.1f}" for record in references)])
    for method in dict.fromkeys(record["method"] for record in records):
        own = {r["locations"]: returns(r) for r in records if r["method"] == method}
        rows.append([method, *(f"{np.mean(own[n]):.1f} ± {np.std(own[n]):.1f}" for n in numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
