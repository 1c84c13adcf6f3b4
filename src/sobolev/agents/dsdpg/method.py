"""The method dsdpg, and sizes, protocol and pace that all methods with a deterministic policy share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast, runtime_checkable

from sobolev.agents.dsdpg.config import (
    AdamConfig,
    CriticConfig,
    DiscrepancyConfig,
    DSDPGConfig,
    ExplorationConfig,
    NetworkConfig,
)
from sobolev.agents.method import AgentConfig, Method, Pace, Preset
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.smoothness import smoothing

if TYPE_CHECKING:
    from sobolev.agents.dsdpg.agent import DSDPG

C = TypeVar("C", bound=AgentConfig)


class Networks(NamedTuple):
    """Sizes of actor and critics, of a world model, and of a separate network for the reward."""

    policy: NetworkConfig
    model: NetworkConfig
    head: NetworkConfig


SIZES = {
    "small": Networks(NetworkConfig(64, 2), NetworkConfig(64, 2), NetworkConfig(64, 2)),
    "medium": Networks(NetworkConfig(256, 2), NetworkConfig(256, 2), NetworkConfig(256, 2)),
    "full": Networks(NetworkConfig(384, 2), NetworkConfig(512, 4), NetworkConfig(256, 3)),
}
"""Network sizes, the same for every method. full: those published for MAGE; small: for a machine with two cores."""

PROTOCOL: Mapping[str, Any] = {
    "steps": 100_000,
    "env.number": 1,
    "evaluation.every": 1000,
    "evaluation.episodes": 10,
    "log.every": 200,
}
"""The protocol of MAGE, which paper 2 follows as far as is known."""
SHORT: Mapping[str, Any] = {**PROTOCOL, "steps": 10_000, "evaluation.episodes": 5}
DEMO: Mapping[str, Any] = {**SHORT, "steps": 4000}

EXPLORATION = ExplorationConfig(random_steps=500)
"""Of the laptop presets, which also have smaller batches and larger learning rates: for 10,000 env steps."""
LAPTOP = DSDPGConfig(
    batch_size=64,
    critic=CriticConfig(samples=20, actions="replay"),
    discrepancy=DiscrepancyConfig(direction="item"),
    exploration=EXPLORATION,
    optimizer=AdamConfig(actor=1e-3, critic=1e-3, dynamics=1e-3),
)
"""Critics at replayed actions, and a direction per state with 20 samples: the best of twelve settings
(results/tuning)."""


def with_networks(agent: C, **networks: NetworkConfig) -> C:
    """The settings with networks of these sizes, by the name of the part that has the network."""
    parts = {name: replace(getattr(agent, name), network=network) for name, network in networks.items()}
    return cast("C", replace(cast(Any, agent), **parts))


def presets(sized: Callable[[C, Networks], C], paper: C, laptop: C) -> dict[str, Preset[C]]:
    """The presets of a method: its published settings, and those for a laptop, in the sizes that belong to them."""
    full, small = sized(paper, SIZES["full"]), sized(laptop, SIZES["small"])
    return {
        "paper": Preset(full, "full", PROTOCOL),
        "laptop": Preset(small, "small", SHORT),
        "demo": Preset(small, "small", DEMO),
    }


def sizes(sized: Callable[[C, Networks], C]) -> dict[str, Callable[[C], C]]:
    """The sizes of a method, from its function that gives settings networks of certain sizes."""
    return {name: lambda agent, networks=networks: sized(agent, networks) for name, networks in SIZES.items()}


def sized(agent: DSDPGConfig, networks: Networks) -> DSDPGConfig:
    """The settings with networks of these sizes."""
    return with_networks(agent, actor=networks.policy, critic=networks.policy, dynamics=networks.model)


def make(config: DSDPGConfig, spaces: Spaces) -> "DSDPG":
    """Creates the agent."""
    from sobolev.agents.dsdpg.agent import DSDPG

    return DSDPG(config, spaces)


@runtime_checkable
class Paced(Protocol):
    """The settings on which the pace depends."""

    @property
    def updates_per_step(self) -> int:
        """updates per agent step"""
        ...

    @property
    def exploration(self) -> ExplorationConfig:
        """with the number of random steps before the first update"""
        ...


def pace(config: Paced) -> Pace:
    """`updates_per_step` updates per agent step, after the random steps, as in MAGE. Windows have one step."""
    return Pace(1, max(1, config.exploration.random_steps), config.updates_per_step, 1)


def check(config: DSDPGConfig, images: bool) -> None:
    """Raises UserError for settings that contradict each other."""
    del images
    dynamics, discrepancy = config.dynamics, config.discrepancy
    smoothing(config.regularizer, config.penalty).check({"transition": 1})
    for name, bound in (("max-std", dynamics.max_std), ("decoder-std", dynamics.decoder_std)):
        if dynamics.min_std >= bound:
            raise UserError(f"--dynamics.min-std is {dynamics.min_std}, but must be below --dynamics.{name}, {bound}")
    if discrepancy.last_step > discrepancy.first_step:
        raise UserError(
            f"--discrepancy.last-step is {discrepancy.last_step}, but must be at most --discrepancy.first-step, "
            f"{discrepancy.first_step}"
        )
    if (discrepancy.kind == "quantile") != (config.critic.draws == "quantile"):
        raise UserError(
            "--discrepancy.kind quantile works only together with --critic.draws quantile: choose --method iqn, which "
            "has both, or leave both out"
        )
    if discrepancy.kind == "quantile" and config.critic.gradient:
        raise UserError("--discrepancy.kind quantile is for returns alone: choose --method iqn")


METHOD = Method(
    name="dsdpg",
    about="critics of the distribution of the return and its action gradient, through a learned model",
    config=DSDPGConfig,
    presets=presets(sized, DSDPGConfig(), LAPTOP),
    sizes=sizes(sized),
    make=make,
    pace=pace,
    check=check,
    added={"critic.truncation": "pooled", "dynamics.reward": "decoder"},
)
