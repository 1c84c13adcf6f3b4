"""Sequence replay as a pytree with pure functions: DreamerV3's uniform windows, online queue and refreshed latents.

Every environment has a ring of the same capacity, and all environments advance together, so that they share one step
counter. Steps are numbered from 0 in each environment; step `i` is at ring position `i % capacity`. If the replay is
donated to the jitted function that changes it, all writes happen in place.

With a leading seed axis (`create(..., seeds=3)`) every function is used under
`jax.vmap(f, in_axes=(axes, ...), out_axes=axes)` with `axes = replay_axes(replay)`. The counters are the same for all
seeds and stay scalars, because XLA copies the whole buffer if the position of a write differs between seeds.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree


class Replay(eqx.Module):
    """Rings of steps and latents: leaves [environments, capacity, ...], or [seeds, environments, capacity, ...]."""

    steps: dict[str, PyTree]
    """observations, rewards, flags and actions; has the bool entries `first` and `last`; never changes once written"""
    latents: PyTree
    """arrays that the agent stores with each step, and refreshes by `write_back`"""
    count: Int[Array, ""]
    """steps added so far to each environment"""
    taken: Int[Array, ""]
    """windows taken (or lost) from the online queue so far"""


class Streamed(eqx.Module):
    """The device's part of a replay whose steps are in host memory (`HostReplay`); latents and counters as in `Replay`.

    `sample` takes the steps of its windows from `batch`. These must be the windows that `choose` returns for its key.
    """

    batch: dict[str, PyTree]
    """steps of the windows to be sampled next, leaves [batch, length + 1, ...]; {} if none are sampled"""
    latents: PyTree
    count: Int[Array, ""]
    taken: Int[Array, ""]


Like: TypeAlias = Array | np.ndarray | jax.ShapeDtypeStruct
"""Anything that has a shape and a dtype."""

AnyReplay = TypeVar("AnyReplay", Replay, Streamed)


class Ring(NamedTuple):
    """The counters of `Replay` and its shape, which together with a random key determine the sampled windows."""

    added: Int[Array, ""]
    """`Replay.count`"""
    taken: Int[Array, ""]
    environments: int
    capacity: int


class Choice(NamedTuple):
    """Chosen windows: integers [batch] of JAX or NumPy, or, as a prefix for `vmap`, their axes."""

    environment: PyTree
    start: PyTree
    """number of each window's first step, the context step"""
    taken: PyTree
    """`Replay.taken` after sampling them"""


class Windows(eqx.Module):
    """A batch of sampled windows: length + 1 consecutive steps of one environment each."""

    steps: dict[str, PyTree]
    """leaves [batch, length + 1, ...]; index 0 is the context step. `last` is also true if the next step is a first"""
    latents: PyTree
    """leaves [batch, ...]: the stored latents of the context step"""
    environment: Int[Array, " batch"]
    start: Int[Array, " batch"]
    """number of the context step, counted from the environment's first step ever"""


