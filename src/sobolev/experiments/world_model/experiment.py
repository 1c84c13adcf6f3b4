"""Does smoothing buy data? The world model alone, trained with and without the penalty on datasets of growing size.

No policy is learned and nothing is imagined: for each behaviour, dataset size, seed and method the same number of
updates is made on a fixed dataset, and the model is measured on episodes that it has not seen.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped
from tyro.conf import Positional, arg

from sobolev import replay as memory
from sobolev.agents.dreamer.agent import Dreamer, compact
from sobolev.agents.dreamer.config import SIZES, DreamerConfig, OptimizerConfig, without_penalty
from sobolev.agents.dreamer.optimizer import build_optimizer, descend
from sobolev.agents.dreamer.world_model import WorldModel, world_model_losses
from sobolev.envs import Spaces, VectorEnv, Workers, default_repeat
from sobolev.errors import UserError
from sobolev.experiments.sensitivity import experiment as sensitivity
from sobolev.experiments.world_model import prediction
from sobolev.experiments.world_model.datasets import Episode, Policies, play
from sobolev.nn import cast_floating
from sobolev.replay import Replay
from sobolev.smoothness import PenaltyConfig
from sobolev.training.playing import Limit

METHODS = ("dreamer", "gpld")
"""Without the penalty, and with it."""
ENVIRONMENTS = 4
"""Side by side, for each seed."""
TRAINING, HELD_OUT = 0, 1
"""Kinds of environments, so that no episode begins alike."""


@dataclass(frozen=True)
class WorldModelConfig:
    """What to train, on how much, and how it is measured; the defaults take a quarter of an hour on two cores."""

    task: Annotated[Positional[str], arg(metavar="TASK", help_behavior_hint="")] = ""
    """walker-walk (DeepMind Control) or gym:Ant-v5 (Gymnasium)"""
    out: Path = Path("results/world-model")
    """folder for the figures (PNG and PDF) and the numbers (JSON), named after the task"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """each has data and a model of its own"""
    episodes: tuple[int, ...] = (1, 4, 16)
    """episodes in the dataset, increasing; a smaller dataset is the beginning of a larger one"""
    behaviors: tuple[Literal["random", "mixed"], ...] = ("random", "mixed")
    """what made the episodes; mixed: noise of several scales and correlations, and the policy, where given"""
    policy: Path | None = None
    """run whose policy plays every other episodes of the mixed data"""
    held_out: int = 4
    """episodes to measure on, of the same behaviour"""
    max_steps: int = 10_000
    """env steps after which an episode is truncated, for tasks without an end"""
    updates: int = 800
    """updates on every dataset, however small"""
    horizon: int = 20
    """steps that are predicted open-loop"""
    states: int = 256
    """held-out states at which sensitivity and Jacobians are measured"""
    size: Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m"] = "1m"
    """size of the agent whose world model is trained"""
    batch_size: int = 8
    batch_length: int = 32
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    """the penalty of the method that has one"""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4, warmup=100))


_init = jax.jit(WorldModel.init, static_argnums=(1, 2))


class Learner(NamedTuple):
    """All that changes while a world model is trained, but for its replay."""

    world: WorldModel
    optimizer: Any
    updates: Int[Array, ""]


def check(config: WorldModelConfig) -> None:
    """Raises UserError for a study that cannot be made."""
    if len(set(config.seeds)) < 2 or len(set(config.seeds)) < len(config.seeds) or min(config.seeds) < 0:
        raise UserError("--seeds needs two different seeds at least, from 0 on: the intervals are over seeds")
    if not config.episodes or min(config.episodes) < 1 or sorted(set(config.episodes)) != list(config.episodes):
        raise UserError("--episodes must increase, from 1 on, as in --episodes 1 4 16")
    if not config.behaviors or len(set(config.behaviors)) < len(config.behaviors):
        raise UserError("--behaviors takes random, mixed, or both, once each")
    for flag in ("held_out", "max_steps", "updates", "horizon", "states", "batch_size", "batch_length"):
        if getattr(config, flag) < 1:
            raise UserError(f"--{flag.replace('_', '-')} is {getattr(config, flag)}, but must be at least 1")
    if not (config.penalty.posterior or config.penalty.prior):
        raise UserError("the penalty is off: give --penalty.posterior or --penalty.prior a value above 0")
    if config.policy and "mixed" not in config.behaviors:
        raise UserError("--policy makes part of the mixed data: add mixed to --behaviors")


def run(config: WorldModelConfig, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """A JSON-able record for every behaviour, seed, dataset size and method; see `_measured` for its numbers.

    Raises UserError for an environment with images, or whose episodes are too short for the settings.
    """
    records = []
    for behavior in config.behaviors:
        start = time.monotonic()
        spaces, training, held_out = datasets(config, behavior)
        _check_lengths(config, [*training[0], *held_out[0]])
        say(f"{behavior}: {sum(map(len, training + held_out))} episodes played, {time.monotonic() - start:.0f} s")
        agents = {name: Dreamer(agent_config(config, name), spaces) for name in METHODS}
        for seed, episodes, unseen in zip(config.seeds, training, held_out, strict=True):
            for number, (name, agent) in itertools.product(config.episodes, agents.items()):
                learner, loss = train(config, agent, episodes, number, seed)
                facts = {"behavior": behavior, "seed": seed, "episodes": number, "method": name, "loss": loss}
                facts["transitions"] = sum(len(episode["reward"]) - 1 for episode in episodes[:number])
                records.append(facts | _measured(config, learner.world, unseen, seed))
            say(f"{behavior}, seed {seed}: {time.monotonic() - start:.0f} s")
    return records


def agent_config(config: WorldModelConfig, method: str) -> DreamerConfig:
    """The agent whose world model is trained."""
    agent = DreamerConfig(
        batch_size=config.batch_size,
        batch_length=config.batch_length,
        precision="float32",
        model=SIZES[config.size],
        penalty=config.penalty,
        optimizer=config.optimizer,
    )
    return without_penalty(agent) if method == "dreamer" else agent


def datasets(config: WorldModelConfig, behavior: str) -> tuple[Spaces, list[list[Episode]], list[list[Episode]]]:
    """Episodes to train on and episodes to measure on, for each seed."""
    found, limit = [], Limit(config.max_steps, default_repeat(config.task), "--max-steps")
    with Workers(min(2, len(config.seeds) * ENVIRONMENTS)) as workers:
        for kind, number in ((TRAINING, config.episodes[-1]), (HELD_OUT, config.held_out)):
            envs = VectorEnv(workers, config.task, None, config.seeds, min(ENVIRONMENTS, number), kind)
            if any(spec.dtype != "float32" for _, spec in envs.spaces.observation):
                raise UserError(f"{config.task} gives images: this study is of vector observations")
            policies = Policies(config.policy, envs) if config.policy and behavior == "mixed" else None
            found.append(play(envs, config.seeds, behavior, number, limit, policies))
            spaces = envs.spaces
            envs.close()
    return spaces, *found


def update(agent: Dreamer, learner: Learner, replay: Replay, key: Key[Array, ""]) -> tuple[Learner, Replay, Array]:
    """One update of the world model: the agent's own loss without what imagination adds to it. Returns that loss."""
    sample_key, infer_key, penalty_key = jax.random.split(key, 3)
    config = agent.config
    windows, replay = memory.sample(replay, sample_key, config.batch_size, config.batch_length)

    def loss(world: WorldModel) -> tuple[Array, Any]:
        exact, world = world, cast_floating(world, agent.dtype)
        steps, tokens, latents = agent.infer(world, windows, infer_key)
        losses = world_model_losses(world, latents, steps, config.loss, 1 - 1 / config.behavior.discount_horizon)
        penalty, _ = agent.penalty(exact, latents.deter, tokens, learner.updates, penalty_key)
        total = sum(agent.loss_scale(name) * loss.mean() for name, loss in losses.items())
        return penalty + total, (jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), latents), total)

    gradients, (latents, total) = jax.grad(loss, has_aux=True)(learner.world)
    world, optimizer, _ = descend(config.optimizer, learner.world, gradients, learner.optimizer)
    replay = memory.write_back(replay, windows, compact(latents))
    return Learner(world, optimizer, learner.updates + 1), replay, total


