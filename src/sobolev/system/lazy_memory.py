"""Memory by the page, on a CPU: zeros that take it where they are written, so that replay's gigabytes are there at
once, and how much of it an array has taken."""

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
    """Whether large arrays of zeros are worth `zeros`: on a CPU, unless the user says SOBOLEV_LAZY_MEMORY=0."""
    return jax.default_backend() == "cpu" and os.environ.get("SOBOLEV_LAZY_MEMORY") != "0"


def zeros(shapes: PyTree) -> PyTree:
    """Arrays of zeros of these shapes (ShapeDtypeStructs), on one CPU device; for use under `jax.jit`.

    Linux gives them a page of memory when it is first written. `jnp.zeros` writes everything, which for 2 GB takes a
    second of a run's start and more, and memory that a run may never need.
    """
    return buffer_callback(_clear, shapes)()


def held(array: Array | np.ndarray) -> int:
    """Bytes of memory, in whole pages, that this process has for an array; where it is not Linux, all of its bytes."""
    shards = [array] if isinstance(array, np.ndarray) else [shard.data for shard in array.addressable_shards]
    return sum(_held(_address(shard), shard.nbytes) for shard in shards)


def _clear(context: Any, buffers: PyTree) -> None:
    """Fills with zeros what JAX has allocated: whole pages by giving them back to the kernel."""
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
    """Whether Linux did this with the pages from `begin` to before `end`; others mean other things by the names."""
    if sys.platform != "linux":
        return False
    place = ctypes.c_void_p(begin * mmap.PAGESIZE), ctypes.c_size_t((end - begin) * mmap.PAGESIZE)
    return getattr(ctypes.CDLL(None), call)(*place, argument) == 0


def _address(array: Array | np.ndarray) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.unsafe_buffer_pointer()
