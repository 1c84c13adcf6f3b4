"""The registry of methods, and the method and agent of a config."""

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
"""The methods that come with sobolev, by name."""

METHODS: Registry[Method[Any]] = Registry("method", Method, OURS, "sobolev.methods")
"""All methods: built in, of installed packages (entry points), or given as my_package.my_module:METHOD."""


def method_of(config: TrainConfig) -> Method[Any]:
    """Returns the method of a config. Raises UserError if there is none of that name."""
    return METHODS.find(config.method)


def agent_of(config: TrainConfig, spaces: Spaces) -> "AnyAgent":
    """Creates the agent of a resolved config, for an environment with these spaces.

    Raises UserError if a run cannot use what the method makes.
    """
    from sobolev.agents import api  # which loads jax

    method = method_of(config)
    agent = method.make(config.agent, spaces)
    api.check(agent, f"method {config.method}", method.host_replay)
    return agent
