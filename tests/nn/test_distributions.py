"""Distributions against calculations by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.nn import (
    BoundedNormal,
    TwoHot,
    bernoulli_loss,
    entropy,
    kl_divergence,
    probabilities,
    sample_one_hot,
    symexp,
    symlog,
)
from tests.nn.two_hot import cross_entropy, target


def test_symlog_and_its_inverse():
    x = jnp.array([-1000.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 1000.0])
    np.testing.assert_allclose(symlog(x), np.sign(x) * np.log1p(np.abs(x)), rtol=1e-6)
    np.testing.assert_allclose(symexp(symlog(x)), x, rtol=1e-5)
    assert (symlog(x) == -symlog(-x)).all()


def test_probabilities_have_the_uniform_mixture():
    table = probabilities(jnp.log(jnp.array([[1.0, 3.0], [1.0, 1.0]])), 0.01)
    np.testing.assert_allclose(table, [[0.99 / 4 + 0.005, 0.99 * 3 / 4 + 0.005], [0.5, 0.5]], rtol=1e-6)
    assert probabilities(jnp.array([[1e4, 0.0, 0.0, 0.0]]), 0.01).min() == pytest.approx(0.0025)


def test_kl_and_entropy_add_up_over_rows():
    p, q = jnp.array([[0.5, 0.5], [0.9, 0.1]]), jnp.array([[0.25, 0.75], [0.9, 0.1]])
    assert float(kl_divergence(p, q)) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), rel=1e-5)
    assert float(entropy(p)) == pytest.approx(np.log(2) - 0.9 * np.log(0.9) - 0.1 * np.log(0.1), rel=1e-5)


def test_samples_follow_the_table():
    """Chi-square over all 5 classes of 4 rows, 200,000 draws: passes in all but 1 of 10,000 keys, were there chance."""
    from scipy.stats import chi2

    rows, classes, draws = 4, 5, 200_000
    table = probabilities(2 * jax.random.normal(jax.random.key(0), (rows, classes)), 0.01)
    uniform = jax.random.uniform(jax.random.key(1), (draws, rows))
    index = np.asarray(jax.jit(jax.vmap(lambda u: sample_one_hot(table, u)[1]))(uniform))
    counts = np.stack([np.bincount(index[:, row], minlength=classes) for row in range(rows)])
    expected = draws * np.asarray(table, np.float64)
    assert np.sum((counts - expected) ** 2 / expected) < chi2.ppf(1 - 1e-4, rows * (classes - 1))
    together = np.corrcoef(index, rowvar=False)[~np.eye(rows, dtype=bool)]
    assert np.abs(together).max() < 5 / np.sqrt(draws)


def test_samples_invert_the_distribution_function():
    table = jnp.array([[0.25, 0.5, 0.25]])
    for uniform, wanted in ((0.0, 0), (0.24, 0), (0.25, 1), (0.74, 1), (0.75, 2), (np.nextafter(1, 0, dtype="f"), 2)):
        sample, index = sample_one_hot(table, jnp.array([uniform], jnp.float32))
        assert index.tolist() == [wanted]
        np.testing.assert_array_equal(sample, np.eye(3)[[wanted]])


def test_gradients_pass_a_sample_as_if_it_were_the_table():
    weight = jnp.array([[1.0, -2.0, 3.0]])
    uniform, table = jnp.array([0.3]), jnp.array([[0.2, 0.2, 0.6]])
    gradient = jax.grad(lambda table: jnp.sum(sample_one_hot(table, uniform)[0] * weight))(table)
    np.testing.assert_array_equal(gradient, weight)


@pytest.mark.parametrize(("logit", "target"), [(0.3, 0.0), (0.3, 1.0), (-2.0, 0.997), (80.0, 0.0), (-80.0, 1.0)])
def test_bernoulli_loss(logit, target):
    p = 1 / (1 + np.exp(-np.float64(logit)))
    q = 1 / (1 + np.exp(np.float64(logit)))
    wanted = -(target * np.log(p) + (1 - target) * np.log(q))
    assert float(bernoulli_loss(jnp.float32(logit), jnp.float32(target))) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("bins", [255, 41, 40, 3])
def test_bins_are_symmetric(bins):
    points = np.asarray(TwoHot(bins).points())
    np.testing.assert_array_equal(points, -points[::-1])
    np.testing.assert_allclose(np.sign(points) * np.log1p(np.abs(points)), np.linspace(-20, 20, bins), atol=1e-5)
    assert (points == 0).sum() == bins % 2
    assert (np.diff(points) > 0).all()


@pytest.mark.parametrize("bins", [255, 41, 40])
def test_uniform_probabilities_mean_exactly_zero(bins):
    assert float(TwoHot(bins).mean(jnp.zeros(bins))) == 0
    assert float(jax.jit(TwoHot(bins).mean)(jnp.full(bins, 3.7))) == 0


@pytest.mark.parametrize("bins", [255, 40])
@pytest.mark.parametrize("value", [-1e9, -123.4, -0.3, 0.0, 1e-3, 0.5, 1.0, 17.0, 5e4, 1e9])
def test_two_hot_targets(bins, value):
    """Weight on at most two neighbours, one in sum, with the value as mean; the end bin beyond the ends."""
    head = TwoHot(bins)
    found, points = np.asarray(target(head, jnp.float32(value)), np.float64), np.asarray(head.points(), np.float64)
    assert found.sum() == pytest.approx(1, abs=1e-6) and (found >= 0).all()
    used = np.flatnonzero(found)
    assert len(used) <= 2 and used.max() - used.min() <= 1
    inside = np.clip(np.float32(value), points[0], points[-1])
    spacing = 0.2 * (1 + abs(inside))
    np.testing.assert_allclose(found @ points, inside, atol=float(1e-5 * spacing + 1e-6 * abs(inside)))


def test_two_hot_by_hand():
    """Three bins at -exp(20) + 1, 0 and exp(20) - 1."""
    head, end = TwoHot(3), np.expm1(20)
    np.testing.assert_allclose(target(head, jnp.float32(0.25 * end)), [0, 0.75, 0.25], rtol=1e-5)
    logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    assert float(head.mean(logits)) == pytest.approx(0.1 * end, rel=1e-5)
    loss = cross_entropy(logits, target(head, jnp.float32(0.25 * end)))
    assert float(loss) == pytest.approx(-0.75 * np.log(0.5) - 0.25 * np.log(0.3), rel=1e-5)


def test_bounded_normal_by_hand():
    policy = BoundedNormal.init(jnp.array([0.5, -3.0]), jnp.array([0.0, -50.0]), 0.1, 1.0)
    std = np.array([0.9 / (1 + np.exp(-2)) + 0.1, 0.1])
    np.testing.assert_allclose(policy.mean, np.tanh([0.5, -3.0]), rtol=1e-6)
    np.testing.assert_allclose(policy.std, std, rtol=1e-6)
    action = np.array([1.5, -0.9])
    z = (action - np.tanh([0.5, -3.0])) / std
    wanted = np.sum(-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi))
    assert float(policy.log_prob(jnp.asarray(action, jnp.float32))) == pytest.approx(wanted, rel=1e-4)
    assert float(policy.entropy()) == pytest.approx(np.sum(np.log(std) + 0.5 * np.log(2 * np.pi * np.e)), rel=1e-5)


def test_bounded_normal_samples():
    """Mean and spread of 100,000 draws within five standard errors; draws leave [-1, 1]."""
    policy = BoundedNormal.init(jnp.array([0.5, -3.0]), jnp.array([0.0, 1.0]), 0.1, 1.0)
    draws = np.asarray(jax.vmap(policy.sample)(jax.random.split(jax.random.key(0), 100_000)))
    error = np.asarray(policy.std) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - policy.mean) < 5 * error).all()
    assert (np.abs(draws.std(0) - policy.std) < 5 * error).all()
    assert draws.max() > 1 and draws.min() < -1


def around(points: np.ndarray) -> np.ndarray:
    """Values at, just below, just above and beside all of these, and far beyond them."""
    near = [np.nextafter(points, np.float32(side)) for side in (-np.inf, np.inf)]
    beyond = np.array([-1e30, -6e8, 0.0, 1e-30, -1e-30, 6e8, 1e30, np.inf, -np.inf], np.float32)
    random = np.random.default_rng(0).normal(size=2000) * np.geomspace(1e-6, 1e8, 2000)
    values = np.concatenate([points, *near, beyond, random]).astype(np.float32)
    return values[(values == 0) | (np.abs(values) > 1e-37)]  # smaller ones are zero to XLA


@pytest.mark.parametrize("bins", [3, 40, 41, 255])
def test_the_bins_around_a_value_are_found_as_by_comparing_all_of_them(bins):
    head = TwoHot(bins)
    points = np.asarray(head.points())
    values = around(points)
    number = (points <= values[:, None]).sum(-1)
    below, above, share = jax.jit(jax.vmap(head.near))(jnp.asarray(values))
    np.testing.assert_array_equal(below, np.clip(number - 1, 0, bins - 1))
    np.testing.assert_array_equal(above, np.clip(number, 0, bins - 1))
    inside = (values >= points[0]) & (values <= points[-1])
    assert ((np.asarray(share) >= 0) & (np.asarray(share) <= 1))[inside].all()


def test_a_value_that_is_not_a_number_makes_the_loss_one_too():
    head = TwoHot(41)
    assert np.isnan(head.loss_to(jnp.zeros(41), jnp.float32(np.nan)))


def test_loss_to_values_is_the_loss_to_their_targets():
    head, logits = TwoHot(41), jax.random.normal(jax.random.key(0), (5, 41))
    values = jnp.array([[2.0, -3.0], [0.0, 1e9], [1e3, 1e-3], [-7.0, -7.0], [0.3, 0.1]])

    def made(logits, a, b):
        return cross_entropy(logits, target(head, a) + 0.3 * target(head, b))

    def read(logits, a, b):
        return head.loss_to(logits, a, b, weights=(1.0, 0.3))

    results = []
    for loss in (made, read):
        functions = (loss, jax.grad(loss), lambda x, a, b, loss=loss: jax.hessian(loss)(x, a, b))
        results.append([jax.jit(jax.vmap(function))(logits, *values.T) for function in functions])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_values_are_targets_and_are_not_trained():
    assert jax.grad(lambda value: TwoHot(5).loss_to(jnp.arange(5.0), value))(jnp.float32(2.0)) == 0
