"""What a run asks of an agent, whatever its method: pure functions over one pytree of state.

An agent is a frozen, hashable description. All of its functions are for one seed; seeds are an axis outside. What not
every agent can do is a protocol of its own: `Inspected`, `Dreams`, `Constrained`, `Chooses`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev.envs.specs import Spaces
from sobolev.replay import AnyReplay, Choice, Ring, Windows

__all__ = [
    "Agent",
    "AnyAgent",
    "Carry",
    "Chooses",
    "Constrained",
    "Dreams",
    "Inspected",
    "Metrics",
    "Report",
    "State",
    "Step",
]

Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars by name."""

Carry: TypeAlias = PyTree
"""What a policy remembers between two steps: leaves [environments, …], or no leaves."""

Step: TypeAlias = dict[str, PyTree]
"""One step of all environments, leaves [environments, …]: observation (a dict), reward of the step that led here,
first, last, terminal; and action, the one then taken, where it is known."""


@runtime_checkable
class State(Protocol):
    """All that changes about an agent but for its replay: an Equinox module of the agent's."""

    @property
    def model(self) -> PyTree:
        """What learns."""
        ...


class Report(eqx.Module):
    """What one update reports. Leaves have a seed axis in front outside `learn`."""

    metrics: dict[str, Float[Array, "*seeds"]]
    """scalars by name; the same names in every update"""
    finite: Bool[Array, "*seeds"]
    """whether losses and gradients were finite; if not, the update has changed nothing"""
    batch: Windows
    """what the update learned from, to be written down where it was not finite"""


C = TypeVar("C", covariant=True)
S = TypeVar("S")
T = TypeVar("T", contravariant=True)


@runtime_checkable
class Agent(Protocol[C, S]):
    """A method with its config, of type C, for the spaces of one environment; its state is of type S."""

    @property
    def config(self) -> C:
        """The method's settings (see `AgentConfig` in `method`)."""
        ...

    @property
    def spaces(self) -> Spaces:
        """Observations and actions."""
        ...

    @property
    def shown(self) -> Mapping[str, str]:
        """The metrics that progress shows, by the short names under which it does: {"penalty": "penalty/posterior"}."""
        ...

    def init(self, key: Key[Array, ""]) -> S:
        """A fresh agent."""
        ...

    def initial_carry(self, batch: int) -> Carry:
        """The memory of a policy that has seen nothing, for so many environments.

        Of NumPy, if it can be: JAX would compile a program for each array, behind all that a run compiles as it starts.
        """
        ...

    def extras(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes, without environment axis, of what `act` stores with each step; {} for nothing."""
        ...

    def act(
        self, state: S, carry: Carry, transition: Step, key: Key[Array, ""], mode: Literal["train", "evaluate"]
    ) -> tuple[Float[Array, "environments action"], Carry, dict[str, Array]]:
        """Actions in [−1, 1] for a step without its action, zero after a last one; the carry, and the extras.

        `train` explores, `evaluate` acts as the method is evaluated.
        """
        ...

    def observe(self, state: S, transitions: Step) -> S:
        """Running statistics, brought up to date with a step and its action; called once for every step of training.

        What does not change must be the same object, as `eqx.tree_at` leaves it: the rest of the state is not copied.
        """
        ...

    def learn(
        self, state: S, replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[S, AnyReplay, Report]:
        """One update: samples what it needs from replay, and may write latents back.

        `number` counts updates from 0, the same for all seeds: a `cond` on it stays one where seeds are vmapped.
        """
        ...


AnyAgent: TypeAlias = Agent[Any, Any]
"""An agent of any method; which one, the config of the run decides."""


@runtime_checkable
class Inspected(Protocol[T]):
    """An agent with metrics that cost too much to be computed in every update."""

    def inspect(self, state: T, report: Report, key: Key[Array, ""]) -> Metrics:
        """Scalars by name, always the same ones, given the newest update's report and the state after it."""
        ...


@runtime_checkable
class Dreams(Protocol[T]):
    """An agent whose world model predicts observations."""

    def dream(self, state: T, steps: Step, context: int, key: Key[Array, ""]) -> dict[str, Array]:
        """Predicted observations [time, batch, …] of a recorded stream, by name, in the numbers of the environment.

        `steps`: leaves [time, batch, …], as `Step`. The first `context` steps are observed, and nothing from there on.
        """
        ...


@runtime_checkable
class Constrained(Protocol[T]):
    """An agent whose networks are used under a constraint, which has arrays of its own in the state."""

    def constraint(self, state: T) -> dict[str, PyTree]:
        """The fields of the state, by name, that a copy of `model` needs beside it to be used as in the run.

        {} where there is no constraint.
        """
        ...


@runtime_checkable
class Chooses(Protocol):
    """An agent whose replay may be in host memory, since it can say beforehand which windows `learn` will sample.

    These are gathered there, and `learn` is given a `Streamed` replay.
    """

    @property
    def windows(self) -> tuple[int, int]:
        """How many windows an update samples, and their length beside the context step."""
        ...

    def choose(self, ring: Ring, key: Key[Array, ""]) -> Choice:
        """The windows that `learn` with this key samples of such a replay."""
        ...
