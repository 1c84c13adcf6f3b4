"""The study of Section 3.1: its numbers on small sizes, its pictures, and the orders of equations (3) and (4)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.experiments.tabular import experiment, figures, identities
from sobolev.experiments.tabular.experiment import TabularConfig
from sobolev.plotting import output_files
from sobolev.smoothness import tabular as estimator

SMALL = TabularConfig(
    seeds=(0, 1, 2), side=12, plane=3, actions=1, numbers=(50, 2000), lambdas=(0.03, 3.0), epsilons=(1.0, 3.0)
)


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return experiment.run(SMALL, say=lambda line: None)


@pytest.fixture(scope="module")
def both() -> dict[str, Any]:
    return identities.run()


def test_every_record_has_every_number(records: list[dict[str, Any]]) -> None:
    assert [record["states"] for record in records] == [12, 9, 12, 12]
    for record in records:
        assert np.array(record["errors"]).shape == (3, 2, 3, 2)
        np.testing.assert_allclose(record["epsilons"], 1.001 * np.array([1, 3]) / (2 if record["states"] == 9 else 11))
        assert record["lambdas"] == [0, 0.03, 3]


def test_summary_by_hand() -> None:
    errors = np.array([[0.5, 0.3], [0.7, 0.4], [0.3, 0.2]]).reshape(3, 1, 2, 1)
    found = experiment.summary(errors)
    half = 1.959964 * np.array([0.2, 0.1]) / np.sqrt(3)
    np.testing.assert_allclose(np.ravel(found["mean"]), [0.5, 0.3], atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["interval"]), half, atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["difference"]), [0, -0.2], atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["difference_interval"]), [0, half[1]], atol=1e-6)
    assert experiment.gains(found).ravel().tolist() == [False, True]
    assert not experiment.losses(found).any()


def test_errors_are_those_of_the_estimator(records: list[dict[str, Any]]) -> None:
    """The second dataset size is reached by one growing dataset, so that the first is checked."""
    record, seed = records[2], 1
    mdp = estimator.grid_mdp(12, 1, 1, np.random.default_rng([seed, 1]), width=0.1, jump=0.5)
    counts = estimator.sample_counts(mdp, 50, np.random.default_rng(seed))
    found = estimator.estimate(counts, mdp.embedding, record["epsilons"][1], 0.03, tolerance=1e-6).transitions
    np.testing.assert_allclose(
        record["errors"][seed][0][1][1], estimator.total_variation(found, mdp.transitions), atol=1e-5
    )


def test_smoothing_gains_with_little_data_and_loses_beside_the_jump(records: list[dict[str, Any]]) -> None:
    smooth, jump, beside = records[0], records[2], records[3]
    assert experiment.gains(smooth)[0, 1].all()
    assert experiment.losses(beside)[1, 2].all()
    assert np.array(beside["difference"])[1, 2, 1] > np.array(jump["difference"])[1, 2, 1] > 0
    assert beside["title"] == "the 4 states beside the jump"
    told = experiment.lines(records)
    assert len(told) == 4 and "worse at" in told[3]


def test_orders_of_the_identities(both: dict[str, Any]) -> None:
    np.testing.assert_allclose(both["difference_orders"], 1, atol=0.05)
    assert both["isotropic_order"] == pytest.approx(-0.5, abs=0.05)
    # 512 draws give a root mean square to within some 4%
    np.testing.assert_allclose(both["isotropic"], both["isotropic_predicted"], rtol=0.15)
    assert len(identities.lines(both)) == 2


def test_predicted_deviation_in_two_dimensions() -> None:
    """J = diag(1, 0): ||Ju||^2 = cos^2, of variance 3/8 - 1/4."""
    np.testing.assert_allclose(identities.predicted_deviation(np.diag([1.0, 0.0])), np.sqrt(1 / 8))
    assert identities.predicted_deviation(np.eye(3)) == pytest.approx(0)


def test_pictures_are_drawn(records: list[dict[str, Any]], both: dict[str, Any], tmp_path: Path) -> None:
    figure = figures.draw_errors(records, "3 seeds")
    assert len(figure.axes) == 8 and all(len(ax.lines) == 6 for ax in figure.axes)
    paths = output_files.save(figure, tmp_path / "errors")
    paths += output_files.save(figures.draw_identities(both), tmp_path / "identities")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert paths[0].read_bytes()[:4] == b"\x89PNG" and paths[1].read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": (0,)}, "two different seeds"),
        ({"seeds": (0, -1)}, "two different seeds"),
        ({"side": 3}, "--side is 3"),
        ({"plane": 1}, "--plane is 1"),
        ({"actions": 0}, "--actions is 0"),
        ({"numbers": (10, 10)}, "--numbers must increase"),
        ({"numbers": (0, 10)}, "--numbers must increase"),
        ({"lambdas": (0.0,)}, "--lambdas must be above 0"),
        ({"epsilons": (float("nan"),)}, "--epsilons must be above 0"),
    ],
)
def test_impossible_sizes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment.check(TabularConfig(**values))
