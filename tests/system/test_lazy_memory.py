"""Zeros in memory that nobody has touched, and what of it is taken."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.system import lazy_memory
from tests import tiny

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of a CPU's memory")


def test_they_are_zeros_where_garbage_was():
    """Of every size about a page's, in memory that others have just freed."""
    for size in (1, 100, 4095, 4096, 4097, 20_000, 2_000_000):
        jax.block_until_ready(jax.jit(lambda size=size: jnp.full(size, 7, jnp.uint8))())
        shapes = {"a": jax.ShapeDtypeStruct((size,), jnp.uint8), "b": jax.ShapeDtypeStruct((3, size), jnp.bool_)}
        found = jax.jit(lambda shapes=shapes: lazy_memory.zeros(shapes))()
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), shapes
        )
        assert not any(np.asarray(leaf).any() for leaf in found.values())


def test_a_user_can_do_without(monkeypatch):
    """Replay then is what JAX makes, with the same content."""
    program = tiny.program(tiny.agent(), (2,))
    lazy = program.initial_replay(tiny.ENVIRONMENTS, 1000)
    assert program.layout.zeros is lazy_memory.zeros
    monkeypatch.setenv("SOBOLEV_LAZY_MEMORY", "0")
    assert program.layout.zeros is None
    written = program.initial_replay(tiny.ENVIRONMENTS, 1000)
    jax.tree.map(np.testing.assert_array_equal, lazy.steps, written.steps)


MEASURED = """
import jax, jax.numpy as jnp, numpy as np
from sobolev.system import lazy_memory
from sobolev.training import run_messages

before, row = run_messages.resident(), 2**20
shape = jax.ShapeDtypeStruct((500, row), jnp.float32)
array = jax.block_until_ready(jax.jit(lambda: lazy_memory.zeros(shape))())
assert run_messages.resident() - before < 2e8 < array.nbytes and lazy_memory.held(array) < 1e6
place = array.unsafe_buffer_pointer()
write = jax.jit(
    lambda array, at: jax.lax.dynamic_update_index_in_dim(array, jnp.ones(row), at, 0), donate_argnums=0
)
for at in range(50):
    array = jax.block_until_ready(write(array, at))
assert array.unsafe_buffer_pointer() == place
assert 50 * row * 4 <= run_messages.resident() - before < 2e8 + 100 * row * 4
assert 50 * row * 4 <= lazy_memory.held(array) <= 100 * row * 4
assert float(array[49].sum()) == row and not np.asarray(array[50:60]).any()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are written")
def test_they_take_memory_as_they_are_written_and_in_place():
    """In a process of its own: this one has memory that others have freed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", MEASURED]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all counts")
def test_of_an_array_in_use_every_byte_is_held():
    page = os.sysconf("SC_PAGESIZE")
    for array in (np.ones(100_000), jnp.ones(100_000), np.ones((7, 3)), np.zeros(0)):
        assert array.nbytes <= lazy_memory.held(array) <= array.nbytes + 2 * page
    untouched = np.frombuffer(mmap.mmap(-1, 2**30), np.uint8)
    assert lazy_memory.held(untouched) < 2**20
