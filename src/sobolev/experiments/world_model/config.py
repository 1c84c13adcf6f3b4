"""The settings of `sobolev study world-model`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from sobolev.agents.dreamer.config import SIZES, DreamerConfig, OptimizerConfig
from sobolev.envs import check_task
from sobolev.errors import UserError
from sobolev.experiments import checks
from sobolev.smoothness import PenaltyConfig, coefficients


@dataclass(frozen=True)
class WorldModelConfig:
    """The task, the datasets, the training and the measurement; the defaults take 15 minutes on two cores."""

    task: Annotated[Positional[str], arg(metavar="TASK", help_behavior_hint="")] = ""
    """walker-walk (DeepMind Control) or gym:Ant-v5 (Gymnasium)"""
    out: Path = Path("results/world-model")
    """folder for the figures (PNG and PDF) and the numbers (JSON), named after the task"""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """seeds; each one has its own data and model"""
    episodes: tuple[int, ...] = (1, 4, 16)
    """sizes of the datasets in episodes, increasing; a smaller dataset is the beginning of a larger one"""
    behaviors: tuple[Literal["random", "mixed"], ...] = ("random", "mixed")
    """behaviours that generate the episodes. random: uniform actions; mixed: noise of several scales and correlations,
    and the --policy, if given"""
    policy: Path | None = None
    """run whose policy generates every other episode of the mixed data, the first one included"""
    held_out: int = 4
    """held-out episodes on which to measure, of the same behaviour"""
    max_steps: int = 10_000
    """env steps after which an episode is truncated, if its task may never end"""
    updates: int = 800
    """updates on each dataset, whatever its size"""
    horizon: int = 20
    """steps that are predicted open-loop"""
    states: int = 256
    """held-out states at which to measure sensitivity and Jacobians"""
    size: Literal["1m", "12m", "25m", "50m", "100m", "200m", "400m"] = "1m"
    """size of the agent whose world model is trained"""
    batch_size: int = 8
    """sampled windows per update"""
    batch_length: int = 32
    """steps of a window"""
    multiples: tuple[float, ...] = (0.0, 1.0)
    """strengths of the penalty that are compared, as multiples of the coefficients in --penalty and of its floor,
    increasing from 0: every dataset is learned once with each"""
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    """the penalty at multiple 1"""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4, warmup=100))


def check(config: WorldModelConfig) -> None:
    """Raises UserError for invalid settings."""
    checks.seeds(config.seeds, fewest=2)
    checks.increasing("episodes", config.episodes, "1 4 16")
    if not config.behaviors or len(set(config.behaviors)) < len(config.behaviors):
        raise UserError("--behaviors takes random, mixed, or both, once each")
    checks.at_least(config, held_out=1, max_steps=1, updates=1, horizon=1, states=1, batch_size=1, batch_length=1)
    if len(config.multiples) < 2 or config.multiples[0] != 0 or sorted(set(config.multiples)) != list(config.multiples):
        raise UserError("--multiples must increase from 0, which is no penalty, as in --multiples 0 0.1 1")
    if not (config.penalty.posterior or config.penalty.prior):
        raise UserError("the penalty is off: give --penalty.posterior or --penalty.prior a value above 0")
    if config.policy and "mixed" not in config.behaviors:
        raise UserError("--policy makes part of the mixed data: add mixed to --behaviors")
    check_task(config.task)


def agent_config(config: WorldModelConfig, multiple: float) -> DreamerConfig:
    """The settings of the agent whose world model is trained with that multiple of the penalty."""
    scaled = {name: multiple * value for name, value in coefficients(config.penalty).items()}
    scaled["floor"] = multiple * config.penalty.floor  # else small multiples would end alike
    return DreamerConfig(
        batch_size=config.batch_size,
        batch_length=config.batch_length,
        precision="float32",
        model=SIZES[config.size],
        penalty=replace(config.penalty, **scaled),
        optimizer=config.optimizer,
    )


def label(config: WorldModelConfig, multiple: float) -> str:
    """The label of a multiple of the penalty: its initial coefficient, if that is the same for both tables."""
    values = {value for value in coefficients(config.penalty).values() if value}
    if multiple == 0:
        return "no penalty"
    return f"λ₀ = {multiple * values.pop():g}" if len(values) == 1 else f"{multiple:g} × the penalty"
