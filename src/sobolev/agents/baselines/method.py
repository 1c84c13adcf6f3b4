"""The methods with which DSDPG is compared: mage and td3, and its ablations mmd and iqn."""

from dataclasses import replace
from typing import TYPE_CHECKING

from sobolev.agents.baselines.config import (
    EnsembleConfig,
    GradientConfig,
    MAGEConfig,
    RatesConfig,
    TD3Config,
    ValueConfig,
)
from sobolev.agents.dsdpg import method as dsdpg
from sobolev.agents.dsdpg.config import with_quantiles, without_gradients
from sobolev.agents.dsdpg.method import EXPLORATION, Networks, pace, presets, sizes, with_networks
from sobolev.agents.method import Method, variant
from sobolev.envs.specs import Spaces
from sobolev.errors import UserError

if TYPE_CHECKING:
    from sobolev.agents.baselines.mage import MAGE as MAGEAgent
    from sobolev.agents.baselines.td3 import TD3 as TD3Agent

LAPTOP_MAGE = MAGEConfig(
    batch_size=128,
    exploration=EXPLORATION,
    optimizer=RatesConfig(1e-3, 1e-3),
    ensemble=EnsembleConfig(members=4, batch_size=128, learning_rate=1e-3),
    gradient=GradientConfig(weight=0.5),
)
"""The best of twelve settings (results/tuning); the published weight of the gradient term is 5."""
LAPTOP_TD3 = TD3Config(
    batch_size=128, critic=ValueConfig(rate=0.01), exploration=EXPLORATION, optimizer=RatesConfig(1e-3, 1e-3)
)
"""The best of nine settings (results/tuning)."""


def sized_mage(agent: MAGEConfig, networks: Networks) -> MAGEConfig:
    """MAGE's settings with networks of these sizes."""
    agent = replace(agent, ensemble=replace(agent.ensemble, reward=networks.head))
    return with_networks(agent, actor=networks.policy, critic=networks.policy, ensemble=networks.model)


def sized_td3(agent: TD3Config, networks: Networks) -> TD3Config:
    """TD3's settings with networks of these sizes."""
    return with_networks(agent, actor=networks.policy, critic=networks.policy)


def make_mage(config: MAGEConfig, spaces: Spaces) -> "MAGEAgent":
    """Creates MAGE's agent."""
    from sobolev.agents.baselines.mage import MAGE

    return MAGE(config, spaces)


def make_td3(config: TD3Config, spaces: Spaces) -> "TD3Agent":
    """Creates TD3's agent."""
    from sobolev.agents.baselines.td3 import TD3

    return TD3(config, spaces)


def check_mage(config: MAGEConfig, images: bool) -> None:
    """Raises UserError for settings of MAGE that contradict each other."""
    del images
    model = config.ensemble
    if config.batch_size % model.members:
        below = max(1, config.batch_size // model.members) * model.members
        raise UserError(
            f"--batch-size {config.batch_size} cannot be divided among --ensemble.members {model.members}: take {below}"
        )
    if model.low >= model.high:
        raise UserError("--ensemble.low must be below --ensemble.high")


MAGE = Method(
    name="mage",
    about="critics of the return's mean and its action gradient, through a learned model",
    config=MAGEConfig,
    presets=presets(sized_mage, MAGEConfig(), LAPTOP_MAGE),
    sizes=sizes(sized_mage),
    make=make_mage,
    pace=pace,
    check=check_mage,
)

TD3 = Method(
    name="td3",
    about="critics of the return's mean, without a model",
    config=TD3Config,
    presets=presets(sized_td3, TD3Config(), LAPTOP_TD3),
    sizes=sizes(sized_td3),
    make=make_td3,
    pace=pace,
)

WITHOUT_GRADIENTS = {"critic.gradient": ("knows no gradients", "dsdpg")}

MMD = variant(
    dsdpg.METHOD,
    "mmd",
    "dsdpg without gradients: critics of the return's distribution, by maximum mean discrepancy",
    without_gradients,
    fixed=WITHOUT_GRADIENTS,
)
IQN = variant(
    dsdpg.METHOD,
    "iqn",
    "dsdpg without gradients: critics of the return's distribution, by quantiles",
    with_quantiles,
    fixed=WITHOUT_GRADIENTS,
)
