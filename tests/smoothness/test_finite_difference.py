"""The finite-difference penalty: its limit, its expectation, its gradient, and what a Jacobian does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.smoothness import as_function, exact_energies, finite_difference_penalty, probability_table


def linear(x):
    """Three rows of two entries."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(6, x.shape[-1])), x.dtype)
    return (matrix @ x).reshape(3, 2)


def directional(network, inputs, key, directions):
    """d ||J u||^2, mean over states and the same directions, [rows]: the limit of equation (3), without a step."""
    drawn = jax.random.normal(key, (inputs.shape[0] * directions * inputs.shape[1],), inputs.dtype)
    units = drawn.reshape(inputs.shape[0], directions, -1)
    units = units / jnp.linalg.norm(units, axis=-1, keepdims=True)

    def energy(x, u):
        return jnp.square(jax.jvp(lambda x: probability_table(network, x), (x,), (u,))[1]).sum(-1)

    found = jax.vmap(jax.vmap(energy, (None, 0)))(inputs, units)
    return inputs.shape[1] * found.mean((0, 1))


def test_it_becomes_the_jacobian_penalty_as_the_step_goes_to_0(make_network, make_inputs):
    """First order in the step (paper 1, equation 3), in float64, where rounding is far away; every row by itself."""
    with jax.enable_x64():
        network, inputs, key = make_network(layers=2, dtype="float64"), make_inputs(dtype="float64"), jax.random.key(1)
        wanted = np.asarray(directional(network, inputs, key, 3))
        steps, errors = [1e-1, 1e-2, 1e-3, 1e-4], []
        for step in steps:
            found = finite_difference_penalty(network, inputs, key, step=step, directions=3)
            assert found.rows.shape == (3,) and float(found.value) == pytest.approx(float(found.rows.mean()))
            errors.append(float(np.abs(np.asarray(found.rows) - wanted).max()))
    orders = np.diff(np.log(errors)) / np.diff(np.log(steps))
    np.testing.assert_allclose(orders, 1, atol=0.2)
    assert errors[-1] < 1e-4 * float(wanted.max())


@pytest.mark.parametrize("step", [0.01, 3.0])
def test_unbiased_over_directions(make_inputs, step):
    """Of a linear map at any step (equation 4): 4096 draws, within 5 standard errors of the exact Jacobian energy."""
    inputs = make_inputs(states=2)
    keys = jax.random.split(jax.random.key(2), 4096)
    found = jax.jit(jax.vmap(lambda key: finite_difference_penalty(linear, inputs, key, step=step).value))(keys)
    exact = float(exact_energies(linear, inputs).mean())
    assert abs(float(found.mean()) - exact) < 5 * float(found.std()) / np.sqrt(len(keys))
    assert float(found.std()) > 0.1 * exact


def test_its_expectation_is_that_of_the_jacobian_penalty(make_network, make_inputs):
    network, inputs = make_network(), make_inputs(states=2)
    keys = jax.random.split(jax.random.key(3), 4096)
    one = jax.jit(jax.vmap(lambda key: finite_difference_penalty(network, inputs, key, step=1e-2).rows))
    found, exact = one(keys), exact_energies(network, inputs).mean(0)
    np.testing.assert_array_less(jnp.abs(found.mean(0) - exact), 5 * found.std(0) / np.sqrt(len(keys)) + 5e-3 * exact)


def test_more_directions_vary_less(make_network, make_inputs):
    network, inputs = make_network(), make_inputs(states=1)
    keys = jax.random.split(jax.random.key(4), 512)
    stds = []
    for directions in (1, 16):
        draw = jax.vmap(lambda key, n=directions: finite_difference_penalty(network, inputs, key, directions=n).value)
        stds.append(float(jax.jit(draw)(keys).std()))
    assert stds[0] / stds[1] == pytest.approx(4, rel=0.3)


def test_it_sees_a_jump_that_a_jacobian_does_not():
    table = lambda x: jnp.where(x.sum() > 0, jnp.eye(2), jnp.eye(2)[::-1])  # noqa: E731
    inputs = jnp.full((64, 3), 0.01)
    assert float(exact_energies(table, inputs).max()) == 0
    # A step of 1 crosses the jump in nearly half of the directions: then each row changes by 2, squared.
    assert float(finite_difference_penalty(table, inputs, jax.random.key(0), step=1.0).value) > 0.25 * 3 * 2


def test_gradients_flow_through_both_tables(make_network, make_inputs):
    """Against finite differences along the gradient, with respect to parameters and inputs."""
    both, key = (make_network(layers=2), make_inputs()), jax.random.key(5)
    value = jax.jit(lambda both: finite_difference_penalty(both[0], both[1], key, step=0.5).value)
    slopes = jax.grad(value)(both)
    for part in slopes:
        leaves = [leaf for leaf in jax.tree.leaves(part) if leaf.ndim == 2]
        assert leaves and all(float(jnp.abs(leaf).max()) > 0 for leaf in leaves)
    norm = float(jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(slopes))))
    ends = [jax.tree.map(lambda x, d, s=sign: x + s * 1e-2 / norm * d, both, slopes) for sign in (-1, 1)]
    assert float(value(ends[1]) - value(ends[0])) / 2e-2 == pytest.approx(norm, rel=0.02)


def test_half_precision_is_computed_in_float32(make_network, make_inputs):
    network, inputs = make_network(dtype="bfloat16"), make_inputs(dtype="bfloat16")
    found = finite_difference_penalty(network, inputs, jax.random.key(0))
    wide, inputs = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (network, inputs))
    assert found.value.dtype == jnp.float32
    assert float(found.value) == float(finite_difference_penalty(wide, inputs, jax.random.key(0)).value)


def test_a_table_in_half_precision_is_compared_in_float32(make_network, make_inputs):
    """The table alone is rounded, and not its differences, squares and means."""
    call, inputs, key = as_function(make_network()), make_inputs(), jax.random.key(0)
    rounded = finite_difference_penalty(lambda x: call(x).astype(jnp.bfloat16), inputs, key, step=1.0)
    wide = finite_difference_penalty(lambda x: call(x).astype(jnp.bfloat16).astype(jnp.float32), inputs, key, step=1.0)
    assert rounded.value.dtype == rounded.rows.dtype == jnp.float32
    np.testing.assert_array_equal(rounded.rows, wide.rows)


def test_bad_input_is_refused(make_network, make_inputs):
    with pytest.raises(UserError, match=r"\[states, d\]"):
        finite_difference_penalty(make_network(), make_inputs()[:0], jax.random.key(0))
    with pytest.raises(UserError, match=r"\[rows, classes\]"):
        finite_difference_penalty(lambda x: x, make_inputs(), jax.random.key(0))
