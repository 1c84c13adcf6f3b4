"""How a run uses several devices: its seeds are spread over them, or each batch is divided among them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jaxtyping import PyTree

from sobolev.errors import UserError
from sobolev.nn.batching import DATA, specs
from sobolev.system import lazy_memory

SEEDS = "seeds"
"""The name of the mesh axis over which seeds are spread."""


def shards(seeds: int, devices: int) -> int:
    """Returns the number of devices over which to spread the seeds: the largest that divides them evenly."""
    return next(count for count in range(min(seeds, devices), 0, -1) if seeds % count == 0)


class Layout:
    """The placement of a run's arrays: on one device, spread by seed over several, or replicated on every device.

    In the last case the devices divide the batch of every update along the mesh axis `DATA` (see `nn.in_parts`). They
    may belong to several processes, which then run the same program.
    """

    def __init__(self, seeds: int, data: int = 1, devices: Sequence[Any] | None = None):
        """`data` is the number of devices that divide each batch; with 1, seeds are spread over devices (see `shards`).

        `devices` are those to choose from; None takes JAX's. They need not be present if nothing is placed on them.
        Raises UserError if there are fewer devices than `data`, or if several processes have more of them.
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
        """Number of devices over which the seeds are spread."""
        return 1 if self.mesh is None or self.divides else self.mesh.size

    def compiled(self, function: Callable, **options: Any) -> Any:
        """Returns `jax.jit` of a function of the run's arrays; `options` are those of `jax.jit`."""
        if self.mesh is None or not self.divides:
            return jax.jit(function, **options)
        return _Within(self.mesh, jax.jit(function, out_shardings=self._places(0), **options))

    def spread(self, function: Callable, in_axes: Any = 0, out_axes: Any = 0) -> Callable:
        """Returns a function that applies `function` on each device to its own seeds, without communication.

        `in_axes` and `out_axes` are as in `vmap`: 0 for a leaf whose leading axis is that of the seeds, None for a leaf
        that all seeds share. `function` sees the seeds of one device only.
        """
        if self.spread_over == 1:
            return function
        places = {"in_specs": specs(in_axes, SEEDS), "out_specs": specs(out_axes, SEEDS)}
        return jax.shard_map(function, mesh=self.mesh, check_vma=False, **places)

    def placed(self, tree: PyTree, axes: Any = 0) -> PyTree:
        """Places the arrays of a tree, JAX's or NumPy's, on the devices of the run; `axes` are as in `spread`."""
        if self.mesh is None:
            return jax.device_put(tree)
        if jax.process_count() > 1:
            return jax.tree.map(self._everywhere, tree)
        return jax.device_put(tree, self._places(axes))

    def shapes(self, tree: PyTree, axes: Any = 0) -> PyTree:
        """Returns the shapes of a tree with the shardings that `placed` gives its arrays."""
        if self.mesh is None and self.alone is None:
            return tree

        def below(place: Sharding | None, tree: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), tree)

        return below(self.alone, tree) if self.mesh is None else jax.tree.map(below, self._places(axes), tree)

    @property
    def zeros(self) -> Callable[[PyTree], PyTree] | None:
        """Returns a function from shapes to large arrays of zeros, for use inside `made`; None for JAX's own."""
        return lazy_memory.zeros if self.mesh is None and lazy_memory.usable() else None

    def made(self, create: Callable[[], PyTree], axes: Callable[[PyTree], Any]) -> PyTree:
        """Calls `create` and has its arrays created on the devices of the run. `axes`: theirs, as in `spread`."""
        if self.mesh is None:
            return jax.jit(create)()
        return jax.jit(create, out_shardings=self._places(axes(jax.eval_shape(create))))()

    def _places(self, axes: Any) -> Any:
        """Returns the shardings of arrays with these axes, for `jax.device_put` and `jax.jit`."""
        mesh, divided = self.mesh, PartitionSpec() if self.divides else specs(axes, SEEDS)
        assert mesh is not None, "one device needs no places"
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), divided)

    def _everywhere(self, leaf: Any) -> Any:
        """Converts an array that is the same in all processes to a global array; leaves global arrays as they are."""
        if isinstance(leaf, Tracer) or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
            return leaf
        return jax.make_array_from_callback(np.shape(leaf), self._places(0), lambda index: np.asarray(leaf)[index])


def local(tree: PyTree) -> PyTree:
    """Converts global arrays, which are the same in all processes, to arrays of this process alone."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


class _Within:
    """A jitted function that is called, traced and lowered inside a mesh."""

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
