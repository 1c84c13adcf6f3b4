"""Arrays of zeros on a CPU that take memory page by page when they are written, so that gigabytes of replay are created
at once; and the memory that an array has taken so far."""

import ctypes
import mmap
import os
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, PyTree


def usable() -> bool:
    """Returns whether to use `zeros`: on a CPU, unless SOBOLEV_LAZY_MEMORY=0."""
    return jax.default_backend() == "cpu" and os.environ.get("SOBOLEV_LAZY_MEMORY") != "0"


def zeros(shapes: PyTree) -> PyTree:
    """Returns arrays of zeros of these shapes (ShapeDtypeStructs), on one CPU device; for use under `jax.jit`.

    Linux allocates each page when it is first written. `jnp.zeros` writes everything, which for 2 GB takes more than a
    second, and memory that a run may never need.
    """
    return buffer_callback(_clear, shapes)()


def held(array: Array | np.ndarray) -> int:
    """Returns the bytes of memory, in whole pages, that an array has taken; its full size if this is not Linux."""
    shards = [array] if isinstance(array, np.ndarray) else [shard.data for shard in array.addressable_shards]
    return sum(_held(_address(shard), shard.nbytes) for shard in shards)


def _clear(context: Any, buffers: PyTree) -> None:
    """Fills the buffers that JAX has allocated with zeros, whole pages by returning them to the kernel."""
    del context
    for buffer in jax.tree.leaves(buffers):
        content = np.asarray(buffer).reshape(-1).view(np.uint8)
        address, size = content.ctypes.data, content.size
        begin, end = -(-address // mmap.PAGESIZE), (address + size) // mmap.PAGESIZE
        if begin < end and _system("madvise", begin, end, mmap.MADV_DONTNEED):
            content[: begin * mmap.PAGESIZE - address] = content[end * mmap.PAGESIZE - address :] = 0
        else:
            content[:] = 0


def _held(address: int, size: int) -> int:
    begin, end = address // mmap.PAGESIZE, -(-(address + size) // mmap.PAGESIZE)
    there = np.zeros(end - begin, np.uint8)
    if not _system("mincore", begin, end, ctypes.c_void_p(there.ctypes.data)):
        return size
    return int(np.sum(there & 1)) * mmap.PAGESIZE


def _system(call: str, begin: int, end: int, argument: Any) -> bool:
    """Calls a function of libc on the pages from `begin` to before `end`; returns whether that worked. On Linux only,
    since other systems give its arguments another meaning."""
    if sys.platform != "linux":
        return False
    place = ctypes.c_void_p(begin * mmap.PAGESIZE), ctypes.c_size_t((end - begin) * mmap.PAGESIZE)
    return getattr(ctypes.CDLL(None), call)(*place, argument) == 0


def _address(array: Array | np.ndarray) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.unsafe_buffer_pointer()
