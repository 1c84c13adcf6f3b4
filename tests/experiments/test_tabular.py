"""The study of Section 3.1: its numbers on small sizes, its figures, and the orders of equations (3) and (4)."""

import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.experiments.api import Record
from sobolev.experiments.tabular import estimates, figures, identities
from sobolev.experiments.tabular.estimates import TabularConfig
from sobolev.experiments.tabular.experiment import check
from sobolev.smoothness import tabular as estimator
from tests.experiments import drawn

SMALL = TabularConfig(
    seeds=(0, 1, 2), side=12, plane=3, actions=1, numbers=(50, 2000), lambdas=(0.03, 3.0), epsilons=(1.0, 3.0)
)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return estimates.measure(SMALL, lambda line: None)


@pytest.fixture(scope="module")
def both() -> Record:
    return identities.measure()


def test_every_record_has_every_number(records: list[Record]) -> None:
    assert [record["states"] for record in records] == [12, 9, 12, 12]
    for record in records:
        assert np.array(record["errors"]).shape == (3, 2, 3, 2)
        np.testing.assert_allclose(record["epsilons"], 1.001 * np.array([1, 3]) / (2 if record["states"] == 9 else 11))
        assert record["lambdas"] == [0, 0.03, 3]


def test_summary_by_hand() -> None:
    errors = np.array([[0.5, 0.3], [0.7, 0.4], [0.3, 0.2]]).reshape(3, 1, 2, 1)
    found = estimates.summarised(errors)
    half = 1.959964 * np.array([0.2, 0.1]) / np.sqrt(3)
    np.testing.assert_allclose(np.ravel(found["mean"]), [0.5, 0.3], atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["interval"]), half, atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["difference"]), [0, -0.2], atol=1e-6)
    np.testing.assert_allclose(np.ravel(found["difference_interval"]), [0, half[1]], atol=1e-6)
    assert estimates.gains(found).ravel().tolist() == [False, True]
    assert not estimates.losses(found).any()


def test_errors_are_those_of_the_estimator(records: list[Record]) -> None:
    """The second dataset size is reached by one growing dataset, so that the first is checked."""
    record, seed = records[2], 1
    mdp = estimator.grid_mdp(12, 1, 1, np.random.default_rng([seed, 1]), width=0.1, jump=0.5)
    counts = estimator.sample_counts(mdp, 50, np.random.default_rng(seed))
    found = estimator.estimate(counts, mdp.embedding, record["epsilons"][1], 0.03, tolerance=1e-6)
    np.testing.assert_allclose(
        record["errors"][seed][0][1][1], estimator.state_errors(found, mdp.transitions).mean(), atol=1e-5
    )


def test_smoothing_gains_with_little_data_and_loses_beside_the_jump(records: list[Record]) -> None:
    smooth, jump, beside = records[0], records[2], records[3]
    assert estimates.gains(smooth)[0, 1].all()
    assert estimates.losses(beside)[1, 2].all()
    assert np.array(beside["difference"])[1, 2, 1] > np.array(jump["difference"])[1, 2, 1] > 0
    assert beside["title"] == "the 4 states beside the jump"
    sentences = estimates.sentences(records)
    assert [text.partition(": ")[0] for text in sentences] == [record["title"] for record in records]


def test_sentences_say_where_smoothing_gains_and_loses_most() -> None:
    """Three seeds with nearly the same differences to λ = 0 (0.5): −0.2 and +0.1 at the two settings."""
    spread = np.array([-0.01, 0.0, 0.01])[:, None]
    errors = 0.5 + np.concatenate([0 * spread, -0.2 + spread, 0.1 + spread], 1).reshape(3, 1, 3, 1)
    record = estimates.summarised(errors)
    record |= {"title": "MDPs", "numbers": [50], "lambdas": [0.0, 0.03, 3.0], "spacings": [2.0]}
    assert estimates.sentences([record]) == [
        "MDPs: smoothing is better at 1 of 2 settings, most 0.300 against 0.500 (lambda 0.03, radius 2, 50 "
        "transitions); worse at 1, most 0.600 against 0.500 (lambda 3, radius 2, 50 transitions)"
    ]
    better = estimates.summarised(errors[:, :, :2])
    assert estimates.sentences([record | better])[0].endswith("; worse at none")


@pytest.mark.long
def test_orders_of_the_identities(both: Record) -> None:
    np.testing.assert_allclose(both["difference_orders"], 1, atol=0.05)
    assert both["isotropic_order"] == pytest.approx(-0.5, abs=0.05)
    # 512 draws give a root mean square to within some 4%
    np.testing.assert_allclose(both["isotropic"], both["isotropic_predicted"], rtol=0.15)
    text = "\n".join(identities.sentences(both))
    assert f"order {np.mean(both['difference_orders']):.3f} in h" in text
    assert f"order {both['isotropic_order']:.3f} in the number" in text


def test_predicted_deviation_in_two_dimensions() -> None:
    """J = diag(1, 0): ||Ju||^2 = cos^2, of variance 3/8 - 1/4."""
    np.testing.assert_allclose(identities.predicted_deviation(np.diag([1.0, 0.0])), np.sqrt(1 / 8))
    assert identities.predicted_deviation(np.eye(3)) == pytest.approx(0)


@pytest.mark.long
def test_figures_show_the_records(records: list[Record], both: Record) -> None:
    """Each panel has the mean of every strength, and crosses where it is worse than λ = 0."""
    figure = figures.draw_errors(records, "3 seeds")
    panels = drawn.grid(figure.axes, 2, 4)
    for row, column in np.ndindex(2, 4):
        record, lines = records[column], panels[row, column].lines
        assert len(lines) == 2 * len(record["lambdas"])
        for index in range(3):
            mean, crosses = lines[2 * index], lines[2 * index + 1]
            np.testing.assert_array_equal(drawn.x(mean), record["numbers"])
            np.testing.assert_array_equal(drawn.y(mean), np.array(record["mean"])[:, index, row])
            worse = estimates.losses(record)[:, index, row]
            np.testing.assert_array_equal(drawn.x(crosses), np.array(record["numbers"])[worse])
    assert [ax.get_title() for ax in panels[0]] == [record["title"] for record in records]
    assert estimates.losses(records[3]).any()
    left, right = figures.draw_identities(both).axes
    np.testing.assert_array_equal(drawn.y(left.lines[0]), both["difference"][0])
    np.testing.assert_array_equal(drawn.y(right.lines[0]), both["isotropic"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": (0,)}, "two different seeds"),
        ({"seeds": (0, -1)}, "two different seeds"),
        ({"seeds": (0, 1, 1)}, "none twice"),
        ({"side": 3}, "--side is 3"),
        ({"plane": 1}, "--plane is 1"),
        ({"actions": 0}, "--actions is 0"),
        ({"numbers": (10, 10)}, "--numbers must increase"),
        ({"numbers": (0, 10)}, "--numbers must increase"),
        ({"lambdas": (0.0,)}, "--lambdas is 0.0, but must be above 0"),
        ({"epsilons": (float("nan"),)}, "--epsilons is nan, but must be above 0"),
        ({"lambdas": ()}, "--lambdas needs one value at least"),
    ],
)
def test_impossible_sizes_are_refused(values: Record, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(TabularConfig(**values))
