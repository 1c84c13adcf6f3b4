"""That drawing along one axis gives the numbers that drawing along several does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import drawn

SAMPLERS = {
    "uniform": jax.random.uniform,
    "normal": jax.random.normal,
    "truncated normal": partial(jax.random.truncated_normal, lower=-2.0, upper=2.0, dtype=jnp.float32),
    "rademacher": partial(jax.random.rademacher, dtype=jnp.float32),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("shape", [(), (7,), (5, 3, 2), (4, 0, 3)])
def test_the_same_numbers_as_along_all_axes(name: str, shape: tuple[int, ...]):
    keys = jax.random.split(jax.random.key(3), 2)
    found = jax.jit(jax.vmap(partial(drawn, SAMPLERS[name], shape=shape)))(keys)
    wanted = np.stack([np.asarray(SAMPLERS[name](key, shape=shape)) for key in keys])
    np.testing.assert_array_equal(found, wanted)
