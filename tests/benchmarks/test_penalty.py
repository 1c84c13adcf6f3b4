"""The benchmark of the penalty, on an agent of a few units: what it times, which programs it shares, and its tables."""

from dataclasses import replace
from types import ModuleType

import pytest

from tests import tiny
from tests.benchmarks.scripts import load


@pytest.fixture(scope="module")
def penalty() -> ModuleType:
    return load("penalty")


@pytest.mark.long
def test_pairs_are_timed_and_lambda_is_no_new_program(penalty: ModuleType) -> None:
    cases = (penalty.Case(0.5, 0, 0.5), penalty.Case(0.25, 0, 0.5))
    config = replace(tiny.config().agent, batch_length=2)
    said: list[str] = []
    with tiny.quickly():
        records = penalty.measure(config, cases, 2, said.append)
    assert said == ["2 programs compiled", "1 of 2 pairs", "2 of 2 pairs"]
    for case, record in zip(cases, records, strict=True):
        assert (record["lambda_post"], record["pairs"], record["estimator"]) == (case.posterior, 2, "rows")
        assert record["interval"][0] <= record["ratio"] <= record["interval"][1]
        assert record["alone"] > 0 and record["memory"] > 0.5 and record["seconds"] > 0


def test_lambda_is_the_one_of_the_case(penalty: ModuleType) -> None:
    import jax.numpy as jnp

    from sobolev.smoothness import coefficient

    for case in (*penalty.CASES, penalty.Case(0, 0.25, 1.0)):
        config = case.config(tiny.config().agent).penalty
        assert (config.posterior > 0, config.prior > 0) == (case.posterior > 0, case.prior > 0)
        found = coefficient(config, 1.0, jnp.asarray(round(case.coefficient * penalty.SCALE)))
        assert float(found) == pytest.approx(case.coefficient)


def test_table_beside_the_published_one(penalty: ModuleType) -> None:
    theirs = penalty.published()
    assert len(theirs) == 12
    # one lambda for both tables: that is what lets settings share programs
    assert all(row["lambda_post"] in (0, row["lambda_prior"]) or row["lambda_prior"] == 0 for row in theirs)
    record = {"rho": 0.25, "lambda_post": 0, "lambda_prior": 0.5, "case": "prior", "ratio": 1.02}
    record |= {"interval": [1.01, 1.03], "alone": 0.015, "memory": 1.001}
    shown = penalty.markdown([record], theirs[:1]).splitlines()
    assert shown[2] == "| 0.25 | 0 | 0.5 | 1.020 [1.010, 1.030] | 0.015 | 1.001 | 1.01 ± 0.022 |"
    assert shown[1].count("|") == shown[0].count("|") == shown[2].count("|")
    assert penalty.markdown([record]).splitlines()[2] == "| prior | 1.020 [1.010, 1.030] | 0.015 | 1.001 |"
