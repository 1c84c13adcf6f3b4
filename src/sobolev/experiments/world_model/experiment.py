"""`sobolev study world-model`: whether a world model needs less data with the penalty.

World models are trained on fixed datasets with and without the penalty, for each behaviour, dataset size and seed, with
the same number of updates, and measured on held-out episodes.
"""

import itertools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key
from matplotlib.figure import Figure

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.tables import latent_tables
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.experiments.api import Experiment, Record, Results, Say
from sobolev.experiments.sensitivity.measure import TABLES, Measured, measure
from sobolev.experiments.world_model import comparison, figures, prediction
from sobolev.experiments.world_model.config import METHODS, WorldModelConfig, agent_config, check
from sobolev.experiments.world_model.datasets import Episode, datasets
from sobolev.experiments.world_model.training import train

ABOUT = """Train world models with and without the penalty, on fixed datasets of increasing size from TASK.

Measures on held-out episodes the errors of observation and reward one and more steps ahead, KL and sensitivity, with
mean and 95% interval over seeds. Writes TASK and TASK-horizon, each as .png and .pdf, and TASK.json (all numbers, and
the command) into --out."""


def file_name(config: WorldModelConfig) -> str:
    """Returns the stem of the files."""
    return config.task.replace(":", "-").replace("/", "-")


def run(config: WorldModelConfig, say: Say) -> Results:
    """Returns `records`, one for every behaviour, seed, dataset size and method; see `_measured` for its numbers."""
    records = []
    for behavior in config.behaviors:
        start = time.monotonic()
        spaces, training, held_out = datasets(config, behavior)
        say(f"{behavior}: {sum(map(len, training + held_out))} episodes played, {time.monotonic() - start:.0f} s")
        agents = {name: Dreamer(agent_config(config, name), spaces) for name in METHODS}
        for seed, episodes, unseen in zip(config.seeds, training, held_out, strict=True):
            for number, (name, agent) in itertools.product(config.episodes, agents.items()):
                world, loss = train(agent, episodes, number, config.updates, seed)
                facts = {"behavior": behavior, "seed": seed, "episodes": number, "method": name, "loss": loss}
                facts["transitions"] = sum(len(episode["reward"]) - 1 for episode in episodes[:number])
                records.append(facts | _measured(config, world, unseen, seed))
            say(f"{behavior}, seed {seed}: {time.monotonic() - start:.0f} s")
    return {file_name(config): {"records": records}}


def _measured(config: WorldModelConfig, world: WorldModel, episodes: Sequence[Episode], seed: int) -> Record:
    """Returns errors (see `prediction.measure`), and sensitivity and Jacobian of posterior and prior, on held-out
    episodes."""
    length = min(len(episode["first"]) for episode in episodes)
    steps = jax.tree.map(lambda *leaves: np.stack([leaf[:length] for leaf in leaves], 1), *episodes)
    key = jax.random.key(seed)
    numbers = dict(prediction.measure(world, steps, config.horizon, key))
    chosen = np.sort(np.random.default_rng(seed).permutation(steps["first"].size)[: config.states])
    stream = {name: steps[name] for name in ("observation", "action", "first")}
    tables = _measure_tables(world, stream, chosen, key)
    for table in TABLES:
        numbers[f"{table}_sensitivity"] = tables[table]["sensitivity"]
        numbers[f"{table}_jacobian"] = tables[table]["jacobian_norm"]
    return {name: np.asarray(x).round(7).tolist() for name, x in numbers.items()}


@jax.jit
def _measure_tables(
    world: WorldModel, steps: Episode, chosen: Int[np.ndarray | Array, " states"], key: Key[Array, ""]
) -> dict[str, Measured]:
    return measure(lambda table_key: latent_tables(world, jnp.float32, steps, table_key), chosen, key)


def draw(config: WorldModelConfig, results: Results) -> dict[str, Figure]:
    """Draws the errors over the size of the dataset, and over the steps ahead."""
    name = file_name(config)
    records = results[name]["records"]
    note = f"{config.task}: mean and 95% interval over {len(config.seeds)} seeds; {config.updates} updates each"
    return {name: figures.draw_data(records, note), f"{name}-horizon": figures.draw_horizon(records, note)}


def summary(config: WorldModelConfig, results: Results) -> Sequence[str]:
    """Returns a table of both methods and their difference."""
    return comparison.table(results[file_name(config)]["records"])


EXPERIMENT = Experiment(ABOUT, WorldModelConfig(), run, draw, summary, check, positional="task")
