"""Reading and writing ranges of steps in ring buffers, on the host, as checkpoints do.

Step number `i` of an environment is at ring position `i % capacity`. A range that was read from a ring of one capacity
can be written into a ring of another.
"""

from collections.abc import Iterator

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree


def read_ring(buffers: PyTree, start: int, stop: int, axis: int = 1) -> PyTree:
    """Steps [start, stop) of every buffer as host arrays with time in front: [stop - start, environments, ...].

    buffers: leaves [environments, capacity, ...] with axis=1, or [seeds, environments, capacity, ...] with axis=2.
    Raises ValueError if the range is longer than the ring, whose beginning would be overwritten.
    """

    def read(leaf: Array | np.ndarray) -> np.ndarray:
        pieces = [
            np.asarray(_slice(leaf, position, size, axis))
            for position, _, size in _pieces(start, stop, leaf.shape[axis])
        ]
        return np.concatenate([np.moveaxis(piece, axis, 0) for piece in pieces]) if pieces else _empty(leaf, axis)

    return jax.tree.map(read, buffers)


def write_ring(buffers: PyTree, values: PyTree, start: int, axis: int = 1) -> PyTree:
    """The buffers with values [n, environments, ...] at steps [start, start + n); the inverse of `read_ring`.

    NumPy buffers are written in place. Raises ValueError if there are more values than the ring holds.
    """

    def write(leaf: Array | np.ndarray, value: np.ndarray) -> Array | np.ndarray:
        for position, offset, size in _pieces(start, start + len(value), leaf.shape[axis]):
            piece = np.moveaxis(value[offset : offset + size], 0, axis)
            if isinstance(leaf, np.ndarray):
                leaf[_steps(position, size, axis)] = piece
                continue
            leaf = lax.dynamic_update_slice_in_dim(leaf, piece, position, axis)
        return leaf

    return jax.tree.map(write, buffers, values)


def _pieces(start: int, stop: int, capacity: int) -> Iterator[tuple[int, int, int]]:
    """(ring position, offset in the range, size) of the at most two contiguous pieces of [start, stop)."""
    if stop - start > capacity:
        raise ValueError(f"steps {start} to {stop} do not fit a ring of {capacity}")
    step = start
    while step < stop:
        position = step % capacity
        size = min(stop - step, capacity - position)
        yield position, step - start, size
        step += size


def _slice(leaf: Array | np.ndarray, position: int, size: int, axis: int) -> Array | np.ndarray:
    if isinstance(leaf, np.ndarray):  # a view; lax would first copy the whole buffer
        return leaf[_steps(position, size, axis)]
    return lax.dynamic_slice_in_dim(leaf, position, size, axis)


def _steps(position: int, size: int, axis: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(position, position + size),)


def _empty(leaf: Array | np.ndarray, axis: int) -> np.ndarray:
    return np.zeros((0, *leaf.shape[:axis], *leaf.shape[axis + 1 :]), leaf.dtype)
