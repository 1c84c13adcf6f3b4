"""Random arrays that compile quickly, and whose rows a part of a batch can draw for itself."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jaxtyping import Array, Int, Key

_PART: ContextVar[tuple[Array, int, int] | None] = ContextVar("part", default=None)


@contextmanager
def part_of(whole: int, first: Int[Array, ""], rows: int) -> Iterator[None]:
    """Within the block, `drawn` for a batch of `rows` returns the rows from `first` on of a batch of `whole` rows.

    For functions whose draws all have the batch axis in front, or only axes of length 1 before it.
    """
    token = _PART.set((first, rows, whole))
    try:
        yield
    finally:
        _PART.reset(token)


def drawn(sampler: Callable[..., Array], key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """`sampler(key=key, shape=shape)` of `jax.random`, drawn along one axis and then reshaped: the same numbers.

    JAX draws every element from its row-major index. If there are several axes and the last one is short, computing
    that index can take twenty times as much code on a CPU.
    """
    size, part = math.prod(shape), _PART.get()
    if part is None:
        return sampler(key=key, shape=(size,)).reshape(shape)
    first, rows, whole = part
    every = sampler(key=key, shape=(size // rows * whole,))
    return jax.lax.dynamic_slice_in_dim(every, first * (size // rows), size).reshape(shape)
