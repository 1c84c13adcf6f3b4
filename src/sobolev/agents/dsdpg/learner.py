"""What DSDPG, MAGE and TD3 have in common: their state, how they act, and what they observe."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, runtime_checkable

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
from sobolev.replay import AnyReplay

D = TypeVar("D")
T = TypeVar("T")


@runtime_checkable
class LearnerConfig(AgentConfig, Protocol):
    """What the settings of all these agents have."""

    @property
    def exploration(self) -> ExplorationConfig:
        """How training actions differ from the policy's."""
        ...

    @property
    def normalizer(self) -> NormalizerConfig:
        """Running statistics of what networks see."""
        ...


C = TypeVar("C", bound=LearnerConfig)


class Model(eqx.Module, Generic[D]):
    """Everything that learns. D: the world model; an empty tuple where there is none."""

    actor: Actor
    critics: TwinCritic
    dynamics: D


class Optimizers(eqx.Module):
    """What the optimizer of each of the three remembers."""

    actor: optax.OptState
    critics: optax.OptState
    dynamics: optax.OptState


class Targets(eqx.Module):
    """Slowly following copies."""

    actor: Actor
    critics: TwinCritic


class State(eqx.Module, Generic[D]):
    """Everything about an agent that changes, but for its replay."""

    model: Model[D]
    targets: Targets
    optimizers: Optimizers
    statistics: Statistics
    steps: Int[Array, ""]
    """agent steps seen"""
    smoothing: dict[str, PyTree] = eqx.field(default_factory=dict[str, PyTree])
    """what the regularizer remembers of the world model; {} for nothing"""


@dataclass(frozen=True)
class Learner(ABC, Generic[C, D]):
    """An agent with a deterministic policy: all but its networks and how a batch changes them."""

    config: C
    spaces: Spaces

    @property
    def shown(self) -> dict[str, str]:
        """Progress shows nothing but returns."""
        return {}

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> State[D]:
        """A fresh agent."""

    @abstractmethod
    def update(
        self, state: State[D], pairs: Pairs, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[D], Bool[Array, ""], Metrics]:
        """The state after update `number` (from 0) on a batch, whether all of it was finite, and metrics."""

    def learn(
        self, state: State[D], replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State[D], AnyReplay, Report]:
        """One update on transitions drawn uniformly. One with a non-finite loss or gradient changes nothing."""
        sample_key, update_key = jax.random.split(key)
        windows, replay = memory.sample(replay, sample_key, self.config.batch_size, 1, online=False)
        updated, finite, metrics = self.update(state, pairs_of(windows, self.spaces), update_key, number)
        return chosen(finite, updated, state), replay, Report(metrics, finite, windows)

    def begin(self, model: Model[D], rules: tuple[optax.GradientTransformation, ...]) -> State[D]:
        """The state of networks that have learned nothing: targets are copies, statistics empty.

        rules: the optimizers of actor, critics and, where there is one, world model.
        """
        parts = (model.actor, model.critics, model.dynamics)
        memories = [rule.init(cast(Any, part)) for rule, part in zip(rules, parts, strict=False)]
        memories += [()] * (len(parts) - len(memories))
        targets = Targets(*jax.tree.map(jnp.copy, (model.actor, model.critics)))
        units = self.config.normalizer
        statistics = Statistics.init(vector_size(self.spaces), units.min_std, units.clip)
        return State(model, targets, Optimizers(*memories), statistics, jnp.zeros((), jnp.int32))

    def initial_carry(self, batch: int) -> tuple[()]:
        """The policy remembers nothing."""
        del batch
        return ()

    def extras(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Replay holds nothing beside the steps."""
        return {}

    def act(
        self,
        state: State[D],
        carry: tuple[()],
        transition: Step,
        key: Key[Array, ""],
        mode: Literal["train", "evaluate"],
    ) -> tuple[Float[Array, "batch action"], tuple[()], dict[str, Array]]:
        """Actions for a batch of environments: the policy's; in training with noise, and uniform ones to begin with.

        `transition` has observation, first and last of the present step. After a last step the action is zero.
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
        """Counts one step of a batch of environments and takes it into the statistics of states and rewards."""
        seen, old = joined(self.spaces, transitions["observation"]), state.statistics
        states = old.state.update(seen, jnp.ones(seen.shape[0], bool))
        rewards = old.reward.update(transitions["reward"][:, None], ~transitions["first"])
        statistics = replace(old, state=states, reward=rewards)
        return replace(state, statistics=statistics, steps=state.steps + seen.shape[0])

    def cast(self, networks: T) -> T:
        """Networks in the dtype that products are computed in."""
        return cast_floating(networks, jnp.dtype(self.config.precision))
