"""The divergence per size of a perturbation, against formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.smoothness import probability_table
from sobolev.smoothness.sensitivity import MAGNITUDES, divergence, jacobian_norms, sensitivity


def test_divergence_by_hand():
    p, q = jnp.array([[0.5, 0.5], [1.0, 0.0]]), jnp.array([[0.25, 0.75], [0.5, 0.5]])
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3) + np.log(2)
    np.testing.assert_allclose(divergence(p, q), expected, rtol=1e-6)
    assert divergence(p, p) == 0


@pytest.mark.parametrize("size", [1e-4, 1e-3, 1e-2, 2e-2, 0.5])
def test_divergence_keeps_its_digits_in_float32(size):
    p = np.random.default_rng(0).dirichlet(np.ones(6), 4).astype(np.float32)
    q = p * (1 + size * np.where(np.arange(6) % 2, 1, -1)).astype(np.float32)
    wide_p, wide_q = p.astype(np.float64), q.astype(np.float64)
    expected = np.sum(wide_p * np.log(wide_p / wide_q) + wide_q - wide_p)
    np.testing.assert_allclose(divergence(jnp.asarray(p), jnp.asarray(q)), expected, rtol=2e-3)


def test_small_perturbations_see_the_fisher_information(make_network, make_inputs):
    """KL is close to delta^T F delta / 2, F = sum of grad q grad q^T / q, whose mean over the sphere is tr(F) / d."""
    with jax.enable_x64(True):
        network, inputs = make_network(dtype="float64"), make_inputs(states=3, dtype="float64")
        table = lambda x: probability_table(network, x)  # noqa: E731
        tables, jacobians = (jax.jit(jax.vmap(f))(inputs) for f in (table, jax.jacrev(table)))
        trace = jnp.sum(jnp.square(jacobians) / tables[..., None], (1, 2, 3)).mean()
        measure = partial(sensitivity, magnitudes=(1e-4,), directions=4096)
        found = jax.jit(measure)(network, inputs, jax.random.key(0))
        size = 1e-4 * jnp.linalg.norm(inputs, axis=-1).mean()
        np.testing.assert_allclose(found.sizes[0], size)
        # 3 * 4096 directions: the standard error is about 1%
        np.testing.assert_allclose(found.value, size * trace / 6 / 2, rtol=0.06)


def test_only_the_given_entries_move(make_network, make_inputs):
    network, inputs = make_network(), make_inputs()
    still = network.first_kernel.at[4:].set(0)
    blind = jax.tree.map(lambda leaf: still if leaf is network.first_kernel else leaf, network)
    tokens = sensitivity(blind, inputs, jax.random.key(0), perturbed=slice(4, None))
    assert tokens.value == 0
    np.testing.assert_allclose(
        tokens.sizes, np.array(MAGNITUDES) * np.linalg.norm(inputs[:, 4:], axis=1).mean(), rtol=1e-5
    )
    assert sensitivity(blind, inputs, jax.random.key(0), perturbed=slice(0, 4)).value > 0


def test_network_and_function_agree_and_the_mean_is_over_magnitudes(make_network, make_inputs):
    network, inputs, key = make_network(), make_inputs(), jax.random.key(1)
    found = jax.jit(lambda key: sensitivity(network, inputs, key, directions=2))(key)
    plain = sensitivity(lambda x: probability_table(network, x), inputs, key, directions=2)
    np.testing.assert_allclose(found.by_magnitude, plain.by_magnitude, rtol=1e-3)
    np.testing.assert_allclose(found.value, found.by_magnitude.mean(), rtol=1e-6)
    assert found.by_magnitude.shape == (5,)
    np.testing.assert_allclose([MAGNITUDES[0], MAGNITUDES[-1]], [0.001, 0.1])


def test_jacobian_norms(make_network, make_inputs):
    network, inputs = make_network(), make_inputs(states=2)
    jacobians = jax.jit(jax.vmap(jax.jacrev(lambda x: probability_table(network, x))))(inputs)
    np.testing.assert_allclose(jacobian_norms(network, inputs), np.linalg.norm(jacobians, axis=(2, 3)), rtol=1e-4)


def test_bad_input_is_refused(make_network, make_inputs):
    call = partial(sensitivity, make_network(), make_inputs(), jax.random.key(0))
    for wrong in (
        partial(call, directions=0),
        partial(call, magnitudes=(0.1, 0.0)),
        partial(call, perturbed=slice(0, 0)),
    ):
        with pytest.raises(UserError, match="sensitivity needs"):
            wrong()