def create(
    step: dict[str, PyTree],
    latents: PyTree,
    environments: int,
    capacity_per_environment: int,
    seeds: int | None = None,
    zeros: Callable[[PyTree], PyTree] | None = None,
) -> Replay:
    """An empty replay for steps and latents like these (arrays or ShapeDtypeStructs, without environment axis).

    `zeros` creates arrays of zeros from a tree of ShapeDtypeStructs; None uses JAX. Raises ValueError if environments x
    capacity is zero or does not fit 32-bit positions, or if a flag is missing.
    """
    if not 0 < environments * capacity_per_environment < 2**31:
        raise ValueError(f"no replay of {environments} environments x {capacity_per_environment} steps")
    if missing := {"first", "last"} - set(step):
        raise ValueError(f"steps lack {sorted(missing)}")
    lead = () if seeds is None else (seeds,)
    lead += (environments, capacity_per_environment)

    def ring(leaf: Like) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(lead + tuple(leaf.shape), leaf.dtype)

    steps, latents = (zeros or partial(jax.tree.map, jnp.zeros_like))(jax.tree.map(ring, (step, latents)))
    # two arrays, since one buffer cannot be donated twice
    return Replay(steps, latents, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def replay_axes(replay: Replay | Streamed) -> PyTree:
    """The `in_axes` and `out_axes` of a replay with a leading seed axis: 0 for all buffers, None for the counters."""
    structure = jax.tree.structure(replay)
    return jax.tree.unflatten(structure, [0] * (structure.num_leaves - 2) + [None, None])


def add(replay: AnyReplay, step: dict[str, PyTree], latents: PyTree) -> AnyReplay:
    """Adds one step [environments, ...] of every environment, which replaces the oldest once the ring is full.

    To a `Streamed` replay, only the latents are added; `append` adds the step in host memory.
    """
    position = replay.count % _shape(replay)[1]

    def write(ring: Array, value: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(ring, value[:, None], position, axis=1)

    count, latents = replay.count + 1, jax.tree.map(write, replay.latents, latents)
    if isinstance(replay, Streamed):
        return dataclasses.replace(replay, latents=latents, count=count)
    return dataclasses.replace(replay, steps=jax.tree.map(write, replay.steps, step), latents=latents, count=count)


def choose(ring: Ring, key: PRNGKeyArray, batch: int, length: int, *, online: bool = True) -> Choice:
    """The windows that `sample` with the same arguments returns. They do not depend on what is stored.

    Raises ValueError if the ring is shorter than a window.
    """
    count, taken, environments, capacity = ring
    if length + 1 > capacity:
        raise ValueError(f"a window of {length + 1} steps does not fit a ring of {capacity}")
    oldest = jnp.maximum(count - capacity, 0)
    after, queued, environment, start = _online_windows(taken, count, environments, oldest, batch, length + 1)
    if online:
        taken = after
    else:
        queued = jnp.zeros_like(queued)
    starts = jnp.maximum(count - oldest - length, 1)
    draw = jax.random.randint(key, (batch,), 0, environments * starts)
    environment = jnp.where(queued, environment, draw // starts)
    return Choice(environment, jnp.where(queued, start, oldest + draw % starts), taken)


def sample(
    replay: AnyReplay, key: PRNGKeyArray, batch: int, length: int, *, online: bool = True
) -> tuple[Windows, AnyReplay]:
    """Samples `batch` windows of `length` + 1 steps: first from the online queue, then uniformly over all windows.

    With `online` false, all are drawn uniformly, and the queue does not change.

    The queue divides each environment's stream into disjoint windows, number k covering steps [k (length + 1),
    (k + 1) (length + 1)), and returns each of them once: the oldest first, one environment after the other. Windows
    that were overwritten before their turn are skipped. `length` must be the same in all calls on one replay.

    A window never crosses the write position. Until the ring wraps, samples do not depend on the capacity. Replay must
    hold a window at least. Raises ValueError if the ring is shorter than a window.
    """
    environments, capacity = _shape(replay)
    ring = Ring(replay.count, replay.taken, environments, capacity)
    environment, start, taken = choose(ring, key, batch, length, online=online)
    position = (start[:, None] + jnp.arange(length + 1)[None]) % capacity

    def window(ring: Array) -> Array:
        return _gather(ring, environment[:, None], position)

    def context(ring: Array) -> Array:
        return _gather(ring, environment, position[:, 0])

    steps = replay.batch if isinstance(replay, Streamed) else jax.tree.map(window, replay.steps)
    latents = jax.tree.map(context, replay.latents)
    windows = Windows(_close_episodes(steps), latents, environment, start)
    return windows, dataclasses.replace(replay, taken=taken)


def write_back(replay: AnyReplay, windows: Windows, latents: PyTree, where: Bool[Array, ""] | bool = True) -> AnyReplay:
    """Stores refreshed latents [batch, length, ...] of the steps after each window's context step.

    Where windows overlap, those of the later one in the batch are kept. Steps that were overwritten since they were
    sampled do not change, and nothing changes if `where` is False (a masked update, without a copy of the buffer).
    """
    position = _positions(replay, windows, jax.tree.leaves(latents)[0].shape[1], where)

    def write(ring: Array, value: Array) -> Array:
        at = ring.at[windows.environment[:, None], position]
        return at.set(value, mode="drop", unique_indices=True, wrap_negative_indices=False)

    return dataclasses.replace(replay, latents=jax.tree.map(write, replay.latents, latents))


def _shape(replay: Replay | Streamed) -> tuple[int, int]:
    """(environments, capacity)"""
    buffer = jax.tree.leaves(replay.latents)[0] if isinstance(replay, Streamed) else replay.steps["first"]
    return buffer.shape[:2]


def _gather(ring: Array, environment: Int[Array, "..."], position: Int[Array, "..."]) -> Array:
    return ring.at[environment, position].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _positions(
    replay: Replay | Streamed, windows: Windows, length: int, where: Bool[Array, ""] | bool
) -> Int[Array, "batch length"]:
    """The position of each refreshed step in its environment's ring; out of bounds if it is not to be written.

    All positions in an environment are different, also those out of bounds, so that the order of writes does not matter
    and the result is the same on every device.
    """
    _, capacity = _shape(replay)
    batch = len(windows.start)
    step = windows.start[:, None] + 1 + jnp.arange(length)[None]
    later = jnp.arange(batch)[:, None] < jnp.arange(batch)[None]
    rival = later & (windows.environment[:, None] == windows.environment[None])
    ahead = step[:, None, :] - windows.start[None, :, None]
    replaced = jnp.any(rival[:, :, None] & (ahead >= 1) & (ahead <= length), axis=1)
    keep = ~replaced & (step >= replay.count - capacity) & where & _after(windows.latents)
    return jnp.where(keep, step % capacity, capacity + jnp.arange(batch * length).reshape(batch, length))


def _after(values: PyTree) -> Bool[Array, ""]:
    """Always true, but computed from the values: a write that depends on it comes after their read, and needs no copy.

    (On a CPU, XLA drops `optimization_barrier` before it inserts copies.)
    """
    highest = [jnp.max(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(values)]
    return ~jnp.any(jnp.stack(highest) < -3e38)


def _online_windows(
    taken: Int[Array, ""], count: Int[Array, ""], environments: int, oldest: Int[Array, ""], batch: int, size: int
) -> tuple[Int[Array, ""], Bool[Array, " batch"], Int[Array, " batch"], Int[Array, " batch"]]:
    """(taken after this batch, mask of the entries that come from the queue, their environments, their starts)"""
    lost = environments * ((oldest + size - 1) // size)
    taken = jnp.maximum(taken, lost)
    number = jnp.clip(environments * (count // size) - taken, 0, batch)
    item = taken + jnp.arange(batch)
    return taken + number, jnp.arange(batch) < number, item % environments, item // environments * size


def _close_episodes(steps: dict[str, PyTree]) -> dict[str, PyTree]:
    """Sets `last` of steps that are followed by a first, as where a run was interrupted within an episode."""
    last = steps["last"].at[:, :-1].set(steps["last"][:, :-1] | steps["first"][:, 1:])
    return steps | {"last": last}
