"""The shared arrays through which the main process and its workers exchange a step of all environments."""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sobolev.envs.specs import Spaces
from sobolev.errors import UserError

_ALIGN = 64  # bytes of a cache line, which no two arrays share


class Arrays(NamedTuple):
    """Views of one buffer, for N environments: action float32[N, A], reward float32[N], flags bool[N], observations
    [N, …]."""

    action: np.ndarray
    reward: np.ndarray
    first: np.ndarray
    last: np.ndarray
    terminal: np.ndarray
    observation: dict[str, np.ndarray]


def buffer_size(spaces: Spaces, streams: int) -> int:
    """Returns the size in bytes of a buffer for `view`."""
    return sum(_aligned(shape, dtype) for _, shape, dtype in _fields(spaces, streams))


def view(buffer: mmap.mmap | bytearray, spaces: Spaces, streams: int) -> Arrays:
    """Returns the arrays in a buffer. Their layout depends on the spaces and `streams` only, so all processes agree."""
    arrays: dict[str, np.ndarray] = {}
    offset = 0
    for name, shape, dtype in _fields(spaces, streams):
        arrays[name] = np.frombuffer(buffer, dtype, math.prod(shape), offset).reshape(shape)
        offset += _aligned(shape, dtype)
    flags = [arrays.pop(name) for name in ("action", "reward", "first", "last", "terminal")]
    return Arrays(*flags, observation={name.removeprefix("observation "): array for name, array in arrays.items()})


def shared_file(size: int) -> int:
    """Returns a file descriptor of zeroed memory, which is freed when the last process that has it ends.

    Raises UserError if there is not enough shared memory.
    """
    try:
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("sobolev")
        else:
            with tempfile.TemporaryFile() as temporary:
                file = os.dup(temporary.fileno())
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:
            os.ftruncate(file, size)
    except OSError as error:
        raise UserError(f"no room for {size} bytes of shared memory: {error}; take fewer environments") from error
    return file


def map_file(file: int, size: int) -> mmap.mmap:
    """Maps the memory of a descriptor, and closes the descriptor."""
    try:
        return mmap.mmap(file, size)
    finally:
        os.close(file)


def _fields(spaces: Spaces, streams: int) -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield "action", (streams, spaces.action), "float32"
    yield "reward", (streams,), "float32"
    for name in ("first", "last", "terminal"):
        yield name, (streams,), "bool"
    for key, spec in spaces.observation:
        yield f"observation {key}", (streams, *spec.shape), spec.dtype


def _aligned(shape: tuple[int, ...], dtype: str) -> int:
    return -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGN) * _ALIGN
