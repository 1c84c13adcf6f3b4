"""The compiled functions of a run: every seed's agent in one program, along a leading seed axis.

Seeds never meet: each has its own state, replay rows and random keys. Keys are derived from the seed and a counter, so
nothing random has to be carried along. Replay's counters are the same for all seeds and stay scalars (see `replay`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sobolev import replay as memory
from sobolev.agents.api import AnyAgent, Carry, Chooses, Dreams, Inspected, Report, State
from sobolev.distributed.sharding import Layout, local
from sobolev.envs import Transition
from sobolev.nn.draws import part_of
from sobolev.replay import HostReplay, Replay
from sobolev.system.jax_setup import in_32_bits
from sobolev.system.target import for_accelerator
from sobolev.training.background_compile import Ahead
from sobolev.training.playing import rounds
from sobolev.training.seed_axis import joined, map_axes, with_another

Stored = Replay | HostReplay

PURPOSES = {"initial": 0, "act": 1, "learn": 2, "evaluate": 3, "dream": 4, "inspect": 5}
"""Random streams of a seed, apart from each other."""


class Program:
    """What a run computes on its devices (see `Layout`). Leaves of state and carry are [seeds, …]."""

    def __init__(self, agent: AnyAgent, seeds: Sequence[int], data: int = 1, devices: Sequence[Any] | None = None):
        """`data` devices divide every batch; where it is 1, seeds are spread over as many as divide them evenly.

        `devices`: those to compute on, or to compile for (see `trace`); None for all of this machine's.
        """
        self.agent, self.seeds = agent, tuple(seeds)
        self.layout = Layout(len(self.seeds), data, devices)
        # Called once, and slow to compile; with less optimisation it gives the same bits in half the time.
        quick = {"xla_backend_optimization_level": 1}
        self._initial = jax.jit(self._initial_one, compiler_options=quick)
        jit = self.layout.compiled
        self._learn = jit(self._learn_all, donate_argnums=(0, 1))
        self._learn_many = jit(self._learn_loop, donate_argnums=(0, 1))
        self._step = jit(self._step_all, donate_argnums=(0, 1, 2))
        self._act = jit(self._act_all, donate_argnums=(1,), static_argnums=(5, 6))
        self._inspect = jit(self._inspect_all)
        self._dream = jax.jit(self._dream_first, static_argnums=(2,))
        self._choose = jax.jit(self._choose_all, static_argnums=(2,))
        self._ahead = Ahead()
        self._later: dict[str, Any] = {}

    @in_32_bits()
    def compile_ahead(
        self, environments: int, capacity: int, evaluations: int, learns: bool, where: str = "device"
    ) -> None:
        """Starts compiling, in the background, what a run calls; its first call then waits for what is left of that.

        `capacity` and `where` as for `initial_replay`; `evaluations`: episodes of an evaluation for a seed, 0 for none;
        `learns`: whether updates will be made.
        """
        calls = self._calls(environments, capacity, evaluations, where)
        # What is called first comes first: the longest, the update, is traced while the first evaluation is played.
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
    def trace(self, call: str, environments: int, capacity: int, evaluations: int = 3) -> Any:
        """One of the run's programs as `jax.stages.Traced`, which can be lowered and compiled without being run.

        call: "update", "updates" (any number of them in one call), "step" (actions and adding to replay) or "act" (of
        an evaluation). The other arguments are as for `compile_ahead`. Raises KeyError for another call.
        """
        function, arguments = self._calls(environments, capacity, evaluations, "device")[call]
        return function.trace(*arguments)

    def _calls(self, environments: int, capacity: int, evaluations: int, where: str) -> dict[str, tuple[Any, tuple]]:
        """The jitted functions that a run calls, with their arguments' shapes."""
        number = jax.ShapeDtypeStruct((), jnp.int32)
        state = self.layout.shapes(self.state_shapes())
        replay = given = jax.eval_shape(lambda: self.initial_replay(environments, capacity))
        if where == "host":
            replay, given = (jax.eval_shape(partial(self._streamed, replay, batch)) for batch in (False, True))
        replay, given = (self.layout.shapes(form, memory.replay_axes(form)) for form in (replay, given))

        def acting(environments: int) -> tuple[Carry, Any]:
            carry = jax.eval_shape(lambda: self.initial_carry(environments))
            return self.layout.shapes(carry), self._transition((len(self.seeds), environments))

        carry, transition = acting(environments)
        calls = {
            "step": (self._step, (state, carry, replay, transition, number)),
            "update": (self._learn, (state, given, number)),
            "updates": (self._learn_many, (state, replay, number, number)),
        }
        if evaluations:
            count, played = rounds(evaluations)
            part = (None, None) if count == 1 else (count * played, number)
            calls["act"] = (self._act, (state, *acting(played), number, number, "evaluate", *part))
        return calls

    def update_bytes(self) -> int:
        """Memory that an update takes while it runs, as the compiler says; waits for what `compile_ahead` began."""
        return self._ahead.temporary_bytes("learn")

    @in_32_bits()
    def initial_state(self) -> State:
        """Fresh agents. Each seed's is made alone, so that its bits do not depend on the company."""
        states = [self._initial(seed) for seed in self.seeds]
        return self.layout.placed(joined(states) if len(states) > 1 else states[0])

    @in_32_bits()
    def state_shapes(self) -> State:
        """What `initial_state` gives, as shapes; nothing is computed."""
        one = jax.eval_shape(self._initial_one, 0)
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
    def placed_replay(self, replay: Any) -> Any:
        """A replay, or the device's part of one, where the run wants it."""
        if isinstance(replay, HostReplay):
            return dataclasses.replace(replay, latents=self.layout.placed(replay.latents))
        return self.layout.placed(replay, memory.replay_axes(replay))

    def _streamed(self, form, batch):
        """The device's part of a replay of this form, with steps for a batch or without."""
        number, length = cast(Chooses, self.agent).windows
        lead = len(self.seeds), number, length + 1
        steps = jax.tree.map(lambda ring: jnp.zeros((*lead, *ring.shape[3:]), ring.dtype), form.steps if batch else {})
        latents = jax.tree.map(lambda ring: jnp.zeros(ring.shape, ring.dtype), form.latents)
        return memory.Streamed(steps, latents, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def _transition(self, lead: tuple[int, ...]) -> dict[str, Any]:
        """Shapes of a transition, with these axes in front."""
        observation = {
            name: jax.ShapeDtypeStruct(lead + spec.shape, jnp.dtype(spec.dtype))
            for name, spec in self.agent.spaces.observation
        }
        reward, flag = jax.ShapeDtypeStruct(lead, jnp.float32), jax.ShapeDtypeStruct(lead, jnp.bool_)
        return {"observation": observation, "reward": reward, **dict.fromkeys(("first", "last", "terminal"), flag)}

    @in_32_bits()
    def step(
        self, state: State, carry: Carry, replay: Stored, transition: Transition, iteration: int
    ) -> tuple[np.ndarray, State, Carry, Stored]:
        """Chooses actions [S, E, A] for a transition, adds both to replay, and lets the agents observe them.

        State, carry and replay are donated. (A state that had only been looked at would be in use, for JAX, and a CPU
        would make the next update in the background: see `jaxconfig.compute_in_this_thread`.)
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
        purpose: str,
        counters: tuple[int, int],
        part: tuple[int, int] | None = None,
    ) -> tuple[np.ndarray, Carry]:
        """Chooses actions [S, E, A] without learning from them; `counters` number the episode and the step.

        `part` (whole, first): the environments are those from `first` on of `whole` that are played in rounds, and draw
        what they would if all of them were here.
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
            return self._learn_streamed(state, replay, update, ahead)
        self._wait_to_learn()
        if count == 1:
            return self._learn(state, replay, np.int32(update))
        return self._learn_many(state, replay, np.int32(update), np.int32(count))

    @in_32_bits()
    def inspect(self, state: State, report: Report, update: int) -> dict[str, np.ndarray]:
        """What the agent tells but once in a while, [seeds] each; `report` is that of update number `update` - 1."""
        if not isinstance(self.agent, Inspected):
            return {}
        self._ahead.wait("inspect")
        return {name: np.asarray(x) for name, x in self._inspect(state, report, np.int32(update)).items()}

    @in_32_bits()
    def dream(self, state: State, steps: dict[str, Any], context: int) -> dict[str, np.ndarray] | None:
        """The first seed's predictions of recorded steps, see `dreamer.dream.open_loop`; None without a world model.

        Of several processes one alone may ask.
        """
        if not isinstance(self.agent, Dreams):
            return None
        arguments = (local(state), steps, context)
        name = f"dream {steps['first'].shape}"
        self._ahead.start({name: (self._dream, lambda: arguments)})  # in another thread: signals are heard in this one
        self._ahead.wait(name)
        return jax.tree.map(np.asarray, self._dream(*arguments))

    @property
    def updates_at_once(self) -> bool:
        """Whether updates that fall due together had better be one call of `learn`.

        On an accelerator a call costs more than it does there. On a CPU a gradient of a convolution is many times
        slower inside a loop, and signals and the progress bar want a turn between long updates. (Batches out of host
        memory come one by one everywhere.)
        """
        return for_accelerator()

    def _learn_streamed(self, state, replay, update, ahead):
        length = cast(Chooses, self.agent).windows[1]
        device, replay = memory.take(replay, self._choice(replay, update, 0), length)
        self._wait_to_learn()
        state, device, report = self._learn(state, self.placed_replay(device), np.int32(update))
        replay = memory.returned(replay, device)
        return state, memory.look_ahead(replay, self._choice(replay, update + 1, ahead), length), report

    def _wait_to_learn(self):
        """Until updates are compiled; what is first called after one is then compiled while it runs."""
        self._ahead.wait("learn")
        later, self._later = self._later, {}
        if later:
            self._ahead.start(later)

    def _choice(self, replay: HostReplay, update: int, ahead: int) -> memory.Choice:
        """The windows of an update that comes after so many more steps, on the host. Made there too: a device would
        only tell when it is done with what it was given before."""
        with jax.default_device(_host()):
            count = np.asarray(replay.count + ahead, np.int32)
            chosen = self._choose(count, replay.taken, replay.shape[1:], np.int32(update))
        return jax.tree.map(np.asarray, chosen)

    def _choose_all(self, count, taken, shape, update):
        choose = partial(cast(Chooses, self.agent).choose, memory.Ring(count, taken, *shape))
        return jax.vmap(choose, out_axes=memory.Choice(0, 0, None))(self._keys("learn", update))

    def _initial_one(self, seed):
        return jax.tree.map(lambda leaf: leaf[None], self.agent.init(_key(seed, "initial")))

    def _step_all(self, state, carry, replay, transition, iteration):
        keys = self._keys("act", iteration)
        action, carry, extras = self._over_seeds(partial(self.agent.act, mode="train"))(state, carry, transition, keys)
        step = {**transition, "action": action}
        axes = memory.replay_axes(replay)
        add = self.layout.spread(jax.vmap(memory.add, (axes, 0, 0), axes), (axes, 0, 0), axes)
        replay = add(replay, step, extras)
        (observed,) = self._over_seeds(self._observed)(state, step)
        state = eqx.combine(observed, state) if jax.tree.leaves(observed) else state
        return action, state, carry, replay

    def _observed(self, state, step):
        """What a step changes of a state, with None in the place of all the rest, which then need not be copied."""
        return (jax.tree.map(lambda new, old: None if new is old else new, self.agent.observe(state, step), state),)

    def _act_all(self, state, carry, transition, episode, step, purpose, whole, first):
        keys = jax.vmap(jax.random.fold_in, (0, None))(self._keys(purpose, episode), step)

        def act(state, carry, transition, key, first):
            with part_of(whole, first, len(transition["reward"])) if whole else nullcontext():
                return self.agent.act(state, carry, transition, key, mode="evaluate")

        action, carry, _ = self._over_seeds(act, (0, 0, 0, 0, None))(state, carry, transition, keys, first)
        return action, carry

    def _learn_all(self, state, replay, update):
        axes, keys = memory.replay_axes(replay), self._keys("learn", update)
        learn = partial(self.agent.learn, number=jnp.asarray(update))
        return self._over_seeds(learn, (0, axes, 0), (0, axes, 0))(state, replay, keys)

    def _learn_loop(self, state, replay, update, count):
        def another(i, carry):
            state, replay, before = carry
            state, replay, report = self._learn_all(state, replay, update + i)
            return state, replay, with_another(before, report, i)

        shapes = jax.eval_shape(self._learn_all, state, replay, update)[2]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        nothing = dataclasses.replace(nothing, finite=jnp.ones_like(nothing.finite))
        return jax.lax.fori_loop(0, count, another, (state, replay, nothing))

    def _inspect_all(self, state, report, update):
        agent, keys = cast(Inspected, self.agent), self._keys("inspect", update)
        return self._over_seeds(lambda *arguments: (agent.inspect(*arguments),))(state, report, keys)[0]

    def _dream_first(self, state, steps, context):
        agent = cast(Dreams[State], self.agent)
        first = jax.tree.map(lambda leaf: leaf[0], state)
        return agent.dream(first, steps, context, _key(jnp.uint32(self.seeds[0]), "dream"))

    def _keys(self, purpose: str, counter: Array) -> Array:
        keys = jnp.stack([_key(jnp.uint32(seed), purpose) for seed in self.seeds])
        return jax.vmap(jax.random.fold_in, (0, None))(keys, counter)

    def _over_seeds(self, function: Callable, in_axes: Any = 0, out_axes: Any = 0) -> Callable:
        """`function` along the seed axis; where a device has a single seed, it runs without that axis, which costs XLA
        many layouts."""
        if len(self.seeds) > self.layout.spread_over:
            return self.layout.spread(jax.vmap(function, in_axes, out_axes), in_axes, out_axes)

        def alone(*arguments: PyTree) -> PyTree:
            results = function(*map_axes(lambda leaf: leaf[0], arguments, in_axes))
            return map_axes(lambda leaf: leaf[None], results, out_axes)

        return self.layout.spread(alone, in_axes, out_axes)


def _host() -> Any:
    """The device that is the host, where jax has it beside an accelerator."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


@lru_cache(maxsize=8)
def program_of(agent: AnyAgent, seeds: tuple[int, ...], data: int) -> Program:
    """The program of these agents. Equal ones are one in this process: it holds nothing but what is compiled."""
    return Program(agent, seeds, data)


def _key(seed: Any, purpose: str) -> Array:
    return jax.random.fold_in(jax.random.key(seed), PURPOSES[purpose])
