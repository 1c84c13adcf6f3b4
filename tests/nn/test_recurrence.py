"""The recurrence with its own backward pass is `jax.lax.scan`, in values and in all gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import batched_recurrence, recurrence

TIME, BATCH, BLOCKS, WIDTH, INPUTS = 6, 3, 2, 4, 5


def step(parameters, carry, x):
    """Two carries that mix: one in blocks, one flat."""
    (kernel, bias), (blocks, flat), (signal, keep) = parameters, carry, x
    blocks = jnp.tanh(jnp.einsum("gi,gio->go", blocks * keep, kernel) + flat[:BLOCKS, None])
    flat = jnp.sin(bias * signal + keep * flat + blocks.sum())
    return (blocks, flat), (flat * blocks.mean(), blocks)


def scanned(parameters, carry, inputs):
    batched = jax.vmap(step, (None, (1, 0), 0), ((1, 0), 0))
    return jax.lax.scan(lambda carry, x: batched(parameters, carry, x), carry, inputs)[1]


def ours(parameters, carry, inputs):
    return recurrence(step, parameters, carry, inputs, (1, 0))


def arguments(seed=0):
    keys = jax.random.split(jax.random.key(seed), 6)
    parameters = (jax.random.normal(keys[0], (BLOCKS, WIDTH, WIDTH)), jax.random.normal(keys[1], (INPUTS,)))
    carry = (jax.random.normal(keys[2], (BLOCKS, BATCH, WIDTH)), jax.random.normal(keys[3], (BATCH, INPUTS)))
    keep = (jax.random.uniform(keys[5], (TIME, BATCH)) > 0.2).astype(jnp.float32)
    return parameters, carry, (jax.random.normal(keys[4], (TIME, BATCH, INPUTS)), keep)


def gradients(function):
    """Of a sum in which every output has a weight of its own."""

    def total(*values):
        leaves = jax.tree.leaves(function(*values))
        return sum(jnp.sum(jnp.sin(1.0 + jnp.arange(float(leaf.size)).reshape(leaf.shape)) * leaf) for leaf in leaves)

    return jax.grad(total, (0, 1, 2))


def assert_same(a, b, atol=2e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-5, atol=atol), a, b)


@pytest.mark.parametrize("compile_with", [jax.jit, lambda function: function], ids=["jitted", "op by op"])
def test_values_and_gradients_are_those_of_scan(compile_with):
    values = arguments()
    assert_same(compile_with(ours)(*values), compile_with(scanned)(*values))
    found = compile_with(gradients(ours))(*values)
    assert_same(found, compile_with(gradients(scanned))(*values), atol=1e-5)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(found))


def test_over_seeds():
    seeds = [arguments(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    found = jax.jit(jax.vmap(gradients(ours)))(*stacked)
    wanted = [jax.jit(gradients(scanned))(*values) for values in seeds]
    assert_same(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *wanted), atol=1e-5)


def test_a_plain_loop():
    parameters, (blocks, flat), (signal, keep) = arguments()
    outputs: Any = ours(parameters, (blocks, flat), (signal, keep))
    flats, block_outputs = outputs
    for b in range(BATCH):
        carry = (blocks[:, b], flat[b])
        for t in range(TIME):
            carry, output = step(parameters, carry, (signal[t, b], keep[t, b]))
            assert_same((flats[t, b], block_outputs[t, b]), output, atol=1e-5)


def batched_step(parameters, carry, x):
    """A step of a batch whose carry is made of its outputs."""
    (kernel, bias), state, (signal, keep) = parameters, carry, x
    new = jnp.tanh(state @ kernel + signal) + bias[None]
    return new * keep[:, None], (new, jnp.sin(new))


def states_before(first, outputs, inputs):
    return jnp.concatenate([first[None], (outputs[0] * inputs[1][..., None])[:-1]])


@pytest.mark.parametrize("unroll", [1, 2, 4])
def test_a_batched_recurrence_is_a_scan(unroll):
    keys = jax.random.split(jax.random.key(3), 5)
    parameters = (0.5 * jax.random.normal(keys[0], (INPUTS, INPUTS)), jax.random.normal(keys[1], (INPUTS,)))
    carry = jax.random.normal(keys[2], (BATCH, INPUTS))
    keep = (jax.random.uniform(keys[3], (TIME, BATCH)) > 0.2).astype(jnp.float32)
    inputs = (jax.random.normal(keys[4], (TIME, BATCH, INPUTS)), keep)

    def plain(parameters, carry, inputs):
        return jax.lax.scan(lambda carry, x: batched_step(parameters, carry, x), carry, inputs)[1]

    def ours(parameters, carry, inputs):
        return batched_recurrence(batched_step, states_before, parameters, carry, inputs, unroll)

    for function in (lambda f: f, gradients):
        both = (jax.jit(function(f))(parameters, carry, inputs) for f in (ours, plain))
        assert_same(*both)
