"""The methods dreamer and gpld, DreamerV3 and GPLD-DreamerV3: presets, sizes, pace, and checks of settings."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from sobolev.agents.dreamer.config import (
    SIZES,
    BehaviorConfig,
    DreamerConfig,
    ModelConfig,
    OptimizerConfig,
    without_penalty,
)
from sobolev.agents.method import Method, Pace, Preset, variant
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.smoothness import smoothing
from sobolev.system.target import fused_step

if TYPE_CHECKING:
    from sobolev.agents.dreamer.agent import Dreamer

LAPTOP = DreamerConfig(
    batch_size=8,
    batch_length=32,
    train_ratio=128.0,
    model=SIZES["1m"],
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup=1000),
    behavior=BehaviorConfig(horizon=15),
)
DEMO = {"steps": 40_000, "env.number": 4, "evaluation.every": 10_000, "evaluation.episodes": 5}

PARTS = {
    "encoder": ("model/world/encoder/",),
    "decoder": ("model/world/decoder/",),
    "rssm": ("model/world/rssm/",),
    "reward": ("model/world/reward/",),
    "cont": ("model/world/cont/",),
    "actor": ("model/actor/",),
    "critic": ("model/critic/", "slow/"),
}
"""The networks of a Dreamer agent from which another one can start, and the prefixes of their paths in its state."""


def make(config: DreamerConfig, spaces: Spaces) -> "Dreamer":
    """Creates the agent. Raises UserError if the fused step is asked for and does not take the model's sizes."""
    from sobolev.agents.dreamer.agent import Dreamer

    if fused_step():
        from sobolev.agents.dreamer import fused

        fused.check(config.model)
    return Dreamer(config, spaces)


def pace(config: DreamerConfig) -> Pace:
    """`train_ratio` replayed steps per agent step, as soon as replay holds as many windows as a batch has steps."""
    replayed = config.batch_size * config.batch_length
    return Pace(config.batch_length, replayed, config.train_ratio, replayed)


def check(config: DreamerConfig, images: bool) -> None:
    """Raises UserError for settings that contradict each other."""
    model, behavior = config.model, config.behavior
    if model.deter % model.blocks:
        below = max(model.blocks, model.deter // model.blocks * model.blocks)
        raise UserError(
            f"--model.deter {model.deter} is not divisible into --model.blocks {model.blocks}: {below} would be"
        )
    smoothing(config.regularizer, config.penalty).check({"posterior": model.rows, "prior": model.rows})
    if behavior.min_std > behavior.max_std:
        raise UserError("--behavior.min-std must not be above --behavior.max-std")
    if behavior.return_low >= behavior.return_high:
        raise UserError("--behavior.return-low must be below --behavior.return-high")
    if images:
        _check_decoder(model)


def _check_decoder(model: ModelConfig) -> None:
    if 4 * model.depth % model.blocks:
        raise UserError(
            f"--model.depth {model.depth} gives the decoder of images {4 * model.depth} channels, which --model.blocks "
            f"{model.blocks} does not divide: take a depth divisible by {model.blocks // math.gcd(model.blocks, 4)}"
        )


def check_penalised(config: DreamerConfig, images: bool) -> None:
    """As `check`, and raises UserError if there is no penalty."""
    check(config, images)
    if config.penalty.posterior == 0 and config.penalty.prior == 0:
        raise UserError("there is no penalty: set --penalty.posterior or --penalty.prior, or choose --method dreamer")


GPLD = Method(
    name="gpld",
    about="DreamerV3 with the gradient penalty",
    config=DreamerConfig,
    presets={
        "paper": Preset(DreamerConfig(), "12m"),
        "laptop": Preset(LAPTOP, "1m", {"steps": 60_000, "env.number": 4}),
        "demo": Preset(LAPTOP, "1m", DEMO),
    },
    sizes={name: lambda agent, model=model: replace(agent, model=model) for name, model in SIZES.items()},
    make=make,
    pace=pace,
    check=check_penalised,
    parts=PARTS,
    warm=("encoder", "decoder"),
    images=True,
    host_replay=True,
    divides=True,
)
"""Preset paper is the protocol of paper 1, Table 2; laptop and demo have smaller batches, horizons and budgets."""

DREAMER = variant(
    GPLD,
    "dreamer",
    "DreamerV3 without a penalty",
    without_penalty,
    check=check,
    fixed={"regularizer": ("has no regularizer", "gpld"), "penalty": ("has no penalty", "gpld")},
)
