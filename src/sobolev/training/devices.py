"""Several devices: the seed axis of a run spread over those present."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

SEEDS = "seeds"
"""The name of the mesh axis over which seeds are spread."""


def shards(seeds: int, devices: int) -> int:
    """Over how many of the devices so many seeds are spread: as many as divide them evenly, each with as many seeds."""
    return next(count for count in range(min(seeds, devices), 0, -1) if seeds % count == 0)


def seed_mesh(seeds: int, devices: Sequence[Any] | None = None) -> Mesh | None:
    """The devices over which seeds are spread; None where it is one. `devices` None: those present."""
    devices = jax.devices() if devices is None else devices
    count = shards(seeds, len(devices))
    return None if count == 1 else Mesh(devices[:count], (SEEDS,))


def spread(function: Callable, mesh: Mesh | None, in_axes: Any = 0, out_axes: Any = 0) -> Callable:
    """`function` on every device's seeds, without a word between the devices.

    `in_axes` and `out_axes` are those of `vmap`: 0 where a leaf has the seed axis in front, None where it has none and
    is the same for all seeds. The function sees the seeds of one device only.
    """
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=_specs(in_axes), out_specs=_specs(out_axes), check_vma=False)


def placed(tree: PyTree, mesh: Mesh | None, axes: Any = 0) -> PyTree:
    """The arrays of a tree where the program wants them: each seed's on its device. `axes` as in `spread`."""
    return tree if mesh is None else jax.device_put(tree, shardings(mesh, axes))


def shapes(tree: PyTree, mesh: Mesh | None, axes: Any = 0) -> PyTree:
    """The shapes of a tree, as of arrays that are `placed`."""
    if mesh is None:
        return tree

    def below(place: NamedSharding, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)

    return jax.tree.map(below, shardings(mesh, axes), tree)


def shardings(mesh: Mesh, axes: Any = 0) -> Any:
    """The layout of arrays with these axes."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), _specs(axes))


def _specs(axes: Any) -> Any:
    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(SEEDS)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)
