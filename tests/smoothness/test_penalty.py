"""The three estimators, in general form and by the fast path: values, options, dtypes, bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.smoothness import (
    LinearFirst,
    PenaltyConfig,
    exact_energies,
    jacobian_penalty,
    joint_energies,
    probability_table,
    row_energies,
    sample_states,
)
from tests.smoothness.sampled import sampled_penalty

FORMS = pytest.mark.parametrize("form", ["fast", "general"])


def as_form(network, form):
    return network if form == "fast" else lambda x: probability_table(network, x)


def true_energies(network, inputs):
    """||J_i||_F^2 from the whole Jacobian, [states, rows]."""
    jacobians = jax.jit(jax.vmap(jax.jacrev(lambda x: probability_table(network, x))))(inputs)
    return jnp.sum(jnp.square(jacobians), (2, 3))


def signs(seed, *shape):
    return jax.random.rademacher(jax.random.key(seed), shape, jnp.float32)


def test_protocol_tells_networks_from_functions(make_network):
    assert isinstance(make_network(), LinearFirst)
    assert not isinstance(lambda x: x, LinearFirst)


@pytest.mark.parametrize("layers, form", [(1, "fast"), (3, "fast"), (2, "general")])
def test_exact_is_the_frobenius_norm(make_network, make_inputs, layers, form):
    network, inputs = make_network(layers=layers), make_inputs()
    expected = true_energies(network, inputs)
    for rows in (None, jnp.array([2, 0])):
        found = jax.jit(lambda rows: exact_energies(as_form(network, form), inputs, rows))(rows)
        np.testing.assert_allclose(found, expected if rows is None else expected[:, rows], rtol=1e-4)


@pytest.mark.parametrize("layers, chosen", [(1, None), (2, [0, 1]), (3, [2])])
def test_fast_path_equals_general_form(make_network, make_inputs, layers, chosen):
    network, inputs = make_network(layers=layers), make_inputs()
    rows = None if chosen is None else jnp.array(chosen)
    probes = signs(2, 5, 3 if chosen is None else len(chosen), 4)
    for energies in (row_energies, joint_energies):

        def value(network, inputs, form, energies=energies):
            return energies(as_form(network, form), inputs, probes, rows).mean()

        both = jax.jit(jax.value_and_grad(value, argnums=(0, 1)), static_argnums=2)
        fast, general = (both(network, inputs, form) for form in ("fast", "general"))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fast, general)


@pytest.mark.parametrize(
    "estimator, rows, choice",
    [("rows", None, "first"), ("rows", 2, "random"), ("joint", 2, "first"), ("exact", 2, "random")],
)
def test_same_key_gives_the_same_number_on_both_paths(make_network, make_inputs, estimator, rows, choice):
    network, inputs, key = make_network(layers=2), make_inputs(), jax.random.key(3)

    def penalty(network, inputs, form):
        fn = as_form(network, form)
        return jacobian_penalty(fn, inputs, key, estimator=estimator, rows=rows, row_choice=choice)

    fast, general = (jax.jit(penalty, static_argnums=2)(network, inputs, form) for form in ("fast", "general"))
    np.testing.assert_allclose(fast.value, general.value, rtol=1e-5)
    np.testing.assert_allclose(fast.rows, general.rows, rtol=1e-5)
    assert fast.rows.shape == ((1,) if estimator == "joint" else (rows or 3,))


@FORMS
def test_mean_over_all_probes_is_exact(make_network, make_inputs, form):
    """With every sign pattern once, the mean of either estimator is its expectation: no chance involved."""
    network, inputs = make_network(rows=2, classes=2), make_inputs(states=1)
    patterns = jnp.array(list(itertools.product([-1.0, 1.0], repeat=4))).reshape(-1, 2, 2)
    repeated = jnp.repeat(inputs, len(patterns), 0)
    expected = true_energies(network, inputs)[0]
    rows = jax.jit(lambda x, probes: row_energies(as_form(network, form), x, probes).mean(0))(repeated, patterns)
    np.testing.assert_allclose(rows, expected, rtol=1e-4)
    joint = jax.jit(lambda x, probes: joint_energies(as_form(network, form), x, probes).mean())(repeated, patterns)
    np.testing.assert_allclose(joint, expected.mean(), rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"rows": 2, "row_choice": "random"}])
@pytest.mark.parametrize("estimator", ["rows", "joint"])
def test_unbiased_with_drawn_probes(make_network, make_inputs, estimator, options):
    """4096 draws: the mean is within 5 standard errors of the truth, which fails by chance once in two million keys."""
    network, inputs = make_network(), make_inputs(states=2)
    keys = jax.random.split(jax.random.key(4), 4096)

    def value(key):
        return jacobian_penalty(network, inputs, key, estimator=estimator, **options).value

    values = jax.jit(jax.vmap(value))(keys)
    error = values.mean() - true_energies(network, inputs).mean()
    assert abs(error) < 5 * values.std() / 64
    assert values.std() / 64 < 0.02 * values.mean(), "too few draws to tell a bias of a tenth"


def test_first_and_random_rows(make_network, make_inputs):
    network, inputs = make_network(rows=5), make_inputs()
    expected = true_energies(network, inputs).mean(0)
    first = jacobian_penalty(network, inputs, jax.random.key(0), estimator="exact", rows=2)
    np.testing.assert_allclose(first.rows, expected[:2], rtol=1e-4)
    draw = jax.jit(lambda key: jacobian_penalty(network, inputs, key, estimator="exact", rows=2, row_choice="random"))
    seen = set()
    for seed in range(12):
        drawn = draw(jax.random.key(seed))
        nearest_row = jnp.abs(drawn.rows[:, None] - expected[None]).argmin(1)
        np.testing.assert_allclose(drawn.rows, expected[nearest_row], rtol=1e-4)
        assert len(set(nearest_row.tolist())) == 2
        seen |= set(nearest_row.tolist())
    assert seen == set(range(5))


def test_sampled_states_are_distinct_and_as_many_as_rho_says():
    assert [sample_states(jax.random.key(0), 100, rho).shape[0] for rho in (0.29, 0.5, 1.0, 1e-4)] == [29, 50, 100, 1]
    assert sample_states(jax.random.key(0), 7, 0.5).shape == (3,)
    drawn = sample_states(jax.random.key(1), 100, 0.5)
    assert len(set(drawn.tolist())) == 50
    assert set(drawn.tolist()) != set(sample_states(jax.random.key(2), 100, 0.5).tolist())


def test_averages_over_sampled_states_and_over_the_batch(make_network, make_inputs):
    network, inputs, key = make_network(), make_inputs(states=8), jax.random.key(5)
    compiled = jax.jit(sampled_penalty, static_argnums=3)
    sampled = compiled(network, inputs, key, PenaltyConfig(rho=0.25))
    batch = compiled(network, inputs, key, PenaltyConfig(rho=0.25, average="batch"))
    np.testing.assert_allclose(batch.value, 0.25 * sampled.value, rtol=1e-6)
    np.testing.assert_allclose(batch.rows, 0.25 * sampled.rows, rtol=1e-6)


def test_gradient_reaches_the_sampled_states_only(make_network, make_inputs):
    network, inputs = make_network(), make_inputs(states=8)
    config = PenaltyConfig(rho=0.25)
    value = jax.jit(lambda inputs: sampled_penalty(network, inputs, jax.random.key(5), config).value)
    gradient = jax.grad(value)(inputs)
    assert jnp.sum(jnp.any(gradient != 0, 1)) == 2


def test_parts_of_the_input_stand_side_by_side(make_network, make_inputs):
    network, inputs, config = make_network(), make_inputs(states=8), PenaltyConfig(rho=0.5, estimator="joint")
    penalty = jax.jit(lambda inputs: sampled_penalty(network, inputs, jax.random.key(6), config).value)
    np.testing.assert_allclose(penalty((inputs[:, :4], inputs[:, 4:])), penalty(inputs), rtol=1e-6)


@pytest.mark.parametrize("estimator, form", [("rows", "fast"), ("rows", "general"), ("joint", "fast")])
def test_half_precision_is_computed_in_float32(make_network, make_inputs, estimator, form):
    network, inputs, key = make_network(dtype="bfloat16"), make_inputs(dtype="bfloat16"), jax.random.key(7)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)

    def value(network, inputs):
        # The general form sees a pytree, too: a callable whose parameters the penalty can reach.
        fn = network if form == "fast" else jax.tree_util.Partial(probability_table, network)
        return jacobian_penalty(fn, inputs, key, estimator=estimator).value

    both = jax.jit(jax.value_and_grad(value, argnums=1))
    half, gradient = both(network, inputs)
    full, expected = both(wide, inputs.astype(jnp.float32))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, rtol=1e-6)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32), expected, rtol=1e-2, atol=1e-4)


def test_fast_path_never_holds_a_gradient_of_the_inputs_width(make_network, make_inputs):
    """No array of the value or of its gradient is as large as one input-sized gradient per state and row."""
    network, inputs = make_network(inputs=40, hidden=8), make_inputs(states=10, inputs=40)
    probes = signs(8, 10, 3, 4)

    def largest(form):
        def value(network, inputs):
            return row_energies(as_form(network, form), inputs, probes).mean()

        return max(sizes(jax.make_jaxpr(jax.value_and_grad(value, argnums=(0, 1)))(network, inputs).jaxpr))

    assert largest("general") >= 10 * 3 * 40
    assert largest("fast") < 10 * 3 * 40


def sizes(jaxpr):
    """The size of every array that a jaxpr makes, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"estimator": "row"}, "did you mean rows"),
        ({"rows": 2, "row_choice": "frist"}, "did you mean first"),
        ({"rows": 0}, "from 1 to 3"),
        ({"rows": 4}, "from 1 to 3"),
    ],
)
def test_bad_options_are_refused(make_network, make_inputs, options, word):
    with pytest.raises(UserError, match=word):
        jacobian_penalty(make_network(), make_inputs(), jax.random.key(0), **options)


def test_a_map_that_gives_no_table_is_refused(make_inputs):
    with pytest.raises(UserError, match="rows, classes"):
        jacobian_penalty(lambda x: x, make_inputs(), jax.random.key(0))
    with pytest.raises(UserError, match="at least one state"):
        jacobian_penalty(lambda x: x[None], make_inputs(states=0), jax.random.key(0))
