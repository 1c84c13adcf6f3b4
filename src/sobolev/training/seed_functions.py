"""The computations of a run: the functions of an agent, which are for one seed, mapped over all seeds of the run.

Pure functions of arrays, to be compiled by `Program`. Leaves of state and carry are [seeds, …]. Seeds never interact:
each has its own state, replay rows and random keys. Keys are derived from the seed and a counter, so that no random
state has to be carried along. Replay's counters are the same for all seeds and stay scalars (see `replay`).
"""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key, PyTree

from sobolev import replay as memory
from sobolev.agents.api import AnyAgent, Carry, Chooses, Dreams, Inspected, Report, State, Step
from sobolev.distributed.sharding import Layout
from sobolev.errors import UserError
from sobolev.nn.draws import part_of
from sobolev.replay import AnyReplay
from sobolev.training.seed_axis import map_axes, with_another

PURPOSES = {"initial": 0, "act": 1, "learn": 2, "evaluate": 3, "dream": 4, "inspect": 5}
"""The independent random streams of a seed."""

Counter: TypeAlias = Int[Array, ""] | Int[np.ndarray, ""]
"""The number of an iteration, an update, an episode or a step."""


def _check_same(before: State, after: State, function: str) -> None:
    """Raises UserError if a function of the agent has changed the structure of its state, or a shape or dtype in it."""
    old, new = (
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (before, after)
    )
    if unequal := sorted(old.keys() ^ new.keys()):
        there, lacking = ("init", f"what {function} returns") if unequal[0] in old else (function, "what init returns")
        raise UserError(f"the agent's state has {unequal[0]} from {there}, and not in {lacking}: both must be alike")
    for path, leaf in old.items():
        kinds = [f"{getattr(each, 'dtype', type(each).__name__)}{list(np.shape(each))}" for each in (leaf, new[path])]
        if kinds[0] != kinds[1]:
            raise UserError(f"{path} of the agent's state is {kinds[0]} from init and {kinds[1]} from {function}")


def strong(leaf: Array) -> Array:
    """An array of the same numbers, whose dtype is not weak, as that of `jnp.full(3, 2.0)` is.

    What an update returns is not weak, and JAX would compile a program once for an array that is and once for its
    successor.
    """
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


