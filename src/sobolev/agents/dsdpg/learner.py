"""The common part of DSDPG, MAGE and TD3: their state, acting, and running statistics."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev import replay as memory
from sobolev.agents.api import Metrics, Report, Step
from sobolev.agents.dsdpg.config import ExplorationConfig, NormalizerConfig
from sobolev.agents.dsdpg.networks import Actor, TwinCritic, joined, vector_size
from sobolev.agents.dsdpg.optimizer import chosen
from sobolev.agents.dsdpg.units import Pairs, Statistics, pairs_of
from sobolev.agents.method import AgentConfig
from sobolev.envs.specs import Spaces
from sobolev.nn import cast_floating
from sobolev.nn.batching import in_turn
from sobolev.replay import AnyReplay

D = TypeVar("D")
T = TypeVar("T")


@runtime_checkable
class LearnerConfig(AgentConfig, Protocol):
    """The settings that all these agents have."""

    @property
    def exploration(self) -> ExplorationConfig:
        """The random part of actions in training."""
        ...

    @property
    def normalizer(self) -> NormalizerConfig:
        """The running statistics that normalise the networks' inputs."""
        ...


C = TypeVar("C", bound=LearnerConfig)


class Model(eqx.Module, Generic[D]):
    """The trained networks. D is the world model, or an empty tuple if there is none."""

    actor: Actor
    critics: TwinCritic
    dynamics: D


class Optimizers(eqx.Module):
    """The state of each optimizer."""

    actor: optax.OptState
    critics: optax.OptState
    dynamics: optax.OptState


class Targets(eqx.Module):
    """Target networks, which slowly follow actor and critics."""

    actor: Actor
    critics: TwinCritic


class State(eqx.Module, Generic[D]):
    """Everything about an agent that changes, except its replay."""

    model: Model[D]
    targets: Targets
    optimizers: Optimizers
    statistics: Statistics
    steps: Int[Array, ""]
    """number of agent steps observed"""
    smoothing: dict[str, PyTree] = eqx.field(default_factory=dict[str, PyTree])
    """the regularizer's state for the world model; {} if it has none"""


@dataclass(frozen=True)
class Learner(ABC, Generic[C, D]):
    """An agent with a deterministic policy; subclasses define its networks and how they learn from a batch."""

    seeds_in_turn: ClassVar[bool] = False
    """whether a CPU updates one seed after the other (see `in_turn`)"""

    config: C
    spaces: Spaces

    @property
    def shown(self) -> dict[str, str]:
        """No metrics: the progress bar shows returns only."""
        return {}

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> State[D]:
        """A fresh agent."""

    @abstractmethod
    def update(
        self, state: State[D], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[D], Bool[Array, ""], Metrics]:
        """The state after update `number` (from 0) on a batch, whether everything was finite, and metrics."""

    def snapshot(self, state: State[D]) -> dict[str, PyTree]:
        """The networks, the statistics that normalise their inputs, and the regularizer's state, if there is one."""
        found: dict[str, PyTree] = {"model": state.model, "statistics": state.statistics}
        return found | ({"smoothing": state.smoothing} if jax.tree.leaves(state.smoothing) else {})

    def critic_noise(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "*shape noise"]:
        """Draws of the critics' input ξ; of size 0 for critics of the mean return, which have none."""
        del key
        return jnp.zeros((*shape, 0))

    def learn(
        self, state: State[D], replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[D], AnyReplay, Report]:
        """One update on uniformly sampled transitions. An update with a non-finite loss or gradient changes nothing."""
        sample_key, update_key = jax.random.split(key)
        windows, replay = memory.sample(replay, sample_key, self.config.batch_size, 1, online=False)
        update = in_turn(self.update) if self.seeds_in_turn else self.update
        updated, finite, metrics = update(state, pairs_of(windows, self.spaces), update_key, number)
        return chosen(finite, updated, state), replay, Report(metrics, finite, windows)

    def begin(self, model: Model[D], rules: tuple[optax.GradientTransformation, ...]) -> State[D]:
        """The initial state with these networks: targets are copies, statistics are empty.

        rules: the optimizers of actor, critics and, if there is one, the world model.
        """
        parts = (model.actor, model.critics, model.dynamics)
        memories = [rule.init(cast(Any, part)) for rule, part in zip(rules, parts, strict=False)]
        memories += [()] * (len(parts) - len(memories))
        targets = Targets(*jax.tree.map(jnp.copy, (model.actor, model.critics)))
        units = self.config.normalizer
        statistics = Statistics.init(vector_size(self.spaces), units.min_std, units.clip)
        return State(model, targets, Optimizers(*memories), statistics, jnp.zeros((), jnp.int32))

    def initial_carry(self, batch: int) -> tuple[()]:
        """The policy has no memory."""
        del batch
        return ()

    def extras(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Nothing is stored in replay beside the steps."""
        return {}

    def act(
        self,
        state: State[D],
        carry: tuple[()],
        transition: Step,
        key: Key[Array, ""],
        mode: Literal["train", "evaluate"],
    ) -> tuple[Float[Array, "batch action"], tuple[()], dict[str, Array]]:
        """The policy's actions for a batch of environments; in training with noise, and at first uniformly random.

        `transition` has observation, first and last of the current step. At the last step of an episode actions are 0.
        """
        states = jax.vmap(state.statistics.normalised)(joined(self.spaces, transition["observation"]))
        action = jax.vmap(state.model.actor)(states)
        if mode == "train":
            exploration, (noise_key, random_key) = self.config.exploration, jax.random.split(key)
            noisy = action + exploration.noise * jax.random.normal(noise_key, action.shape)
            uniform = jax.random.uniform(random_key, action.shape, minval=-1.0, maxval=1.0)
            action = jnp.where(state.steps < exploration.random_steps, uniform, jnp.clip(noisy, -1.0, 1.0))
        return jnp.where(transition["last"][:, None], 0.0, action), carry, {}

    def observe(self, state: State[D], transitions: Step) -> State[D]:
        """Counts one step of a batch of environments, and adds it to the statistics of states and rewards."""
        seen, old = joined(self.spaces, transitions["observation"]), state.statistics
        states = old.state.update(seen, jnp.ones(seen.shape[0], bool))
        rewards = old.reward.update(transitions["reward"][:, None], ~transitions["first"])
        statistics = replace(old, state=states, reward=rewards)
        return replace(state, statistics=statistics, steps=state.steps + seen.shape[0])

    def cast(self, networks: T) -> T:
        """Networks in the dtype in which their products are computed."""
        return cast_floating(networks, jnp.dtype(self.config.precision))
