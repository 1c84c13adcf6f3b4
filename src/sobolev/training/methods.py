"""The methods that `sobolev train` knows: settings, sizes, presets, when they learn, and what makes their agents.

Loads no jax: an agent's own module is imported when it is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sobolev.dreamer.config import SIZES, BehaviorConfig, DreamerConfig, OptimizerConfig, without_penalty
from sobolev.envs.specs import Spaces

if TYPE_CHECKING:
    from sobolev.training.agent import Agent
    from sobolev.training.config import TrainConfig


class Pace(NamedTuple):
    """When updates fall due: `updates` for every `steps` agent steps, once replay holds `windows` windows."""

    length: int
    """steps of a sampled window beside its context step"""
    windows: int
    updates: float
    steps: int


@dataclass(frozen=True)
class Preset:
    """Where a method's defaults come from."""

    agent: Any
    size: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """other settings of a run, by path, that differ from TrainConfig's"""


@dataclass(frozen=True)
class Method:
    """All that is known of a method before its agent is made."""

    config: type
    """the dataclass of its settings"""
    sizes: Mapping[str, Callable[[Any], Any]]
    """by name, what makes an agent's settings those of that size"""
    presets: Mapping[str, Preset]
    pace: Callable[[Any], Pace]
    make: Callable[[Any, Spaces], "Agent"]
    adapt: Callable[[Any], Any] = lambda agent: agent
    """what sets it apart from other methods of the same presets"""


def agent_of(config: "TrainConfig", spaces: Spaces) -> "Agent":
    """The agent of a resolved config."""
    return METHODS[config.method].make(config.agent, spaces)


def pace_of(config: "TrainConfig") -> Pace:
    """When the agent of a config learns."""
    return METHODS[config.method].pace(config.agent)


def _dreamer_agent(config: DreamerConfig, spaces: Spaces) -> "Agent":
    from sobolev.dreamer.agent import Dreamer

    return Dreamer(config, spaces)


def _dreamer_pace(config: DreamerConfig) -> Pace:
    replayed = config.batch_size * config.batch_length
    return Pace(config.batch_length, replayed, config.train_ratio, replayed)


_LAPTOP = DreamerConfig(
    batch_size=8,
    batch_length=32,
    train_ratio=128.0,
    model=SIZES["1m"],
    optimizer=OptimizerConfig(learning_rate=3e-4, warmup=1000),
    behavior=BehaviorConfig(horizon=15),
)
_DEMO = {"steps": 40_000, "env.number": 4, "evaluation.every": 10_000, "evaluation.episodes": 5}

GPLD = Method(
    config=DreamerConfig,
    sizes={name: lambda agent, model=model: replace(agent, model=model) for name, model in SIZES.items()},
    presets={
        "paper": Preset(DreamerConfig(), "12m"),
        "laptop": Preset(_LAPTOP, "1m", {"steps": 60_000, "env.number": 4}),
        "demo": Preset(_LAPTOP, "1m", _DEMO),
    },
    pace=_dreamer_pace,
    make=_dreamer_agent,
)
"""paper: the protocol of paper 1, Table 2. laptop and demo: smaller batch, horizon and budget, not the paper's."""

METHODS: dict[str, Method] = {"gpld": GPLD, "dreamer": replace(GPLD, adapt=without_penalty)}
"""gpld: DreamerV3 with the gradient penalty; dreamer: the same without it."""

PRESETS = ("paper", "laptop", "demo")
"""Every method has these: the paper's protocol, or shorter ones (an hour, minutes) that are not it."""
