"""The operator on distributions of quadratics against the agent's target, and what the study finds of its factor."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sobolev.agents.dsdpg.target import backup
from sobolev.errors import UserError
from sobolev.experiments.contraction import experiment, figures
from sobolev.experiments.contraction import sobolev_operator as study
from tests import tiny
from tests.experiments import drawn

SMALL = experiment.ContractionConfig(products=(0.7, 1.5), pairs=2, systems=1, iterations=1)


def test_the_operator_is_the_agents_target():
    """All functions of the new distribution, at one place: reward and next state by `backup`, for every noise."""
    with jax.enable_x64(True), tiny.quickly():
        system = study.tight_system(1.2, 0.7)
        apply, at = jax.jit(study.operator), jax.jit(study.Quadratics.at)
        before = apply(system, study.random_quadratics(jax.random.key(0)))
        x = jnp.array([0.3, -0.2, 0.5])
        new = at(apply(system, before), x)

        @jax.jit
        def wanted(c, g, sign):
            def value(s, a, xi):
                x = jnp.concatenate([s, a])
                return c + g @ x + x @ before.curve @ x / 2

            noises = (jnp.full(2, sign), jnp.zeros(1), jnp.zeros(1))
            return backup(system.model, system.policy, value, x[:2], x[2:], noises, 0.7)

        each = [wanted(c, g, sign) for c, g in zip(before.offset, before.slope, strict=True) for sign in (1.0, -1.0)]
        np.testing.assert_allclose(new[:, jnp.array([0, 3])], jnp.stack(each), rtol=1e-10)
        # The state gradient, which the target of the agent leaves out, by differences of the function.
        step = jnp.array([1e-6, 0.0, 0.0])
        numeric = (at(apply(system, before), x + step)[:, 0] - at(apply(system, before), x - step)[:, 0]) / 2e-6
        np.testing.assert_allclose(new[:, 1], numeric, rtol=1e-6, atol=1e-8)


def test_systems_have_the_product_that_was_asked_for():
    for product in (0.8, 1.5):
        for system in (study.tight_system(product, 0.7), study.random_system(product, 0.7, np.random.default_rng(0))):
            assert 0.7 * system.kappa == pytest.approx(product, rel=1e-5)
            norm = np.linalg.norm(np.asarray(study.onward(system)), 2)
            assert norm <= system.kappa * (1 + 1e-5)
    assert np.linalg.norm(np.asarray(study.onward(study.tight_system(1.5, 0.7))), 2) == pytest.approx(
        1.5 / 0.7, rel=1e-5
    )
    assert 0.7 * study.tight_system(0.5, 0.7).kappa == pytest.approx(0.7)


def test_scaling_two_samples_scales_mmd_by_no_more():
    """MMD²(cX, cY) ≤ c MMD²(X, Y) for c ≤ 1, the step from which the modulus √(γκ) follows; not so for a Gaussian."""
    from functools import partial

    from sobolev.agents.dsdpg.mmd import mmd_squared, multiquadric

    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for h in (1.0, 10.0, 100.0):
            for _ in range(20):
                x, y = (jnp.asarray(rng.normal(rng.normal(), rng.uniform(0.1, 3), (8, 1))) for _ in range(2))
                between = partial(mmd_squared, kernel=partial(multiquadric, bandwidth=h), unbiased=False)
                for c in (0.1, 0.5, 0.9):
                    assert float(between(c * x, c * y)) <= c * float(between(x, y)) * (1 + 1e-9)
        gauss = partial(mmd_squared, kernel=lambda squared: jnp.exp(-squared), unbiased=False)
        x, y = jnp.array([[0.0], [10.0]]), jnp.array([[4.0], [6.0]])
        assert float(gauss(0.1 * x, 0.1 * y)) != pytest.approx(0.1 * float(gauss(x, y)), rel=0.1)


@pytest.fixture(scope="module")
def record():
    with tiny.quickly():
        return experiment.run(SMALL, print)["contraction"]


def test_the_factor_keeps_the_bound_and_reaches_it(record):
    for system in record["systems"]:
        assert 0.1 < system["factor"] <= system["bound"] * (1 + 1e-6), system
    tight = {round(s["asked"], 2): s for s in record["systems"] if s["kind"] == "tight"}
    assert tight[0.7]["factor"] < 1 < tight[1.5]["factor"]
    assert tight[1.5]["factor"] > 0.9 * tight[1.5]["bound"]
    for iterate in record["iterates"]:
        assert all(d <= b * (1 + 1e-6) for d, b in zip(iterate["distances"], iterate["bounds"], strict=True))


def test_the_summary_counts_systems(record):
    assert json.loads(json.dumps(record)) == record
    shares = [s["factor"] / s["bound"] for s in record["systems"] if s["kind"] == "tight"]
    above = sum(s["factor"] > 1 for s in record["systems"] if s["asked"] == 1.5)
    first, second, _ = experiment.summary(SMALL, {"contraction": record})
    assert "within the bound on 4 of 4 systems" in first
    assert first.endswith(f"reaches {100 * min(shares):.0f}% to {100 * max(shares):.0f}% of it")
    assert second == f"on {above} of 2 systems with γκ above 1 the operator is not a contraction" and above >= 1
    beyond = [s | {"factor": 1.1 * s["bound"], "plain_mmd_factor": 1.5 * s["bound"]} for s in record["systems"]]
    first, _, third = experiment.summary(SMALL, {"contraction": {"systems": beyond}})
    assert "on 0 of 4 systems" in first and third == "plain MMD exceeds the bound on 4 systems, by 50% at most"


def test_the_figure_shows_every_factor_and_distance(record):
    left, right = figures.draw(record, "note").axes
    lines = {line.get_label(): line for line in left.lines}
    for kind, title in (("random", "random systems"), ("tight", "tight system")):
        own = [s for s in record["systems"] if s["kind"] == kind]
        for label, number in ((f"MSMMD, {title}", "factor"), (f"plain MMD, {title}", "plain_mmd_factor")):
            np.testing.assert_array_equal(drawn.x(lines[label]), [s["product"] for s in own])
            np.testing.assert_array_equal(drawn.y(lines[label]), [s[number] for s in own])
    bound = lines["bound √(γκ)"]
    np.testing.assert_allclose(np.square(drawn.y(bound)), drawn.x(bound))
    curves = [list(drawn.y(line)) for line in right.lines]
    for iterate in record["iterates"]:
        assert iterate["distances"] in curves and iterate["bounds"] in curves


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"discount": 1.0}, "--discount"),
        ({"products": ()}, "--products"),
        ({"pairs": 0}, "--pairs is 0"),
        ({"iterations": 12}, "--iterations is 12"),
        ({"bandwidth": 0.0}, "--bandwidth"),
    ],
)
def test_mistakes(wrong, message):
    with pytest.raises(UserError, match=message):
        experiment.check(replace(SMALL, **wrong))