@cache
def trainer(agent: Dreamer) -> Callable[[Learner, Replay, Key[Array, ""]], tuple[Learner, Replay, Array]]:
    """`update` for that agent, compiled once for all datasets."""
    return jax.jit(partial(update, agent), donate_argnums=(0, 1))


def train(
    config: WorldModelConfig, agent: Dreamer, episodes: Sequence[Episode], number: int, seed: int
) -> tuple[Learner, float]:
    """A world model trained on the first `number` of the episodes, and the mean loss of its last tenth of updates."""
    keys = jax.random.split(jax.random.key(seed))
    world = _init(keys[0], agent.spaces, agent.config.model)
    optimizer = build_optimizer(agent.config.optimizer).init(world)
    learner = Learner(world, optimizer, jnp.zeros((), jnp.int32))
    replay, losses = filled(agent, episodes, number), []
    for update in range(config.updates):
        learner, replay, loss = trainer(agent)(learner, replay, jax.random.fold_in(keys[1], update))
        losses.append(loss)
    last = float(np.mean(losses[-max(1, config.updates // 10) :]))
    if not np.isfinite(last):
        raise UserError("the world model's loss is not finite: try a smaller --optimizer.learning-rate")
    return learner, last


def filled(agent: Dreamer, episodes: Sequence[Episode], number: int) -> Replay:
    """One ring with room for all episodes, of which the first `number` are in it, one after the other."""
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[None], *episodes)
    step = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), whole)
    replay = memory.create(step, agent.extras(), 1, whole["first"].shape[1])
    count = sum(len(episode["first"]) for episode in episodes[:number])
    return replace(replay, steps=jax.tree.map(jnp.asarray, whole), count=jnp.asarray(count, jnp.int32))


def _measured(config: WorldModelConfig, world: WorldModel, episodes: Sequence[Episode], seed: int) -> dict[str, Any]:
    """`prediction.measure` and `sensitivity.measure` on held-out episodes."""
    length = min(len(episode["first"]) for episode in episodes)
    steps = jax.tree.map(lambda *leaves: np.stack([leaf[:length] for leaf in leaves], 1), *episodes)
    key = jax.random.key(seed)
    found: dict[str, Any] = prediction.measure(world, steps, config.horizon, key)
    chosen = np.sort(np.random.default_rng(seed).permutation(steps["first"].size)[: config.states])
    stream = (steps["observation"], steps["action"], steps["first"])
    moved = sensitivity.measure(world, *stream, chosen, key, jnp.dtype("float32"))
    for table in sensitivity.TABLES:
        found[f"{table}_sensitivity"] = moved[table]["sensitivity"]
        found[f"{table}_jacobian"] = moved[table]["jacobian_norm"]
    return {name: np.asarray(x).round(7).tolist() for name, x in found.items()}


def _check_lengths(config: WorldModelConfig, episodes: Sequence[Episode]) -> None:
    shortest = min(len(episode["first"]) for episode in episodes)
    if shortest <= max(config.horizon, config.batch_length):
        raise UserError(
            f"an episode of {config.task} has {shortest} steps: --horizon and --batch-length must be smaller than that"
        )


NUMBERS = {
    "one_step": "observation, one step ahead",
    "open_loop": "observation, mean of all steps ahead",
    "reward_error": "reward, mean of all steps ahead",
    "kl": "KL of posterior and prior (nats)",
    "posterior_sensitivity": "posterior's sensitivity",
    "prior_sensitivity": "prior's sensitivity",
}
"""What is compared, by name, in words."""


def values(records: Sequence[dict[str, Any]], number: str, **where: Any) -> Shaped[np.ndarray, "seeds *rest"]:
    """One number, or list of them, of the records that have these facts, in the order of their seeds."""
    chosen = [r for r in records if all(r[name] == value for name, value in where.items())]
    derived: dict[str, Callable[[dict[str, Any]], float]] = {
        "one_step": lambda r: r["observation"][0],
        "open_loop": lambda r: float(np.mean(r["observation"])),
        "reward_error": lambda r: float(np.mean(r["reward"])),
    }
    return np.array([derived.get(number, lambda r: r[number])(r) for r in sorted(chosen, key=lambda r: r["seed"])])


def half_width(found: Float[np.ndarray, "seeds *rest"]) -> Any:
    """Of the 95% interval of the mean, by Student's t, for few seeds."""
    from scipy import stats

    return stats.t.ppf(0.975, len(found) - 1) * found.std(0, ddof=1) / np.sqrt(len(found))


def lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """A table: for each behaviour, dataset and number, both methods and their paired difference with its interval."""
    rows = [["behaviour", "transitions", "", *METHODS, "gpld - dreamer [95%]"]]
    for behavior, episodes in sorted({(r["behavior"], r["episodes"]) for r in records}):
        where = {"behavior": behavior, "episodes": episodes}
        steps = str(round(values(records, "transitions", **where).mean()))
        for number, title in NUMBERS.items():
            plain, smooth = (values(records, number, method=name, **where) for name in METHODS)
            mean, half = (smooth - plain).mean(), half_width(smooth - plain)
            told = f"{mean:+.3g} [{mean - half:+.3g}, {mean + half:+.3g}]"
            told += " better" if mean + half < 0 else " worse" if mean - half > 0 else ""
            rows.append([behavior, steps, title, f"{plain.mean():.4g}", f"{smooth.mean():.4g}", told])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
