"""Replay whose steps are in host memory, for data that does not fit on a device, such as images.

Steps never change once they are written, and which windows are sampled depends on counters and a key alone. The batch
of the next update can therefore be gathered while the current one runs, and equals the batch that a replay on the
device would have sampled. Latents, which every update changes, stay on the device. All buffers are [seeds,
environments, capacity, ...].
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from sobolev.replay.sequence import Choice, Like, Streamed


class Gathered(NamedTuple):
    """Windows that were gathered in advance."""

    choice: Choice
    added: int
    """number of steps of each environment that replay had then"""
    steps: dict[str, PyTree]
    """NumPy leaves [seeds, batch, length + 1, ...]"""


@dataclass(frozen=True)
class HostReplay:
    """As `Replay`, but steps are NumPy arrays that are written in place, and the counters are NumPy scalars."""

    steps: dict[str, PyTree]
    latents: PyTree
    count: np.ndarray
    taken: np.ndarray
    ahead: Gathered | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(seeds, environments, capacity)"""
        return self.steps["first"].shape[:3]


def create_host(
    step: dict[str, PyTree], latents: PyTree, environments: int, capacity_per_environment: int, seeds: int
) -> HostReplay:
    """An empty replay; arguments and errors as for `create`. Host memory is only used as replay fills."""
    if not 0 < environments * capacity_per_environment < 2**31:
        raise ValueError(f"no replay of {environments} environments x {capacity_per_environment} steps")
    lead = (seeds, environments, capacity_per_environment)

    def ring(leaf: Like) -> np.ndarray:
        return np.zeros(lead + tuple(leaf.shape), leaf.dtype)

    def buffer(leaf: Like) -> Array:
        return jnp.zeros(lead + tuple(leaf.shape), leaf.dtype)

    rings, buffers = jax.tree.map(ring, step), jax.tree.map(buffer, latents)
    return HostReplay(rings, buffers, np.zeros((), np.int32), np.zeros((), np.int32))


def streamed(replay: HostReplay, batch: dict[str, PyTree] | None = None) -> Streamed:
    """The device's part of a replay, with the steps of the windows that will be sampled next, if given."""
    return Streamed(batch or {}, replay.latents, jnp.asarray(replay.count), jnp.asarray(replay.taken))


def append(replay: HostReplay, step: dict[str, PyTree], device: Streamed) -> HostReplay:
    """The replay with one more step [seeds, environments, ...], whose latents `add` has already written to `device`."""
    position = int(replay.count) % replay.shape[2]

    def write(ring: np.ndarray, value: Array | np.ndarray) -> None:
        ring[:, :, position] = value

    jax.tree.map(write, replay.steps, step)
    return dataclasses.replace(returned(replay, device), count=np.asarray(replay.count + 1, np.int32))


def look_ahead(replay: HostReplay, choice: Choice, length: int) -> HostReplay:
    """The replay with the windows of a later update gathered; steps that are not there yet are read by `take`."""
    return dataclasses.replace(replay, ahead=Gathered(choice, int(replay.count), gather(replay, choice, length)))


def take(replay: HostReplay, choice: Choice, length: int) -> tuple[Streamed, HostReplay]:
    """The device's part of a replay for an update on chosen windows, and the replay that `returned` completes after it.

    Of windows that were gathered in advance, only those that lacked steps then are read again.
    """
    ahead = replay.ahead
    if ahead is None or not all(np.array_equal(a, b) for a, b in zip(ahead.choice, choice, strict=True)):
        steps = gather(replay, choice, length)
    else:
        steps = ahead.steps
        for index in np.argwhere(choice.start + length >= ahead.added).tolist():
            _copy(replay, choice, length, index, steps)
    # the gathered arrays are given away: the device may use the same memory
    after = dataclasses.replace(replay, taken=np.asarray(choice.taken, np.int32), ahead=None)
    return streamed(replay, steps), after


def returned(replay: HostReplay, device: Streamed) -> HostReplay:
    """The replay with its latents replaced by those of `device`, the result of an update or of `add`."""
    return dataclasses.replace(replay, latents=device.latents)


def gather(replay: HostReplay, choice: Choice, length: int) -> dict[str, PyTree]:
    """The steps of chosen windows [seeds, batch]: leaves [seeds, batch, length + 1, ...]."""
    shape = (*choice.start.shape, length + 1)

    def windows(ring: np.ndarray) -> np.ndarray:
        return np.empty((*shape, *ring.shape[3:]), ring.dtype)

    steps = jax.tree.map(windows, replay.steps)
    for index in np.ndindex(*choice.start.shape):
        _copy(replay, choice, length, index, steps)
    return steps


def _copy(replay: HostReplay, choice: Choice, length: int, index: Sequence[int], steps: dict[str, PyTree]) -> None:
    """Copies one window, which is in one or two contiguous pieces in its ring."""
    seed, number = index
    capacity, environment = replay.shape[2], int(choice.environment[seed, number])
    position = int(choice.start[seed, number]) % capacity
    first = min(length + 1, capacity - position)

    def copy(ring: np.ndarray, windows: np.ndarray) -> None:
        row, window = ring[seed, environment], windows[seed, number]
        window[:first] = row[position : position + first]
        window[first:] = row[: length + 1 - first]

    jax.tree.map(copy, replay.steps, steps)
