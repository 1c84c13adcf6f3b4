"""Several devices: the seeds of a run spread over them, or the batches of a run divided."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from sobolev.errors import UserError
from sobolev.nn.batching import DATA
from sobolev.system import lazy_memory

SEEDS = "seeds"
"""The name of the mesh axis over which seeds are spread."""


def shards(seeds: int, devices: int) -> int:
    """Over how many of the devices so many seeds are spread: as many as divide them evenly, each with as many seeds."""
    return next(count for count in range(min(seeds, devices), 0, -1) if seeds % count == 0)


class Layout:
    """Where the arrays of a run lie: on one device, each seed's on its own, or all of them on every device.

    In the last case devices divide the batches of updates among them, with the mesh axis `DATA` (see `nn.in_parts`);
    they may belong to several processes, which then run the same program.
    """

    def __init__(self, seeds: int, data: int = 1, devices: Sequence[Any] | None = None):
        """`data` devices divide each batch; where it is 1, seeds are spread over as many as divide them evenly.

        `devices`: those to choose from, which need not be present where nothing is placed on them; None for JAX's.
        Raises UserError where there are fewer devices than `data`, or processes whose devices would have nothing to do.
        """
        self.alone = SingleDeviceSharding(devices[0]) if devices else None
        devices = jax.devices() if devices is None else devices
        if data > len(devices):
            raise UserError(f"--devices.data is {data}, but jax sees {len(devices)} device(s): give at most that")
        if jax.process_count() > 1 and data != len(devices):
            raise UserError(f"--devices.data is {data}, but these processes have {len(devices)} devices: give that")
        self.divides, count = data > 1, data if data > 1 else shards(seeds, len(devices))
        self.mesh = None if count == 1 else Mesh(np.array(devices[:count]), (DATA if self.divides else SEEDS,))

    @property
    def spread_over(self) -> int:
        """Devices among which the seeds are divided."""
        return 1 if self.mesh is None or self.divides else self.mesh.size

    def compiled(self, function: Callable, **options: Any) -> Any:
        """`jax.jit` of a function of the run's arrays."""
        if self.mesh is None or not self.divides:
            return jax.jit(function, **options)
        return _Within(self.mesh, jax.jit(function, out_shardings=self._places(0), **options))

    def spread(self, function: Callable, in_axes: Any = 0, out_axes: Any = 0) -> Callable:
        """`function` on every device's seeds, without a word between the devices.

        `in_axes` and `out_axes` are those of `vmap`: 0 where a leaf has the seed axis in front, None where it has none
        and is the same for all seeds. The function sees the seeds of one device only.
        """
        if self.spread_over == 1:
            return function
        specs = {"in_specs": _specs(in_axes), "out_specs": _specs(out_axes)}
        return jax.shard_map(function, mesh=self.mesh, check_vma=False, **specs)

    def placed(self, tree: PyTree, axes: Any = 0) -> PyTree:
        """The arrays of a tree, or NumPy's, where the run wants them; `axes` as in `spread`."""
        if self.mesh is None:
            return jax.device_put(tree)
        if jax.process_count() > 1:
            return jax.tree.map(self._everywhere, tree)
        return jax.device_put(tree, self._places(axes))

    def shapes(self, tree: PyTree, axes: Any = 0) -> PyTree:
        """The shapes of a tree, as of arrays that are `placed`."""
        if self.mesh is None and self.alone is None:
            return tree

        def below(place: Sharding | None, tree: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)

        return below(self.alone, tree) if self.mesh is None else jax.tree.map(below, self._places(axes), tree)

    @property
    def zeros(self) -> Callable[[PyTree], PyTree] | None:
        """What makes large arrays of zeros from their shapes inside of `made`; None where JAX's own way is as good."""
        return lazy_memory.zeros if self.mesh is None and lazy_memory.usable() else None

    def made(self, create: Callable[[], PyTree], axes: Callable[[PyTree], Any]) -> PyTree:
        """What `create` makes, made where the run wants it; `axes` of what it makes, as in `spread`."""
        if self.mesh is None:
            return jax.jit(create)()
        return jax.jit(create, out_shardings=self._places(axes(jax.eval_shape(create))))()

    def _places(self, axes: Any) -> Any:
        """The shardings of arrays with these axes, for `jax.device_put` and `jax.jit`."""
        mesh, specs = self.mesh, PartitionSpec() if self.divides else _specs(axes)
        assert mesh is not None, "one device needs no places"
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)

    def _everywhere(self, leaf: Any) -> Any:
        """An array of this process as one of all processes, which have the same; those that are so already, as are."""
        if isinstance(leaf, Tracer) or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
            return leaf
        return jax.make_array_from_callback(np.shape(leaf), self._places(0), lambda index: np.asarray(leaf)[index])


def local(tree: PyTree) -> PyTree:
    """The arrays of a tree as this process alone can use them, where several processes have the same."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


class _Within:
    """A jitted function that is called, traced and lowered with a mesh in use."""

    def __init__(self, mesh: Mesh, function: Any):
        self.mesh, self.function = mesh, function

    def __call__(self, *arguments: Any) -> Any:
        with jax.set_mesh(self.mesh):
            return self.function(*arguments)

    def trace(self, *arguments: Any) -> Any:
        """As jit's."""
        with jax.set_mesh(self.mesh):
            return self.function.trace(*arguments)

    def lower(self, *arguments: Any) -> Any:
        """As jit's."""
        with jax.set_mesh(self.mesh):
            return self.function.lower(*arguments)


def _specs(axes: Any) -> Any:
    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(SEEDS)

    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)
