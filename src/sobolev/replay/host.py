"""Replay whose steps lie in host memory, for what outgrows a device: images, mostly.

Steps never change once they are written, and which windows are sampled depends on counters and a key alone. So the
batch of a later update can be gathered while an earlier one runs, and is the one that a replay on the device would have
sampled. Latents, which every update changes, stay on the device. All buffers are [seeds, environments, capacity, ...].
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
    """Windows that were gathered before their turn."""

    choice: Choice
    added: int
    """steps of each environment that were there by then"""
    steps: dict[str, PyTree]
    """NumPy leaves [seeds, batch, length + 1, ...]"""


@dataclass(frozen=True)
class HostReplay:
    """The parts of `Replay`, but steps are NumPy arrays that are written in place, and the counters NumPy scalars."""

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
    """An empty replay; arguments and errors as for `create`. Host memory is taken as it fills."""
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
    """The device's part, and the steps of the windows that it will sample, to be sent there."""
    return Streamed(batch or {}, replay.latents, jnp.asarray(replay.count), jnp.asarray(replay.taken))


def append(replay: HostReplay, step: dict[str, PyTree], device: Streamed) -> HostReplay:
    """The replay with one step [seeds, environments, ...] more, whose latents `add` has put into `device`."""
    position = int(replay.count) % replay.shape[2]

    def write(ring: np.ndarray, value: Array | np.ndarray) -> None:
        ring[:, :, position] = value

    jax.tree.map(write, replay.steps, step)
    return dataclasses.replace(returned(replay, device), count=np.asarray(replay.count + 1, np.int32))


def look_ahead(replay: HostReplay, choice: Choice, length: int) -> HostReplay:
    """The replay with the windows of a later update gathered, as far as their steps are there."""
    return dataclasses.replace(replay, ahead=Gathered(choice, int(replay.count), gather(replay, choice, length)))


def take(replay: HostReplay, choice: Choice, length: int) -> tuple[Streamed, HostReplay]:
    """What an update on chosen windows is given, and the replay that `returned` completes after it.

    Of windows that were gathered ahead only those are read again that lacked steps then.
    """
    ahead = replay.ahead
    if ahead is None or not all(np.array_equal(a, b) for a, b in zip(ahead.choice, choice, strict=True)):
        steps = gather(replay, choice, length)
    else:
        steps = ahead.steps
        for index in np.argwhere(choice.start + length >= ahead.added).tolist():
            _copy(replay, choice, length, index, steps)
    # what was gathered is given away: the device may work in the same memory
    after = dataclasses.replace(replay, taken=np.asarray(choice.taken, np.int32), ahead=None)
    return streamed(replay, steps), after


def returned(replay: HostReplay, device: Streamed) -> HostReplay:
    """The replay with the latents that an update or `add` has changed."""
    return dataclasses.replace(replay, latents=device.latents)


def gather(replay: HostReplay, choice: Choice, length: int) -> dict[str, PyTree]:
    """Chosen windows [seeds, batch] out of the rings, leaves [seeds, batch, length + 1, ...]."""
    shape = (*choice.start.shape, length + 1)

    def windows(ring: np.ndarray) -> np.ndarray:
        return np.empty((*shape, *ring.shape[3:]), ring.dtype)

    steps = jax.tree.map(windows, replay.steps)
    for index in np.ndindex(*choice.start.shape):
        _copy(replay, choice, length, index, steps)
    return steps


def _copy(replay: HostReplay, choice: Choice, length: int, index: Sequence[int], steps: dict[str, PyTree]) -> None:
    """One window, out of the at most two pieces in which it lies in its ring."""
    seed, number = index
    capacity, environment = replay.shape[2], int(choice.environment[seed, number])
    position = int(choice.start[seed, number]) % capacity
    first = min(length + 1, capacity - position)

    def copy(ring: np.ndarray, windows: np.ndarray) -> None:
        row, window = ring[seed, environment], windows[seed, number]
        window[:first] = row[position : position + first]
        window[first:] = row[: length + 1 - first]

    jax.tree.map(copy, replay.steps, steps)
