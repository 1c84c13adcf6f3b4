"""The penalty is itself differentiated: finite differences, compiled against op by op, many seeds at once."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sobolev.smoothness import (
    PenaltyConfig,
    exact_energies,
    joint_energies,
    probability_table,
    row_energies,
)
from sobolev.smoothness.layers import norm_silu
from sobolev.smoothness.linear_first import gram, quadratic
from tests.smoothness.sampled import sampled_penalty
from tests.xla_flags import OPTIMISED

FORMS = pytest.mark.parametrize("form", ["fast", "general"])
ESTIMATORS = {"rows": row_energies, "joint": joint_energies}


def penalty(energies, form, probes):
    def value(network, inputs):
        fn = network if form == "fast" else lambda x: probability_table(network, x)
        return energies(fn, inputs, probes).mean()

    return value


def check_to_second_order(value, *arguments):
    """Gradient and Hessian of `value` along random directions against central differences, in float64."""
    point, unflatten = ravel_pytree(arguments)
    direction = jnp.asarray(np.random.default_rng(0).standard_normal(point.shape))

    def flat(point):
        return value(*unflatten(point))

    gradient = jax.jit(jax.value_and_grad(flat))
    forward = jax.jit(lambda point: jax.jvp(jax.grad(flat), (point,), (direction,))[1])
    (up, up_gradient), (down, down_gradient) = (gradient(point + step * direction) for step in (1e-5, -1e-5))
    np.testing.assert_allclose(gradient(point)[1] @ direction, (up - down) / 2e-5, rtol=1e-7)
    hessian = (up_gradient - down_gradient) / 2e-5
    np.testing.assert_allclose(forward(point), hessian, rtol=1e-6, atol=1e-7 * float(jnp.abs(hessian).max()))


@pytest.mark.parametrize("estimator, form", [("rows", "fast"), ("joint", "fast"), ("rows", "general")])
def test_gradient_and_hessian_against_finite_differences(make_network, make_inputs, estimator, form):
    """The gradient of the penalty, and the derivative of that gradient."""
    with jax.enable_x64(True):
        network = make_network(inputs=3, hidden=4, rows=2, classes=3, layers=2, dtype="float64")
        inputs = make_inputs(states=2, inputs=3, dtype="float64")
        probes = jax.random.rademacher(jax.random.key(0), (2, 2, 3), jnp.float64)
        value = penalty(ESTIMATORS[estimator], form, probes)
        assert jax.eval_shape(value, network, inputs).dtype == jnp.float64
        check_to_second_order(value, network, inputs)


def test_gradient_of_the_exact_value(make_network, make_inputs):
    with jax.enable_x64(True):
        network = make_network(inputs=3, hidden=4, rows=2, classes=3, dtype="float64")
        inputs = make_inputs(states=2, inputs=3, dtype="float64")
        check_to_second_order(lambda network, inputs: exact_energies(network, inputs).mean(), network, inputs)


def test_products_with_derivatives_of_their_own():
    with jax.enable_x64(True):
        kernel = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))
        vectors = jnp.asarray(np.random.default_rng(1).standard_normal((2, 4, 3)))
        np.testing.assert_allclose(gram(kernel), kernel.T @ kernel)
        expected = jnp.sum(jnp.square(vectors @ kernel.T), -1)
        np.testing.assert_allclose(quadratic(vectors, gram(kernel)), expected)
        check_to_second_order(lambda v, w: jnp.sin(0.1 * quadratic(v, gram(w))).sum(), vectors, kernel)


def plain_norm_silu(y, scale):
    return jax.nn.silu(y * jax.lax.rsqrt(jnp.mean(y * y) + 1e-4) * scale)


def test_norm_silu_has_the_derivatives_of_the_plain_formula():
    with jax.enable_x64(True):
        y, scale, direction = (jnp.asarray(np.random.default_rng(seed).standard_normal(5)) for seed in range(3))

        def energy(function):
            def value(y, scale):
                out, pull = jax.vjp(lambda y: function(y, scale), y)
                return jnp.sum(jnp.square(pull(direction)[0])) + out.sum()

            return jax.jit(lambda *at: (value(*at), jax.grad(value, (0, 1))(*at), jax.hessian(value, (0, 1))(*at)))(
                y, scale
            )

        ours = energy(lambda y, scale: norm_silu(y, scale, 1e-4))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, energy(plain_norm_silu))


@FORMS
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.long
def test_compiled_equals_op_by_op(make_network, make_inputs, estimator, form):
    """At such sizes jax 0.10.2 on CPU is off by a quarter where it compiles a vmapped product through RMS norm."""
    states, width, hidden, rows, classes = 32, 64, 128, 32, 4
    network = make_network(inputs=width, hidden=hidden, rows=rows, classes=classes)
    inputs = make_inputs(states=states, inputs=width)
    probes = jax.random.rademacher(jax.random.key(1), (states, rows, classes), jnp.float32)
    both = jax.value_and_grad(penalty(ESTIMATORS[estimator], form, probes), argnums=(0, 1))
    compiled = jax.jit(both, compiler_options=OPTIMISED)(network, inputs)
    with jax.disable_jit():
        plain = both(network, inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), compiled, plain)


@pytest.mark.long
def test_seeds_at_once_equal_one_seed(make_network, make_inputs):
    config = PenaltyConfig(rho=0.5, rows=2, row_choice="random")
    networks = [make_network(layers=2, seed=seed) for seed in range(3)]
    inputs = jnp.stack([make_inputs(states=8, seed=seed) for seed in range(3)])
    keys = jax.random.split(jax.random.key(2), 3)

    def value(network, inputs, key):
        return sampled_penalty(network, inputs, key, config).value

    update = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))
    together = jax.jit(jax.vmap(update))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks), inputs, keys)
    for seed, network in enumerate(networks):
        alone = update(network, inputs[seed], keys[seed])
        among = jax.tree.map(operator.itemgetter(seed), together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), among, alone)
