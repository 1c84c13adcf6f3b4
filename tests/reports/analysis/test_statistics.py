"""Statistics over seeds and tasks: rliable's numbers, and what unequal numbers of seeds do to them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sobolev.reports.analysis import statistics
from sobolev.reports.analysis.statistics import (
    Scores,
    bounds,
    distribution,
    interval,
    paired,
    student_interval,
    weighted,
)

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "rliable_oracle.json").read_text())
SCORES = {name: weighted(scores) for name, scores in ORACLE["scores"].items()}
RESAMPLES = 20_000
TOLERANCE = 0.035
"""Of the width of an interval: the end of a 95% percentile interval of a normal statistic has, after B resamples, a
standard error of 0.68 / sqrt(B) of its width; with 20,000 here and 50,000 there, 0.0057 of it: six times that."""


def ends(values: list) -> np.ndarray:
    return np.array(values, float).squeeze()


@pytest.mark.parametrize("over", ["over_seeds", "over_seeds_and_tasks"])
@pytest.mark.parametrize("name", ["mean", "interquartile_mean", "optimality_gap"])
@pytest.mark.parametrize("method", ["a", "b"])
def test_intervals_are_those_of_rliable(method: str, name: str, over: str) -> None:
    value, low, high = ends(ORACLE[over][name][method])
    statistic, over_tasks = getattr(statistics, name), over == "over_seeds_and_tasks"
    found = interval(statistic, SCORES[method], resamples=RESAMPLES, over_tasks=over_tasks)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert [found.low, found.high] == pytest.approx([low, high], abs=TOLERANCE * (high - low))


def test_probability_of_improvement_is_that_of_rliable() -> None:
    """With ties, and with five seeds against seven."""
    value, low, high = ends(ORACLE["probability_of_improvement"])
    found = interval(statistics.probability_of_improvement, SCORES["a"], SCORES["b"], resamples=RESAMPLES)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert [found.low, found.high] == pytest.approx([low, high], abs=TOLERANCE * (high - low))
    other = statistics.probability_of_improvement(SCORES["b"], SCORES["a"])
    assert other == pytest.approx(1 - value, abs=1e-12)


def test_profiles_are_those_of_rliable() -> None:
    """The share above a threshold is a whole number of runs, so an end may be one run off."""
    profile = partial(statistics.profile, thresholds=ORACLE["thresholds"])
    for name, scores in SCORES.items():
        value, low, high = ends(ORACLE["profile"][name])
        assert profile(scores) == pytest.approx(value, abs=1e-12)
        found = bounds(distribution(profile, scores, resamples=RESAMPLES))
        assert np.abs(found - [low, high]).max() < 1 / scores.values.size + 1e-9


def test_unequal_seeds_weigh_every_task_the_same() -> None:
    """A score given twice, in a task of its own with half the weight each, is the score given once."""
    once, twice = weighted([[1.0, 3.0], [2.0]]), weighted([[1.0, 3.0], [2.0, 2.0]])
    assert statistics.mean(once) == statistics.mean(twice) == 2.0
    assert statistics.optimality_gap(once, 2.5) == statistics.optimality_gap(twice, 2.5) == 0.625
    # 3 scores: none is cut off; 4 scores: the smallest and the largest are
    assert statistics.interquartile_mean(once) == 2.0
    assert statistics.interquartile_mean(weighted([[1.0, 9.0], [2.0, 4.0]])) == 3.0
    # the first task's pairs win 1 of 2 and tie once (P = 1/2 + 1/4), the second's lose
    assert statistics.probability_of_improvement(once, weighted([[1.0], [5.0]])) == pytest.approx(0.375)
    # of the weight 1, shared 1/4 1/4 1/2 and cut by 5 // 4 / 5 at either end, the middle is left
    uneven = weighted([[0.0, 1.0], [2.0], [3.0], [4.0]])
    assert statistics.interquartile_mean(uneven) == pytest.approx((0.05 * 1 + 0.25 * 2 + 0.25 * 3 + 0.05 * 4) / 0.6)


def test_resamples_stay_inside_their_task() -> None:
    scores = weighted([[1.0, 2.0, 3.0], [10.0], [20.0, 21.0]])
    rng = np.random.default_rng(0)
    tasks = np.broadcast_to(np.arange(3), (500, 3))
    values, weights = statistics.resample(scores, tasks, rng)
    for task, own in enumerate(([1.0, 2.0, 3.0], [10.0], [20.0, 21.0])):
        drawn = values[:, task][weights[:, task] > 0]
        assert len(drawn) == 500 * len(own)
        assert np.bincount(np.searchsorted(own, drawn)).min() > 400
        assert set(drawn) == set(own)
    assert np.allclose(weights.sum((-2, -1)), 1)


def test_one_seed_of_one_task_has_no_spread() -> None:
    for over_tasks in (False, True):
        assert interval(statistics.mean, weighted([[0.5]]), over_tasks=over_tasks) == (0.5, 0.5, 0.5)


def test_tasks_are_drawn_alike_for_both_methods() -> None:
    """Where ours beats theirs on every task, no choice of tasks changes that; other tasks for each would."""
    theirs = weighted([[float(task)] for task in range(5)])
    ours = Scores(theirs.values + 0.5, theirs.weights)
    found = interval(statistics.probability_of_improvement, ours, theirs, over_tasks=True)
    assert found == pytest.approx((1.0, 1.0, 1.0))


def test_a_task_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="every task needs a score"):
        weighted([[1.0], []])


def test_students_interval() -> None:
    """Of 1, 2, 3, 4, 5: mean 3, standard error sqrt(2.5 / 5), and 2.776 is the 97.5% quantile of t with 4 degrees."""
    found = student_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    half = 2.7764451 * np.sqrt(2.5 / 5)
    assert found == pytest.approx((3.0, 3.0 - half, 3.0 + half), abs=1e-6)


def test_differences_are_of_the_seeds_that_both_have() -> None:
    """4 - 1, 6 - 2 and 9 - 4: mean 4, and with two degrees of freedom 4.303 standard errors of sqrt(1 / 3)."""
    found = paired({0: 4.0, 1: 6.0, 2: 9.0, 7: 100.0}, {2: 4.0, 0: 1.0, 1: 2.0, 8: 50.0})
    assert found is not None and sorted(found.differences) == [3.0, 4.0, 5.0]
    half = 4.3026527 * np.sqrt(1 / 3)
    assert found.student == pytest.approx((4.0, 4.0 - half, 4.0 + half), abs=1e-6)
    # all three resampled alike happens in 1 / 27 of the resamples: more than 2.5%, so the ends are the extremes
    assert found.bootstrap == pytest.approx((4.0, 3.0, 5.0), abs=0.34)
    assert paired({0: 1.0}, {1: 1.0}) is None
    single = paired({0: 3.0}, {0: 1.0})
    assert single is not None and single.student is None and single.bootstrap == (2.0, 2.0, 2.0)


def test_pairs_take_out_what_seeds_have_in_common() -> None:
    """Seeds that are good for both methods widen the intervals of each, and not that of the difference."""
    ours, theirs = {s: 100.0 * s + 1.0 for s in range(5)}, {s: 100.0 * s for s in range(5)}
    found = paired(ours, theirs)
    assert found is not None and found.student == pytest.approx((1.0, 1.0, 1.0))
    apart = interval(statistics.mean, weighted([list(ours.values())]))
    assert apart.high - apart.low > 100


def test_the_normalised_gain_is_the_papers_aggregate() -> None:
    """3 / 2 on one task and 1 / 4 on another, with unequal numbers of seeds: 0.875 - 1."""
    ours, theirs = weighted([[2.0, 4.0], [1.0]]), weighted([[2.0], [3.0, 5.0]])
    assert statistics.normalised_gain(ours, theirs) == pytest.approx(-0.125)
    assert statistics.normalised_gain(ours, weighted([[0.0], [4.0]])) == np.inf


def test_the_interval_of_a_gain_over_seeds_that_may_all_fail_has_no_upper_end() -> None:
    """One baseline seed of two scores 0: a quarter of the resamples has none above 0."""
    found = interval(statistics.normalised_gain, weighted([[1.0, 1.0]]), weighted([[0.0, 2.0]]))
    assert found.value == 0 and found.low == pytest.approx(-0.5) and found.high == np.inf
