"""The smoothing estimator of finite MDPs against hand calculations and a general convex solver."""

import numpy as np
import pytest
from scipy.optimize import minimize

from sobolev.errors import UserError
from sobolev.smoothness import tabular


def objective(transitions, counts, embedding, epsilon, strength):
    """Minus the log-likelihood plus strength × equation (1), written out."""
    likelihood = np.sum(np.where(counts > 0, counts * np.log(np.maximum(transitions, 1e-300)), 0))
    distances = np.linalg.norm(embedding[:, None] - embedding[None], axis=-1)
    near = (distances <= epsilon) & ~np.eye(len(embedding), dtype=bool)
    squares = np.square(transitions[:, None] - transitions[None]).sum((-2, -1))
    return strength * np.sum(squares[near] / np.square(distances[near])) - likelihood


def test_the_laplacian_is_the_double_sum_of_equation_1():
    rng = np.random.default_rng(0)
    embedding, transitions = rng.uniform(size=(6, 2)), rng.dirichlet(np.ones(6), size=(6, 3))
    expected = 0.0
    for action in range(3):
        for s in range(6):
            for k in range(6):
                distance = np.linalg.norm(embedding[k] - embedding[s])
                if k != s and distance <= 0.5:
                    expected += np.sum(np.square((transitions[k, action] - transitions[s, action]) / distance))
    form = 2 * np.einsum("sat,sk,kat->", transitions, tabular.laplacian(embedding, 0.5), transitions)
    np.testing.assert_allclose(form, expected)
    np.testing.assert_allclose(objective(transitions, np.zeros((6, 3, 6)), embedding, 0.5, 1.0), expected)
    assert expected > 0


def test_no_smoothing_gives_frequencies_and_uniform_where_nothing_was_seen():
    counts = np.array([[[3.0, 1.0]], [[0.0, 0.0]]])
    found = tabular.estimate(counts, np.array([[0.0], [1.0]]), 0.5, 1.0, tolerance=1e-12)
    np.testing.assert_allclose(found[:, 0], [[0.75, 0.25], [0.5, 0.5]], atol=1e-5)
    alone = tabular.estimate(counts, np.array([[0.0], [1.0]]), 2.0, 0.0, tolerance=1e-12)
    np.testing.assert_allclose(alone, found, atol=1e-5)


def test_strong_smoothing_pools_the_counts():
    counts = np.array([[[3.0, 1.0]], [[0.0, 6.0]]])
    found = tabular.estimate(counts, np.array([[0.0], [1.0]]), 2.0, 1e7)
    np.testing.assert_allclose(found[:, 0], [[0.3, 0.7]] * 2, atol=1e-4)


@pytest.mark.parametrize("seed, strength", [(0, 0.01), (1, 0.3), (2, 3.0), (3, 30.0)])
def test_against_a_general_convex_solver(seed, strength):
    rng = np.random.default_rng(seed)
    states, epsilon = 4, 0.8
    embedding = rng.uniform(size=(states, 2))
    counts = rng.poisson(1.5, (states, 1, states)).astype(float)

    def value(flat):
        return objective(flat.reshape(counts.shape), counts, embedding, epsilon, strength)

    def slope(flat):
        law = flat.reshape(counts.shape)
        smooth = np.einsum("sk,kat->sat", tabular.laplacian(embedding, epsilon), law)
        return (4 * strength * smooth - counts / law).ravel()

    rows = {"type": "eq", "fun": lambda flat: flat.reshape(counts.shape).sum(-1).ravel() - 1}
    start = np.full(counts.size, 1 / states)
    options = {"maxiter": 1000, "ftol": 1e-13}
    bounds = [(1e-12, 1.0)] * counts.size
    reference = minimize(value, start, jac=slope, bounds=bounds, constraints=rows, method="SLSQP", options=options)
    found = tabular.estimate(counts, embedding, epsilon, strength, tolerance=1e-10)
    assert reference.success
    assert value(found.ravel()) <= reference.fun + 1e-7
    assert value(found.ravel()) >= reference.fun - 1e-5 * abs(reference.fun)
    np.testing.assert_allclose(found.ravel(), reference.x, atol=2e-3)


