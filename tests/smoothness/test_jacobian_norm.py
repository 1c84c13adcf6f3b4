"""The excess of the Jacobian's spectral norm: the norm against SVD, the bound, its gradient, and where it is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.smoothness import jacobian_norm_penalty, probability_table
from sobolev.smoothness.regularizers.jacobian_norm import jacobian_norms


def exact(network, inputs):
    """The largest singular value of the Jacobian at every input."""
    jacobians = jax.vmap(jax.jacobian(lambda x: probability_table(network, x).ravel()))(inputs)
    return np.linalg.svd(np.asarray(jacobians), compute_uv=False)[:, 0]


@pytest.mark.long
def test_power_iteration_finds_the_largest_singular_value_from_below(make_network, make_inputs):
    network, inputs = make_network(layers=2), make_inputs(states=6)
    wanted, before = exact(network, inputs), np.zeros(6)
    for iterations in (1, 3, 200):
        found = np.asarray(jacobian_norms(network, inputs, jax.random.key(0), iterations))
        assert (found < wanted * (1 + 1e-5)).all() and (found > before * (1 - 1e-5)).all()
        before = found
    np.testing.assert_allclose(before, wanted, rtol=0.01)


def test_only_what_is_above_the_bound_is_penalised(make_network, make_inputs):
    network, inputs, key = make_network(), make_inputs(states=8), jax.random.key(1)
    norms = np.asarray(jacobian_norms(network, inputs, key, 20))
    bound = float(np.median(norms))
    found = jacobian_norm_penalty(network, inputs, key, bound=bound, iterations=20)
    np.testing.assert_allclose(found.value, np.square(np.maximum(norms - bound, 0)).mean(), rtol=1e-5)
    np.testing.assert_array_equal(found.rows, np.full(3, found.value))
    above = jacobian_norm_penalty(network, inputs, key, bound=float(norms.max()) + 0.1, iterations=20)
    assert float(above.value) == 0.0
    slope = jax.grad(lambda x: jacobian_norm_penalty(network, x, key, bound=100.0).value)(inputs)
    assert not np.asarray(slope).any()


def test_its_gradient_is_that_of_the_norm():
    """Of a linear map by its matrix: d sigma / dW is the outer product of the first singular vectors."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    inputs, key = jnp.ones((2, 4)), jax.random.key(2)

    def squared(matrix):
        table = jax.tree_util.Partial(lambda matrix, x: (matrix @ x).reshape(3, 2), matrix)
        return jacobian_norm_penalty(table, inputs, key, bound=0.0, iterations=60).value

    value, slope = jax.value_and_grad(squared)(matrix)
    left, sizes, right = np.linalg.svd(np.asarray(matrix), full_matrices=False)
    assert float(value) == pytest.approx(sizes[0] ** 2, rel=1e-4)
    np.testing.assert_allclose(slope, 2 * sizes[0] * np.outer(left[:, 0], right[0]), atol=1e-3)


def test_a_constant_map_costs_nothing_and_has_a_finite_gradient():
    value, slope = jax.value_and_grad(
        lambda x: jacobian_norm_penalty(lambda x: jnp.zeros((3, 2)) * x.sum(), x, jax.random.key(0), bound=0.0).value
    )(jnp.ones((2, 4)))
    assert float(value) == 0.0 and np.isfinite(np.asarray(slope)).all()


def test_a_table_in_half_precision_is_measured_in_float32():
    inputs, key = jnp.ones((2, 4)), jax.random.key(0)
    found = jacobian_norm_penalty(lambda x: (3 * x).astype(jnp.bfloat16).reshape(2, 2), inputs, key, bound=0.0)
    assert found.value.dtype == found.rows.dtype == jnp.float32
    assert float(found.value) == pytest.approx(9.0, rel=1e-3)


def test_mistakes(make_network, make_inputs):
    with pytest.raises(UserError, match="at least one state"):
        jacobian_norm_penalty(make_network(), make_inputs()[:0], jax.random.key(0))
    with pytest.raises(UserError, match="this one gives shape"):
        jacobian_norm_penalty(lambda x: x, make_inputs(), jax.random.key(0))
