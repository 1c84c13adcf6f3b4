"""The compiled functions of a run: one program for the agents of all seeds, and waiting until it is compiled.

`SeedFunctions` has the computations, `Streaming` the transfer of batches from a replay in host memory.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Traced, Wrapped
from jaxtyping import Array, PyTree

from sobolev import replay as memory
from sobolev.agents.api import AnyAgent, Carry, Dreams, Inspected, Report, State, Step
from sobolev.distributed.sharding import Layout, local
from sobolev.envs import Transition
from sobolev.replay import AnyReplay, HostReplay, Replay, Streamed
from sobolev.system.jax_setup import in_32_bits
from sobolev.system.target import for_accelerator
from sobolev.training.background_compile import Ahead
from sobolev.training.playing import rounds
from sobolev.training.seed_axis import joined
from sobolev.training.seed_functions import SeedFunctions
from sobolev.training.streaming import Streaming

Stored = Replay | HostReplay
R = TypeVar("R", bound=Replay | HostReplay | Streamed)

Call: TypeAlias = tuple[Wrapped, tuple[Any, ...]]
"""A jitted function, and the shapes of its arguments in a run."""


class Program:
    """The functions that a run calls, on its devices (see `Layout`). Leaves of state and carry are [seeds, …]."""

    def __init__(
        self, agent: AnyAgent, seeds: Sequence[int], data: int = 1, devices: Sequence[jax.Device] | None = None
    ):
        """`data` devices divide every batch; where it is 1, seeds are spread over as many as divide them evenly.

        `devices`: those to compute on, or to compile for (see `trace`); None for all of this machine.
        """
        self.agent, self.seeds = agent, tuple(seeds)
        self.layout = Layout(len(self.seeds), data, devices)
        self.functions = functions = SeedFunctions(agent, self.seeds, self.layout)
        self._streaming = Streaming(functions)
        # Called once, and slow to compile; with less optimisation it gives the same bits in half the time.
        self._initial: Wrapped = jax.jit(functions.initial, compiler_options={"xla_backend_optimization_level": 1})
        compiled = self.layout.compiled
        self._learn: Wrapped = compiled(functions.learn, donate_argnums=(0, 1))
        self._learn_many: Wrapped = compiled(functions.learn_many, donate_argnums=(0, 1))
        self._step: Wrapped = compiled(functions.step, donate_argnums=(0, 1, 2))
        self._act: Wrapped = compiled(functions.act, donate_argnums=(1,), static_argnums=(5, 6))
        self._inspect: Wrapped = compiled(functions.inspect)
        self._dream: Wrapped = jax.jit(functions.dream, static_argnums=(2,))
        self._ahead = Ahead()
        self._later: dict[str, tuple[Wrapped, Callable[[], tuple[Any, ...]]]] = {}

    # Compiling ahead of the first call

    @in_32_bits()
    def compile_ahead(
        self, environments: int, capacity: int, evaluations: int, learns: bool, where: str = "device"
    ) -> None:
        """Starts compiling, in the background, the functions that a run calls; the first call of each waits for it.

        `capacity` and `where` as for `initial_replay`; `evaluations`: episodes of an evaluation for each seed, 0 for
        none; `learns`: whether the run will make updates.
        """
        calls = self._calls(environments, capacity, evaluations, where)
        # In the order of their first calls; but the update, which takes longest, is traced during the first evaluation.
        update = "updates" if self.updates_at_once and where == "device" else "update"
        order = {"act": "act"} if evaluations else {}
        order |= {"step": "step"} | ({"learn": update} if learns else {})
        self._ahead.start({name: calls[call] for name, call in order.items()})

        def inspecting() -> tuple[State, Report, Any]:
            state, given, number = calls["update"][1]
            return state, self.layout.shapes(self._learn.trace(state, given, number).out_info[2]), number

        if learns and isinstance(self.agent, Inspected):
            self._later = {"inspect": (self._inspect, inspecting)}

    @in_32_bits()
    def trace(self, call: str, environments: int, capacity: int, evaluations: int = 3) -> Traced:
        """One of the run's functions as `jax.stages.Traced`, which can be lowered and compiled without being run.

        call: "update", "updates" (any number of them in one call), "step" (actions and adding to replay) or "act" (of
        an evaluation). The other arguments are as for `compile_ahead`. Raises KeyError for another call.
        """
        function, arguments = self._calls(environments, capacity, evaluations, "device")[call]
        return function.trace(*arguments)

    def compiled_bytes(self, name: str) -> int:
        """Working memory of the function "act", "step" or "learn"; waits for what `compile_ahead` began."""
        return self._ahead.temporary_bytes(name)

    def _calls(self, environments: int, capacity: int, evaluations: int, where: str) -> Mapping[str, Call]:
        number = jax.ShapeDtypeStruct((), jnp.int32)
        state = self.layout.shapes(self.state_shapes())
        stored = jax.eval_shape(lambda: self.initial_replay(environments, capacity))
        replay = given = stored
        if where == "host":
            replay, given = (jax.eval_shape(partial(self._streaming.zeros, stored, batch)) for batch in (False, True))
        replay, given = (self.layout.shapes(form, memory.replay_axes(form)) for form in (replay, given))

        def acting(environments: int) -> tuple[Carry, Any]:
            carry = jax.eval_shape(lambda: self.initial_carry(environments))
            return self.layout.shapes(carry), self._transition((len(self.seeds), environments))

        carry, transition = acting(environments)
        calls: dict[str, Call] = {
            "step": (self._step, (state, carry, replay, transition, number)),
            "update": (self._learn, (state, given, number)),
            "updates": (self._learn_many, (state, replay, number, number)),
        }
        if evaluations:
            count, played = rounds(evaluations)
            part = (None, None) if count == 1 else (count * played, number)
            calls["act"] = (self._act, (state, *acting(played), number, number, "evaluate", *part))
        return calls

    # The beginning of a run

    @in_32_bits()
    def initial_state(self) -> State:
        """Fresh agents. Each is computed alone, so that its bits do not depend on which other seeds there are."""
        states = [self._initial(seed) for seed in self.seeds]
        return self.layout.placed(joined(states) if len(states) > 1 else states[0])

    @in_32_bits()
    def state_shapes(self) -> State:
        """The shapes of `initial_state`; nothing is computed."""
        one = jax.eval_shape(self._initial, 0)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(self.seeds), *leaf.shape[1:]), leaf.dtype), one)

    @in_32_bits()
    def initial_carry(self, environments: int) -> Carry:
        """The policies' memory before the first step."""

        def for_all(leaf: Array | np.ndarray) -> Array | np.ndarray:
            tile = np.tile if isinstance(leaf, np.ndarray) else jnp.tile
            return tile(leaf, (len(self.seeds), *[1] * leaf.ndim))

        return self.layout.placed(jax.tree.map(for_all, self.agent.initial_carry(environments)))

    @in_32_bits()
    def initial_replay(self, environments: int, capacity: int, where: str = "device") -> Stored:
        """An empty replay of `capacity` steps for each environment of each seed; `where`: see `ReplayConfig.memory`."""
        step = self._transition(()) | {"action": jax.ShapeDtypeStruct((self.agent.spaces.action,), jnp.float32)}
        if where == "host":
            return self.placed_replay(
                memory.create_host(step, self.agent.extras(), environments, capacity, len(self.seeds))
            )
        create = partial(memory.create, step, self.agent.extras(), environments, capacity, len(self.seeds))
        return self.layout.made(partial(create, zeros=self.layout.zeros), memory.replay_axes)

    @in_32_bits()
    def placed_replay(self, replay: R) -> R:
        """A replay, or the device's part of one, on the devices of the run."""
        if isinstance(replay, HostReplay):
            return cast(R, dataclasses.replace(replay, latents=self.layout.placed(replay.latents)))
        return self.layout.placed(replay, memory.replay_axes(replay))

    def _transition(self, lead: tuple[int, ...]) -> dict[str, PyTree]:
        """Shapes of a transition, with these axes in front."""
        observation = {
            name: jax.ShapeDtypeStruct(lead + spec.shape, jnp.dtype(spec.dtype))
            for name, spec in self.agent.spaces.observation
        }
        reward, flag = jax.ShapeDtypeStruct(lead, jnp.float32), jax.ShapeDtypeStruct(lead, jnp.bool_)
        return {"observation": observation, "reward": reward, **dict.fromkeys(("first", "last", "terminal"), flag)}

    # The steps of a run

    @in_32_bits()
    def step(
        self, state: State, carry: Carry, replay: Stored, transition: Transition, iteration: int
    ) -> tuple[np.ndarray, State, Carry, Stored]:
        """Chooses actions [S, E, A] for a transition, adds both to replay, and lets the agents observe them.

        State, carry and replay are donated. (Were the state only read, JAX would count it as in use, and a CPU would
        compute the next update in the background: see `jax_setup.compute_in_this_thread`.)
        """
        device = self.placed_replay(memory.streamed(replay)) if isinstance(replay, HostReplay) else replay
        self._ahead.wait("step")
        action, state, carry, device = self._step(state, carry, device, transition, np.int32(iteration))
        action = np.asarray(action)
        if isinstance(replay, HostReplay):
            step = {**transition, "action": action}
            return action, state, carry, memory.append(replay, step, device)
        return action, state, carry, device

    @in_32_bits()
    def act(
        self,
        state: State,
        carry: Carry,
        transition: Transition,
        purpose: Literal["act", "evaluate"],
        counters: tuple[int, int],
        part: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, Carry]:
        """Chooses actions [S, E, A] without learning from them; `counters` are the numbers of episode and step.

        `part` (whole, first): episodes are played in rounds; these environments are those from `first` on of `whole`,
        and draw the random numbers that they would draw if all of them were played at once.
        """
        self._ahead.wait("act")
        whole, first = (None, None) if part is None else (part[0], np.int32(part[1]))
        action, carry = self._act(state, carry, transition, *map(np.int32, counters), purpose, whole, first)
        return np.asarray(action), carry

    @in_32_bits()
    def learn(
        self, state: State, replay: Stored, update: int, count: int = 1, ahead: int = 0
    ) -> tuple[State, Stored, Report]:
        """`count` updates from that number on, for all seeds. State and replay are donated.

        The report has the means of the metrics, whether all updates were finite, and the batch of the last one, or of
        the first that was not finite. With steps in host memory, `count` is 1, and while the update runs, the batch of
        the next one is gathered, before which `ahead` steps will be added.
        """
        if isinstance(replay, HostReplay):
            device, replay = self._streaming.take(replay, update)
            state, device, report = self._one_update(state, self.placed_replay(device), update)
            return state, self._streaming.look_ahead(memory.returned(replay, device), update + 1, ahead), report
        if count == 1:
            return self._one_update(state, replay, update)
        self._wait_to_learn()
        return self._learn_many(state, replay, np.int32(update), np.int32(count))

    def _one_update(self, state: State, replay: AnyReplay, update: int) -> tuple[State, AnyReplay, Report]:
        self._wait_to_learn()
        return self._learn(state, replay, np.int32(update))

    def _wait_to_learn(self) -> None:
        """Waits until updates are compiled; then starts compiling what is first called after one, while it runs."""
        self._ahead.wait("learn")
        later, self._later = self._later, {}
        if later:
            self._ahead.start(later)

    @in_32_bits()
    def inspect(self, state: State, report: Report, update: int) -> dict[str, np.ndarray]:
        """The metrics [seeds] that an agent computes only from time to time; {} where it has none.

        `report` is that of update number `update` - 1. A signal does not interrupt it: the update is made, and no
        checkpoint has its report.
        """
        if not isinstance(self.agent, Inspected):
            return {}
        self._ahead.wait("inspect", leaving=False)
        return {name: np.asarray(x) for name, x in self._inspect(state, report, np.int32(update)).items()}

    @in_32_bits()
    def dream(self, state: State, steps: Step, context: int) -> dict[str, np.ndarray] | None:
        """The first seed's predictions of recorded steps (`Dreams.dream`); None without a world model.

        To be called by one of several processes only.
        """
        if not isinstance(self.agent, Dreams):
            return None
        arguments = (local(state), steps, context)
        name = f"dream {steps['first'].shape}"
        self._ahead.start({name: (self._dream, lambda: arguments)})  # in another thread: signals arrive in this one
        self._ahead.wait(name)
        return jax.tree.map(np.asarray, self._dream(*arguments))

    @property
    def updates_at_once(self) -> bool:
        """Whether updates that fall due together should be one call of `learn`.

        On an accelerator a call costs more than it does on a CPU. On a CPU the gradient of a convolution is many times
        slower inside a loop, and signals and the progress bar need their turn between long updates. (Updates from
        host memory come one by one everywhere.)
        """
        return for_accelerator()


@lru_cache(maxsize=8)
def program_of(agent: AnyAgent, seeds: tuple[int, ...], data: int) -> Program:
    """The program of these agents, the same object for equal agents: it holds nothing but compiled functions."""
    return Program(agent, seeds, data)
