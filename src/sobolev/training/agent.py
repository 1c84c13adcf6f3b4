"""What the rest asks of an agent, whatever its method: pure functions over one pytree of state.

An agent is a frozen, hashable description. All of its functions are for one seed; seeds are an axis outside.
"""

from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from sobolev.envs.specs import Spaces
from sobolev.replay import Replay, Windows

State: TypeAlias = Any
"""All that changes about an agent but for its replay, an Equinox module whose field `model` holds what learns."""

Carry: TypeAlias = PyTree
"""What a policy remembers between two steps: leaves [environments, …], or no leaves."""

Step: TypeAlias = dict[str, Any]
"""One step of all environments, leaves [environments, …]: observation (a dict), reward of the step that led here,
first, last, terminal; and action, the one then taken, where it is known."""


@runtime_checkable
class Report(Protocol):
    """What one update tells; a dataclass. Leaves have a seed axis in front outside `learn`."""

    @property
    def metrics(self) -> dict[str, Array]:
        """Scalars by name; the same names in every update."""
        ...

    @property
    def finite(self) -> Bool[Array, "*seeds"]:
        """Whether losses and gradients were finite; if not, the update has changed nothing."""
        ...

    @property
    def batch(self) -> Windows:
        """What the update learned from, to be written down where it was not finite."""
        ...


@runtime_checkable
class Agent(Protocol):
    """A method with its config, for the spaces of one environment."""

    @property
    def config(self) -> Any:
        """The dataclass of the method's settings; has `precision` and `batch_size`."""
        ...

    @property
    def spaces(self) -> Spaces:
        """Observations and actions."""
        ...

    def init(self, key: Key[Array, ""]) -> State:
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
        self, state: State, carry: Carry, transition: Any, key: Key[Array, ""], mode: Literal["train", "evaluate"]
    ) -> tuple[Float[Array, "environments action"], Carry, dict[str, Array]]:
        """Actions in [−1, 1] for a step without its action, zero after a last one; the carry, and the extras.

        `train` explores, `evaluate` acts as the method is evaluated.
        """
        ...

    def observe(self, state: State, transitions: Step) -> State:
        """Running statistics, brought up to date with a step and its action; called once for every step of training.

        What does not change must be the same object, as `eqx.tree_at` leaves it: the rest of the state is not copied.
        """
        ...

    def learn(
        self, state: State, replay: Replay, key: Key[Array, ""], number: Int[Array, ""]
    ) -> tuple[State, Replay, Report]:
        """One update: samples what it needs from replay, and may write latents back.

        `number` counts updates from 0, the same for all seeds: a `cond` on it stays one where seeds are vmapped.
        An agent that also has `choose(ring, key)`, the windows that `learn` with this key samples, may have its replay
        in host memory: these are then gathered there, and `replay` is a `Streamed` one.
        """
        ...


@runtime_checkable
class Inspected(Protocol):
    """An agent that has more to log than its updates tell, because it costs too much to be found in each of them."""

    def inspect(self, state: State, report: Any, key: Key[Array, ""]) -> dict[str, Float[Array, ""]]:
        """Scalars by name, always the same ones, given the newest update's report and the state after it."""
        ...
