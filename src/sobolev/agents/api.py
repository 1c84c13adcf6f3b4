"""The interface between a run and an agent of any method: pure functions of one pytree of state.

An agent is a frozen, hashable object. All of its functions are for one seed; a run maps them over a leading axis of
seeds. Capabilities that only some agents have are protocols of their own: `Snapshots`, `Inspected`, `Dreams`,
`LongUpdates`, `Chooses`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import equinox as eqx
import jax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev.envs.specs import Spaces
from sobolev.errors import UserError
from sobolev.replay import AnyReplay, Choice, Ring, Windows

__all__ = [
    "Agent",
    "AnyAgent",
    "Carry",
    "Chooses",
    "Dreams",
    "Inspected",
    "LongUpdates",
    "Metrics",
    "Report",
    "Snapshots",
    "State",
    "Step",
    "check",
]

Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars by name."""

Carry: TypeAlias = PyTree
"""The policy's memory between two steps: leaves [environments, …], or no leaves."""

Step: TypeAlias = dict[str, PyTree]
"""One step of all environments, leaves [environments, …]: observation (a dict), the reward received on arriving here,
the flags first, last and terminal, and, where it is known, action, the one taken next."""


State: TypeAlias = PyTree
"""Everything about an agent that changes, except its replay: any pytree of arrays, such as an Equinox module or a dict.
Its leaves need different paths, by which they are named in checkpoints."""


class Report(eqx.Module):
    """The report of one update. Outside of `learn`, leaves have a leading axis of seeds."""

    metrics: dict[str, Float[Array, "*seeds"]]
    """scalars by name; the same names in every update"""
    finite: Bool[Array, "*seeds"]
    """whether losses and gradients were finite; if not, the update changed nothing"""
    batch: Windows
    """the update's batch, which is written to a file if the update was not finite"""


C = TypeVar("C", covariant=True)
S = TypeVar("S")
T = TypeVar("T", contravariant=True)


@runtime_checkable
class Agent(Protocol[C, S]):
    """A method with its settings, of type C, for the spaces of one environment. Its state has type S."""

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
        """The metrics that the progress bar shows, by their short names there: {"penalty": "penalty/posterior"}."""
        ...

    def init(self, key: Key[Array, ""]) -> S:
        """A fresh agent."""
        ...

    def initial_carry(self, batch: int) -> Carry:
        """The memory of a policy that has seen nothing, for `batch` environments.

        NumPy arrays, if possible: JAX would compile a program for each of them, and these would queue behind everything
        that a run compiles at its start.
        """
        ...

    def extras(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes, without the environment axis, of what `act` stores in replay with each step; {} for nothing."""
        ...

    def act(
        self, state: S, carry: Carry, transition: Step, key: Key[Array, ""], mode: Literal["train", "evaluate"]
    ) -> tuple[Float[Array, "environments action"], Carry, dict[str, Array]]:
        """Actions in [−1, 1] for a step that has none yet (zero at the last step of an episode), carry and extras.

        `mode` "train" explores; "evaluate" acts in the way in which the method is evaluated.
        """
        ...

    def observe(self, state: S, transitions: Step) -> S:
        """Updates running statistics with a step and its action; called once for every step of training.

        Leaves that do not change must be returned as the same objects, as `eqx.tree_at` does; they are not copied then.
        """
        ...

    def learn(
        self, state: S, replay: AnyReplay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[S, AnyReplay, Report]:
        """One update: samples from replay, and may write latents back to it.

        `number` counts updates from 0. It is the same for all seeds, so that a `cond` on it remains a `cond` under the
        vmap over seeds.
        """
        ...


AnyAgent: TypeAlias = Agent[Any, Any]
"""An agent of any method."""


@runtime_checkable
class Inspected(Protocol[T]):
    """An agent with metrics that are too expensive to be computed in every update."""

    def inspect(self, state: T, report: Report, key: Key[Array, ""]) -> Metrics:
        """Scalars by name, given the newest update's report and the state after it. The names never change."""
        ...


@runtime_checkable
class Dreams(Protocol[T]):
    """An agent whose world model predicts observations."""

    def dream(self, state: T, steps: Step, context: int, key: Key[Array, ""]) -> dict[str, Array]:
        """Predicted observations [time, batch, …] of a recorded stream, by name, in the environment's units.

        `steps`: a `Step` with leaves [time, batch, …]. Only the first `context` steps are observed; the following ones
        are predicted from the recorded actions.
        """
        ...


@runtime_checkable
class Snapshots(Protocol[T]):
    """An agent that does not need all of its state to act. Of other agents, a snapshot keeps the whole state."""

    def snapshot(self, state: T) -> dict[str, PyTree]:
        """The fields of the state, by name, that `--checkpoint.snapshots` keeps: all those that `act` reads.

        `state` may also be a tree of shapes, from which the size of a snapshot is computed.
        """
        ...


@runtime_checkable
class LongUpdates(Protocol):
    """An agent some of whose updates take much longer than the others, which an estimate of a run's time counts."""

    def is_long(self, number: int) -> bool:
        """Whether update `number` (from 0) is one of these."""
        ...


@runtime_checkable
class Chooses(Protocol):
    """An agent whose replay may be in host memory, because it can predict which windows `learn` will sample.

    The windows are gathered on the host, and `learn` gets a `Streamed` replay.
    """

    @property
    def windows(self) -> tuple[int, int]:
        """The number of windows that an update samples, and their length without the context step."""
        ...

    def choose(self, ring: Ring, key: Key[Array, ""]) -> Choice:
        """The windows that `learn` with this key samples from a replay with these counters and this shape."""
        ...


def check(agent: Any, who: str, host_replay: bool = False) -> None:
    """Raises UserError if an agent lacks a part of `Agent`, or of `Chooses` if its method has `host_replay`.

    Or if it cannot be hashed. `who` has made it, as in "method calm".
    """
    lacking = [name for name in vars(Agent) if not name.startswith("_") and not hasattr(agent, name)]
    if lacking:
        raise UserError(f"the agent of {who} lacks {', '.join(lacking)}: see `Agent` in {__name__}")
    if host_replay and not isinstance(agent, Chooses):
        raise UserError(
            f"the agent of {who} lacks windows or choose, which host_replay needs: see `Chooses` in {__name__}"
        )
    try:
        hash(agent)
    except TypeError as error:
        raise UserError(f"the agent of {who} cannot be hashed ({error}): make it a frozen dataclass") from None