@pytest.mark.parametrize("strength", [1e-4, 0.1, 100.0])
def test_answer_is_a_law_and_close_to_the_minimum(strength):
    """No other law that was tried is below the objective by more than the tolerance."""
    rng = np.random.default_rng(4)
    mdp = tabular.grid_mdp(12, 1, 2, rng)
    counts = tabular.sample_counts(mdp, 200, rng)
    found, tolerance = tabular.estimate(counts, mdp.embedding, 0.2, strength), 1e-8 * 200
    np.testing.assert_allclose(found.sum(-1), 1)
    assert (found > 0).all()
    best = objective(found, counts, mdp.embedding, 0.2, strength)
    for size in (1e-2, 1e-4, 1e-6):
        for _ in range(20):
            other = (1 - size) * found + size * rng.dirichlet(np.full(12, 0.3), size=(12, 2))
            assert objective(other, counts, mdp.embedding, 0.2, strength) >= best - tolerance - 1e-12 * abs(best)


def test_sampled_counts():
    mdp = tabular.grid_mdp(5, 2, 3, np.random.default_rng(5))
    counts = tabular.sample_counts(mdp, 400_000, np.random.default_rng(6))
    assert counts.shape == (25, 3, 25) and counts.sum() == 400_000
    np.testing.assert_allclose(mdp.transitions.sum(-1), 1)
    assert tabular.state_errors(counts / counts.sum(-1, keepdims=True), mdp.transitions).mean() < 0.05


def test_smoothing_wins_on_a_smooth_law_with_few_transitions_and_loses_over_a_jump_with_many():
    smooth = tabular.grid_mdp(20, 1, 1, np.random.default_rng(7))
    errors = np.mean([tabular.error_curve(smooth, [100], [0.0, 0.03], [0.11], seed).mean(-1) for seed in range(3)], 0)
    assert errors[0, 1, 0] < 0.6 * errors[0, 0, 0]
    broken = tabular.grid_mdp(20, 1, 1, np.random.default_rng(7), jump=0.5)
    errors = np.mean([tabular.error_curve(broken, [20_000], [0.0, 3.0], [0.11], seed).mean(-1) for seed in range(3)], 0)
    assert errors[0, 1, 0] > 1.2 * errors[0, 0, 0]


def test_jump_breaks_the_law_at_the_middle_only():
    laws = [tabular.grid_mdp(20, 1, 1, np.random.default_rng(7), jump=jump).transitions[:, 0] for jump in (0.0, 0.5)]
    steps = [np.abs(np.diff(law, axis=0)).sum(1) for law in laws]
    assert steps[1].argmax() == 9 and steps[1][9] > 3 * steps[0].max()
    np.testing.assert_allclose(laws[0][:10], laws[1][:10])


def test_bad_input_is_refused():
    counts = np.ones((2, 1, 2))
    with pytest.raises(UserError, match="at least 0"):
        tabular.estimate(counts, np.array([[0.0], [1.0]]), 1.0, -1.0)
    with pytest.raises(UserError, match="at least 0"):
        tabular.estimate(-counts, np.array([[0.0], [1.0]]), 1.0, 1.0)
    with pytest.raises(UserError, match="distinct"):
        tabular.estimate(counts, np.zeros((2, 1)), 1.0, 1.0)


@pytest.mark.parametrize("strength", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("number", [0, 1, 50, 10**7])
def test_sparse_counts_and_strong_smoothing_are_solved(number, strength):
    """Laws with hardly any counts have multipliers near 0 beside probabilities near 0: the hard case for the solver."""
    mdp = tabular.grid_mdp(15, 1, 1, np.random.default_rng(8), jump=0.5)
    counts = tabular.sample_counts(mdp, number, np.random.default_rng(9))
    found = tabular.estimate(counts, mdp.embedding, 0.3, strength)
    tolerance = 1e-8 * max(1, number) + 5e-6  # and rounding
    pooled = np.repeat((counts.sum(0) + 1e-9) / (number + 15e-9), 15, 0).reshape(counts.shape)
    for other in (pooled, mdp.transitions, np.full(counts.shape, 1 / 15)):
        best = objective(found, counts, mdp.embedding, 0.3, strength)
        assert best <= objective(other, counts, mdp.embedding, 0.3, strength) + tolerance
