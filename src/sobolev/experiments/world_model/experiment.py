"""`sobolev study world-model`: whether a world model needs less data with the penalty.

The world model alone is trained without the penalty and with each strength of it, for each behaviour, dataset size and
seed with the same number of updates on a fixed dataset, and is measured on episodes that it has not seen.
"""

import itertools
import time
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from matplotlib.figure import Figure

from sobolev.agents.dreamer.agent import Dreamer
from sobolev.agents.dreamer.tables import latent_tables
from sobolev.agents.dreamer.world_model import WorldModel
from sobolev.checkpoints.slots import Checkpoints
from sobolev.config.codec import encode
from sobolev.experiments.api import Experiment, Record, Results, Say
from sobolev.experiments.parts import FOLDER, kept
from sobolev.experiments.sensitivity.measure import TABLES, Measured, measure
from sobolev.experiments.world_model import comparison, figures, prediction
from sobolev.experiments.world_model.config import WorldModelConfig, agent_config, check
from sobolev.experiments.world_model.datasets import VERSION, Episode, datasets
from sobolev.experiments.world_model.training import train

ABOUT = """Train world models without the penalty and with one or more strengths of it, on fixed datasets of increasing
size from TASK.

Measures on held-out episodes the errors of observation and reward one and more steps ahead, KL, sensitivity and the
scale of the posterior's inputs, with mean and 95% interval over seeds. Writes TASK, TASK-horizon and TASK-scale, each
as .png and .pdf, TASK.json (all numbers, and the command) and parts (those of each model) into --out. A study that was
stopped continues from parts."""


def file_name(config: WorldModelConfig) -> str:
    """Returns the stem of the files."""
    return config.task.replace(":", "-").replace("/", "-")


def run(config: WorldModelConfig, say: Say) -> Results:
    """`records`: one for every behaviour, seed, dataset size and multiple of the penalty, see `_measured`. Those that
    are kept (see `parts.kept`) are not computed again."""
    records = []
    shared = encode(config)
    for name in ("out", "behaviors", "seeds", "episodes", "multiples"):
        del shared[name]
    shared["data"] = VERSION
    if config.policy and (newest := Checkpoints(config.policy / "checkpoint").newest()):
        shared["policy_env_steps"] = int(newest["env_steps"])  # a policy that was trained further plays other data
    for behavior in config.behaviors:
        start = time.monotonic()
        spaces, training, held_out = datasets(config, behavior)
        say(f"{behavior}: {sum(map(len, training + held_out))} episodes played, {time.monotonic() - start:.0f} s")
        agents = {multiple: Dreamer(agent_config(config, multiple), spaces) for multiple in config.multiples}
        for seed, episodes, unseen in zip(config.seeds, training, held_out, strict=True):
            for number, (multiple, agent) in itertools.product(config.episodes, agents.items()):
                facts = {"behavior": behavior, "seed": seed, "episodes": number, "multiple": multiple}
                file = config.out / FOLDER / file_name(config) / ("-".join(map(str, facts.values())) + ".json")
                compute = partial(_record, config, agent, episodes, unseen, facts)
                records.append(kept(file, {"study": shared, **facts}, compute))
            say(f"{behavior}, seed {seed}: {time.monotonic() - start:.0f} s")
    return {file_name(config): {"records": records}}


def _record(
    config: WorldModelConfig, agent: Dreamer, episodes: Sequence[Episode], unseen: Sequence[Episode], facts: Record
) -> Record:
    """Trains one world model and measures it."""
    number, seed = facts["episodes"], facts["seed"]
    world, loss = train(agent, episodes, number, config.updates, seed)
    transitions = sum(len(episode["reward"]) - 1 for episode in episodes[:number])
    return {**facts, "loss": loss, "transitions": transitions, **_measured(config, world, unseen, seed)}


def _measured(config: WorldModelConfig, world: WorldModel, episodes: Sequence[Episode], seed: int) -> Record:
    """Returns errors (see `prediction.measure`), and sensitivity and Jacobian of posterior and prior, on held-out
    episodes."""
    length = min(len(episode["first"]) for episode in episodes)
    steps = jax.tree.map(lambda *leaves: np.stack([leaf[:length] for leaf in leaves], 1), *episodes)
    key = jax.random.key(seed)
    numbers = dict(prediction.measure(world, steps, config.horizon, key))
    chosen = np.sort(np.random.default_rng(seed).permutation(steps["first"].size)[: config.states])
    stream = {name: steps[name] for name in ("observation", "action", "first")}
    tables, scale = _measure_tables(world, stream, chosen, key)
    numbers |= scale
    for table in TABLES:
        numbers[f"{table}_sensitivity"] = tables[table]["sensitivity"]
        numbers[f"{table}_jacobian"] = tables[table]["jacobian_norm"]
    return {name: np.asarray(x).round(7).tolist() for name, x in numbers.items()}


@jax.jit
def _measure_tables(
    world: WorldModel, steps: Episode, chosen: Int[np.ndarray | Array, " states"], key: Key[Array, ""]
) -> tuple[dict[str, Measured], dict[str, Float[Array, ""]]]:
    """Both tables' numbers; the tokens' mean norm, and the Frobenius norm of the rows of the posterior's first kernel
    that they are multiplied with."""
    posterior = latent_tables(world, jnp.float32, steps, key)["posterior"]
    scale = {
        "token_norm": jnp.linalg.norm(posterior.inputs[chosen][:, posterior.perturbed], axis=-1).mean(),
        "kernel_norm": jnp.linalg.norm(world.rssm.posterior.first_kernel[posterior.perturbed]),
    }
    return measure(lambda table_key: latent_tables(world, jnp.float32, steps, table_key), chosen, key), scale


def draw(config: WorldModelConfig, results: Results) -> dict[str, Figure]:
    """Errors against the size of the dataset and against the steps ahead, and scales against the penalty's strength."""
    name = file_name(config)
    records = results[name]["records"]
    note = f"{config.task}: mean and 95% interval over {len(config.seeds)} seeds; {config.updates} updates each"
    curves = figures.curves(config)
    drawn = {
        name: figures.draw_data(records, curves, note),
        f"{name}-horizon": figures.draw_horizon(records, curves, note),
    }
    if comparison.has_scales(records):
        drawn[f"{name}-scale"] = figures.draw_scale(records, curves, note)
    return drawn


def summary(config: WorldModelConfig, results: Results) -> Sequence[str]:
    """A table of all strengths, and their differences from no penalty."""
    return comparison.table(results[file_name(config)]["records"], config)


EXPERIMENT = Experiment(ABOUT, WorldModelConfig(), run, draw, summary, check, positional="task")
