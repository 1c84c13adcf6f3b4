"""`sobolev study linear`: trains critics on a linear system, and compares them with the known moments of return and
gradient."""

import time
from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure

from sobolev.errors import UserError, nearest
from sobolev.experiments import checks
from sobolev.experiments.api import Experiment, Results, Say
from sobolev.experiments.linear_critic import figures
from sobolev.experiments.linear_critic.critics import SPREAD, LinearConfig, fit, kinds
from sobolev.experiments.linear_critic.moments import Errors, critic_moments, errors, exact_at, sentence
from sobolev.experiments.linear_system import example

COMPARED = 64
"""Number of states at which critics are compared with the exact moments."""

ABOUT = """Train critics on a linear system with noise, with the true model instead of a learned one (arXiv 2601.20071).

Mean and covariance of [return; action gradient] are known there. Measures the errors of each discrepancy over seeds.
Writes linear.png, linear.pdf and linear.json (all numbers, and the command) into --out."""


def check(config: LinearConfig) -> None:
    """Raises UserError for invalid settings."""
    checks.seeds(config.seeds)
    checks.at_least(config, updates=1, batch=1, units=1)
    if not config.critics:
        raise UserError("--critics is empty: give one at least, as in --critics msmmd mmd")
    for name in config.critics:
        if name not in kinds(config):
            raise nearest("critic", name, kinds(config))
    if config.samples < 2:
        raise UserError(f"--samples is {config.samples}, but a discrepancy needs at least 2")
    checks.positive(config, "rate")


def run(config: LinearConfig, say: Say) -> Results:
    """Returns `critics`, a record per kind with the errors of all seeds and the first seed's moments for the figure."""
    system, records = example(), []
    states = SPREAD * jax.random.normal(jax.random.key(10_000), (COMPARED, 2))
    exact = exact_at(system, states)
    for kind in [kinds(config)[name] for name in config.critics]:
        train = jax.jit(partial(fit, system, kind, config.updates))
        moments_of = jax.jit(critic_moments, static_argnums=1)
        begun, learned, off = time.monotonic(), [], []
        for seed in config.seeds:
            critics = train(jax.random.key(seed))
            learned.append(moments_of(critics, kind.agent.critic.noise, states, system, jax.random.key(1)))
            off.append(errors(learned[-1], exact))
            say(f"{kind.title}, seed {seed}: {sentence(off[-1:])}")
        records.append(
            {
                "name": kind.title,
                "seconds": time.monotonic() - begun,
                "errors": [error._asdict() for error in off],
                "mean": np.asarray(learned[0].mean).tolist(),
                "covariance": np.asarray(learned[0].covariance).tolist(),
                "exact_mean": exact.mean.tolist(),
                "exact_covariance": exact.covariance.tolist(),
            }
        )
    return {"linear": {"critics": records}}


def draw(config: LinearConfig, results: Results) -> dict[str, Figure]:
    """Draws learned over exact moments."""
    note = f"seed {config.seeds[0]}, {config.updates} updates; a point per state, a colour per critic"
    return {"linear": figures.draw(results["linear"]["critics"], note)}


def summary(config: LinearConfig, results: Results) -> Sequence[str]:
    """Returns a sentence per kind of critic."""
    records = results["linear"]["critics"]
    return [f"{r['name']}: {sentence([Errors(**error) for error in r['errors']])}" for r in records]


EXPERIMENT = Experiment(ABOUT, LinearConfig(), run, draw, summary, check)
