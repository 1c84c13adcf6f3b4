"""An experiment of one's own: how much estimates of the Jacobian penalty vary, with one probe or many.

sobolev study probe_noise:EXPERIMENT --states 4 16 64     (from this folder, or anywhere once it is installed)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

import sobolev
from sobolev.errors import UserError
from sobolev.experiments import Experiment, Results, Say

ABOUT = """The standard deviation of estimates of the Jacobian penalty of a random network, over their mean.

With a probe for each row and with one joint probe, against the number of states that are averaged. Writes into --out:
probe-noise.png, also as PDF, and probe-noise.json with every number and the command."""


@dataclass(frozen=True)
class ProbeNoiseConfig:
    """Sizes of the study; it takes seconds."""

    out: Path = Path("results/probe-noise")
    """folder for the figure (PNG and PDF) and the numbers (JSON)"""
    states: tuple[int, ...] = (1, 4, 16, 64)
    """states that an estimate averages over"""
    estimates: int = 200
    """estimates with random probes"""
    seed: int = 0
    """of network, states and probes"""


def check(config: ProbeNoiseConfig) -> None:
    """Raises UserError for sizes that the study cannot have."""
    if not config.states or min(config.states) < 1 or config.estimates < 2:
        raise UserError("--states must be 1 or more, and --estimates 2 or more")


def run(config: ProbeNoiseConfig, say: Say) -> Results:
    """`rows` and `joint` [states]: standard deviations over means."""
    keys = jax.random.split(jax.random.key(config.seed), 3)
    kernel = jax.random.normal(keys[0], (16, 8 * 4)) / 4

    def table(x: jax.Array) -> jax.Array:
        return jax.nn.softmax((jnp.tanh(x) @ kernel).reshape(8, 4))

    record: dict[str, list[float]] = {"rows": [], "joint": []}
    for number in config.states:
        states = jax.random.normal(keys[1], (number, 16))
        for estimator, noise in record.items():

            def estimate(key: jax.Array, states: jax.Array = states, estimator: str = estimator) -> jax.Array:
                return sobolev.jacobian_penalty(table, states, key, estimator=estimator).value

            values = jax.jit(jax.vmap(estimate))(jax.random.split(keys[2], config.estimates))
            noise.append(float(values.std() / values.mean()))
        say(f"{number} states: {record['rows'][-1]:.3f} with a probe per row, {record['joint'][-1]:.3f} with one")
    return {"probe-noise": record}


def draw(config: ProbeNoiseConfig, results: Results) -> dict[str, Figure]:
    """A line per estimator, on logarithmic axes."""
    figure = Figure(figsize=(4.5, 3.5), layout="constrained")
    ax = figure.subplots()
    for estimator, label in (("rows", "a probe per row"), ("joint", "one probe")):
        ax.loglog(config.states, results["probe-noise"][estimator], "o-", label=label)
    ax.set_xlabel("states")
    ax.set_ylabel("standard deviation / mean")
    ax.legend()
    return {"probe-noise": figure}


def summary(config: ProbeNoiseConfig, results: Results) -> Sequence[str]:
    """How much more one probe varies."""
    rows, joint = results["probe-noise"]["rows"], results["probe-noise"]["joint"]
    return [f"one probe varies {joint[-1] / rows[-1]:.1f} times as much as a probe per row"]


EXPERIMENT = Experiment(ABOUT, ProbeNoiseConfig(), run, draw, summary, check)
