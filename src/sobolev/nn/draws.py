"""Random arrays, drawn so that they are quick to compile."""

import math
from collections.abc import Callable

from jaxtyping import Array, Key


def drawn(sampler: Callable[..., Array], key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """`sampler(key=key, shape=shape)` of `jax.random`, drawn along one axis: the same numbers.

    JAX numbers the elements of an array row by row and draws each from its number. Along several axes, the last of
    them short, that arithmetic can take a CPU's compiler twenty times as much code.
    """
    return sampler(key=key, shape=(math.prod(shape),)).reshape(shape)
