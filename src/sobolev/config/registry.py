"""The methods that `sobolev train` knows, and how a run comes to its own."""

from typing import TYPE_CHECKING, Any

from sobolev.agents.baselines.method import IQN, MAGE, MMD, TD3
from sobolev.agents.dreamer.method import DREAMER, GPLD
from sobolev.agents.dsdpg.method import METHOD as DSDPG
from sobolev.agents.method import Method
from sobolev.config.train import TrainConfig
from sobolev.envs.specs import Spaces
from sobolev.plugins import Registry

if TYPE_CHECKING:
    from sobolev.agents.api import AnyAgent

OURS: dict[str, Method[Any]] = {method.name: method for method in (GPLD, DREAMER, DSDPG, MAGE, TD3, MMD, IQN)}
"""Those that come with the package, by name."""

METHODS: Registry[Method[Any]] = Registry("method", Method, OURS, "sobolev.methods")
"""These, those of installed packages, and my_package.my_module:METHOD."""


def method_of(config: TrainConfig) -> Method[Any]:
    """The method of a config. Raises UserError where there is none of that name."""
    return METHODS.find(config.method)


def agent_of(config: TrainConfig, spaces: Spaces) -> "AnyAgent":
    """The agent of a resolved config."""
    return method_of(config).make(config.agent, spaces)
