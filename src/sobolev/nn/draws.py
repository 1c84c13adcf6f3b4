"""Random arrays, drawn so that they are quick to compile, and so that a part of a batch draws what the whole would."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from jaxtyping import Array, Int, Key

_PART: ContextVar[tuple[Array, int, int] | None] = ContextVar("part", default=None)


@contextmanager
def part_of(whole: int, first: Int[Array, ""], rows: int) -> Iterator[None]:
    """Within the block, what is `drawn` for a batch of `rows` is what a batch of `whole` rows has from `first` on.

    For functions of one batch, whose axis comes first in all that they draw, or behind axes of length 1.
    """
    token = _PART.set((first, rows, whole))
    try:
        yield
    finally:
        _PART.reset(token)


def drawn(sampler: Callable[..., Array], key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """`sampler(key=key, shape=shape)` of `jax.random`, drawn along one axis: the same numbers.

    JAX numbers the elements of an array row by row and draws each from its number. Along several axes, the last of
    them short, that arithmetic can take a CPU's compiler twenty times as much code.
    """
    size, part = math.prod(shape), _PART.get()
    if part is None:
        return sampler(key=key, shape=(size,)).reshape(shape)
    first, rows, whole = part
    every = sampler(key=key, shape=(size // rows * whole,))
    return jax.lax.dynamic_slice_in_dim(every, first * (size // rows), size).reshape(shape)
