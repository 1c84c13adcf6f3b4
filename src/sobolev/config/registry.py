"""The methods that `sobolev train` knows: settings, sizes, presets, when they learn, and what makes their agents.

Loads no jax: an agent's own module is imported when it is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sobolev.agents.baselines.config import MAGEConfig, TD3Config
from sobolev.agents.dreamer.config import SIZES, BehaviorConfig, DreamerConfig, OptimizerConfig, without_penalty
from sobolev.agents.dsdpg.config import DSDPGConfig, with_quantiles, without_gradients
from sobolev.config import deterministic
from sobolev.envs.specs import Spaces

if TYPE_CHECKING:
    from sobolev.agents.api import Agent
    from sobolev.config.train import TrainConfig


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
    from sobolev.agents.dreamer.agent import Dreamer

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


def _deterministic_pace(config: Any) -> Pace:
    # a transition is a window of one step; the random steps come first, as MAGE has it
    return Pace(1, max(1, config.exploration.random_steps), config.updates_per_step, 1)


def _dsdpg_agent(config: DSDPGConfig, spaces: Spaces) -> "Agent":
    from sobolev.agents.dsdpg.agent import DSDPG

    return DSDPG(config, spaces)


def _mage_agent(config: MAGEConfig, spaces: Spaces) -> "Agent":
    from sobolev.agents.baselines.mage import MAGE

    return MAGE(config, spaces)


def _td3_agent(config: TD3Config, spaces: Spaces) -> "Agent":
    from sobolev.agents.baselines.td3 import TD3

    return TD3(config, spaces)


def _deterministic(paper: Any, laptop: Any, make: Callable[[Any, Spaces], "Agent"]) -> Method:
    """A method with a deterministic policy, on the base networks that the others have too."""
    small, full = deterministic.SIZES["small"], deterministic.SIZES["full"]
    return Method(
        config=type(paper),
        sizes=deterministic.SIZES,
        presets={
            "paper": Preset(full(paper), "full", deterministic.PROTOCOL),
            "laptop": Preset(small(laptop), "small", deterministic.SHORT),
            "demo": Preset(small(laptop), "small", deterministic.DEMO),
        },
        pace=_deterministic_pace,
        make=make,
    )


DSDPG = _deterministic(DSDPGConfig(), deterministic.LAPTOP_DSDPG, _dsdpg_agent)

METHODS: dict[str, Method] = {
    "gpld": GPLD,
    "dreamer": replace(GPLD, adapt=without_penalty),
    "dsdpg": DSDPG,
    "mage": _deterministic(MAGEConfig(), deterministic.LAPTOP_MAGE, _mage_agent),
    "td3": _deterministic(TD3Config(), deterministic.LAPTOP_TD3, _td3_agent),
    "mmd": replace(DSDPG, adapt=without_gradients),
    "iqn": replace(DSDPG, adapt=with_quantiles),
}
"""gpld: DreamerV3 with the gradient penalty; dreamer: the same without it; dsdpg: critics of the law of the return and
its action gradient; mage: of their means; td3: without a model; mmd and iqn: critics of the law of the return alone,
by maximum mean discrepancy and by quantiles, with dsdpg's model and networks."""

PRESETS = ("paper", "laptop", "demo")
"""Every method has these: the paper's protocol, or shorter ones (an hour, minutes) that are not it."""
