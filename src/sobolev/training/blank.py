"""Zeros that take memory where they are written: on a CPU, replay's gigabytes are there at once."""

import ctypes
import mmap
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import PyTree


def zeros(shapes: PyTree) -> PyTree:
    """Arrays of zeros of these shapes (ShapeDtypeStructs), on one CPU device; for use under `jax.jit`.

    Linux gives them a page of memory when it is first written. `jnp.zeros` writes everything, which for 2 GB takes a
    second of a run's start and more, and memory that a run may never need.
    """
    return buffer_callback(_clear, shapes)()


def _clear(context: Any, buffers: PyTree) -> None:
    """Fills with zeros what JAX has allocated: whole pages by giving them back to the kernel."""
    del context
    for buffer in jax.tree.leaves(buffers):
        content = np.asarray(buffer).reshape(-1).view(np.uint8)
        begin, end = _whole_pages(content)
        content[:begin] = content[end:] = 0


def _whole_pages(content: np.ndarray) -> tuple[int, int]:
    """Where the pages begin and end, within these bytes, that read as zeros from now on."""
    address = content.ctypes.data
    begin, end = -address % mmap.PAGESIZE, (address + content.size) // mmap.PAGESIZE * mmap.PAGESIZE - address
    if sys.platform != "linux" or begin >= end:  # elsewhere the advice does not mean zeros
        return content.size, content.size
    advise = ctypes.CDLL(None, use_errno=True).madvise
    refused = advise(ctypes.c_void_p(address + begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
    return (content.size, content.size) if refused else (begin, end)
