"""Mapping functions of one input over several batch axes, and functions of a batch over several devices."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec

from sobolev.system.target import for_accelerator


def over(function: Callable, axes: int) -> Callable:
    """`function` mapped over that many leading axes of all its arguments, which are flattened to one during the call.

    With one long axis instead of nested ones, XLA does not transpose the operands of products.
    """

    def mapped(*arguments: Any) -> Any:
        shape = jax.tree.leaves(arguments)[0].shape[:axes]
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[axes:]), arguments)
        return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), jax.vmap(function)(*flat))

    return mapped


def in_turn(function: Callable) -> Callable:
    """`function`, which a CPU computes for one seed after the other where `vmap` would compute all seeds at once.

    For a function whose intermediate arrays fit into the processor's cache for one seed only. Cannot be differentiated
    from outside. On an accelerator, and where there is no `vmap`, the function itself.
    """
    return function if for_accelerator() else jax.custom_batching.sequential_vmap(function)


DATA = "data"
"""The name of the mesh axis over which batches are divided."""


def in_parts(function: Callable, in_axes: Any, out_axes: Any) -> Callable:
    """`function` of a batch, computed in parts on several devices if the mesh in use has the axis `DATA`.

    `in_axes` and `out_axes` are prefixes of the arguments and results, as those of `vmap`: 0 if the leading axis is the
    batch, None if there is no batch axis. Every device gets the whole results. Results without a batch axis must be the
    same in all parts, which `averaged` and `joined` make possible.
    """
    if DATA not in jax.sharding.get_abstract_mesh().axis_names:
        return function
    parts = jax.shard_map(function, in_specs=specs(in_axes, DATA), out_specs=specs(out_axes, DATA), check_vma=False)

    def whole(*arguments: Any) -> Any:
        return jax.lax.with_sharding_constraint(parts(*arguments), PartitionSpec())

    return whole


def averaged(tree: Any) -> Any:
    """Means over the parts of a batch; outside of `in_parts`, the tree itself."""
    return jax.lax.pmean(tree, DATA) if _is_part() else tree


def joined(array: jax.Array, axis: int) -> jax.Array:
    """The arrays of all parts, concatenated along their batch axis; outside of `in_parts`, the array itself."""
    return jax.lax.all_gather(array, DATA, axis=axis, tiled=True) if _is_part() else array


def own(key: jax.Array) -> jax.Array:
    """A random key that is different for every part; outside of `in_parts`, the key itself."""
    return jax.random.fold_in(key, jax.lax.axis_index(DATA)) if _is_part() else key


def _is_part() -> bool:
    return DATA in jax.sharding.get_abstract_mesh().manual_axes


def specs(axes: Any, name: str) -> Any:
    """The partition specs of arrays whose leading axis is divided along the mesh axis `name`.

    `axes` has 0 for such an array, and None for one that every device has as a whole.
    """

    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(name)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)