@dataclass(frozen=True, eq=False)
class SeedFunctions:
    """The functions of an agent over all seeds of a run, whose arrays lie on devices as `layout` says."""

    agent: AnyAgent
    seeds: tuple[int, ...]
    layout: Layout

    def initial(self, seed: Integer[Array, ""]) -> State:
        """The fresh agent of one seed, leaves [1, …]."""
        return jax.tree.map(lambda leaf: strong(leaf)[None], self.agent.init(_key(seed, "initial")))

    def step(
        self, state: State, carry: Carry, replay: AnyReplay, transition: Step, iteration: Counter
    ) -> tuple[Float[Array, "seeds environments action"], State, Carry, AnyReplay]:
        """Chooses actions for a transition, adds both to replay, and lets the agents observe them."""
        keys = self._keys("act", iteration)
        action, carry, extras = self._over_seeds(self._act_in_training)(state, carry, transition, keys)
        step = {**transition, "action": action}
        axes = memory.replay_axes(replay)
        add = self.layout.spread(jax.vmap(memory.add, (axes, 0, 0), axes), (axes, 0, 0), axes)
        replay = add(replay, step, extras)
        (observed,) = self._over_seeds(self._observed)(state, step)
        state = eqx.combine(observed, state) if jax.tree.leaves(observed) else state
        return action, state, carry, replay

    def _act_in_training(
        self, state: State, carry: Carry, transition: Step, key: Key[Array, ""]
    ) -> tuple[Array, Carry, PyTree]:
        return self.agent.act(state, carry, transition, key, "train")

    def _observed(self, state: State, step: Step) -> tuple[PyTree]:
        """The leaves of a state that a step changes, and None in place of the others, which then are not copied."""
        observed = self.agent.observe(state, step)
        _check_same(state, observed, "observe")
        return (jax.tree.map(lambda new, old: None if new is old else new, observed, state),)

    def act(
        self,
        state: State,
        carry: Carry,
        transition: Step,
        episode: Counter,
        step: Counter,
        purpose: Literal["act", "evaluate"],
        whole: int | None,
        first: Counter | None,
    ) -> tuple[Float[Array, "seeds environments action"], Carry]:
        """Chooses actions as in evaluation. With `whole`, the environments are those from `first` on of so many."""
        keys = jax.vmap(jax.random.fold_in, (0, None))(self._keys(purpose, episode), step)

        def act(
            state: State, carry: Carry, transition: Step, key: Key[Array, ""], first: Counter | None
        ) -> tuple[Array, Carry, PyTree]:
            with part_of(whole, cast(Array, first), len(transition["reward"])) if whole else nullcontext():
                return self.agent.act(state, carry, transition, key, "evaluate")

        action, carry, _ = self._over_seeds(act, (0, 0, 0, 0, None))(state, carry, transition, keys, first)
        return action, carry

    def learn(self, state: State, replay: AnyReplay, update: Counter) -> tuple[State, AnyReplay, Report]:
        """One update of every seed."""
        axes, keys = memory.replay_axes(replay), self._keys("learn", update)

        def learn(state: State, replay: AnyReplay, key: Key[Array, ""]) -> tuple[State, AnyReplay, Report]:
            new, replay, report = self.agent.learn(state, replay, key, jnp.asarray(update))
            _check_same(state, new, "learn")
            return new, replay, report

        return self._over_seeds(learn, (0, axes, 0), (0, axes, 0))(state, replay, keys)

    def learn_many(
        self, state: State, replay: AnyReplay, update: Counter, count: Counter
    ) -> tuple[State, AnyReplay, Report]:
        """`count` updates from that number on, and one report of them all (see `with_another`)."""

        def another(i: Array, carry: tuple[State, AnyReplay, Report]) -> tuple[State, AnyReplay, Report]:
            state, replay, before = carry
            state, replay, report = self.learn(state, replay, update + i)
            return state, replay, with_another(before, report, i)

        shapes = jax.eval_shape(self.learn, state, replay, update)[2]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        nothing = dataclasses.replace(nothing, finite=jnp.ones_like(nothing.finite))
        return jax.lax.fori_loop(0, count, another, (state, replay, nothing))

    def inspect(self, state: State, report: Report, update: Counter) -> dict[str, Float[Array, " seeds"]]:
        """The metrics [seeds] of an agent that is `Inspected`."""
        agent, keys = cast(Inspected[State], self.agent), self._keys("inspect", update)
        return self._over_seeds(lambda *arguments: (agent.inspect(*arguments),))(state, report, keys)[0]

    def dream(self, state: State, steps: Step, context: int) -> dict[str, Array]:
        """The first seed's predictions of recorded steps, of an agent that `Dreams`."""
        agent = cast(Dreams[State], self.agent)
        first = jax.tree.map(lambda leaf: leaf[0], state)
        return agent.dream(first, steps, context, _key(jnp.uint32(self.seeds[0]), "dream"))

    def choose(self, added: Counter, taken: Counter, shape: tuple[int, int], update: Counter) -> memory.Choice:
        """The windows [seeds, batch] that an update samples, of an agent that `Chooses`.

        `added` and `taken` are the counters of replay, `shape` is (environments, capacity).
        """
        choose = partial(cast(Chooses, self.agent).choose, memory.Ring(cast(Array, added), cast(Array, taken), *shape))
        return jax.vmap(choose, out_axes=memory.Choice(0, 0, None))(self._keys("learn", update))

    def _keys(self, purpose: str, counter: Counter) -> Key[Array, " seeds"]:
        keys = jnp.stack([_key(jnp.uint32(seed), purpose) for seed in self.seeds])
        return jax.vmap(jax.random.fold_in, (0, None))(keys, counter)

    def _over_seeds(self, function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
        """`function` mapped over the seed axis.

        A device with a single seed runs it without that axis, which would cost XLA many changes of layout.
        """
        if len(self.seeds) > self.layout.spread_over:
            return self.layout.spread(jax.vmap(function, in_axes, out_axes), in_axes, out_axes)

        def alone(*arguments: PyTree) -> PyTree:
            results = function(*map_axes(lambda leaf: leaf[0], arguments, in_axes))
            return map_axes(lambda leaf: leaf[None], results, out_axes)

        return self.layout.spread(alone, in_axes, out_axes)


def _key(seed: Integer[Array, ""], purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed), PURPOSES[purpose])
