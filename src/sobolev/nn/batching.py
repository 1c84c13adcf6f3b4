"""Functions of one input over several batch axes."""

from collections.abc import Callable
from typing import Any

import jax


def over(function: Callable, axes: int) -> Callable:
    """`function` mapped over that many leading axes of all its arguments, joined to one for the time of the call.

    One long axis instead of nested ones keeps XLA from transposing what every product reads.
    """

    def mapped(*arguments: Any) -> Any:
        shape = jax.tree.leaves(arguments)[0].shape[:axes]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[axes:]), arguments)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), jax.vmap(function)(*flat))

    return mapped
