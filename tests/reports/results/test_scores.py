"""Score files, series and mean curves."""

import json
from pathlib import Path

import numpy as np
import pytest

from sobolev.errors import UserError
from sobolev.reports.analysis.aggregates import normalised_gain, published_gain
from sobolev.reports.analysis.compare import compare
from sobolev.reports.results import published
from sobolev.reports.results.runs import Task, load
from sobolev.reports.results.scores import Series, aligned, binned, mean_curve, read, series, task_name
from sobolev.sweeps.run_status import run_status


def made(steps: list[float], returns: list[float]) -> Series:
    return Series(np.array(steps, float), np.array(returns, float))


def test_episodes_that_end_together_become_one_point() -> None:
    score = {"task": "dmc_a", "method": "m", "seed": 0, "xs": [4, 4, 8, 4], "ys": [1.0, 2.0, 7.0, 6.0]}
    found = series(score)  # pyright: ignore[reportArgumentType]
    assert found.steps.tolist() == [4, 8] and found.returns.tolist() == [3, 7]


def test_bins_hold_what_ends_in_them_and_stand_at_their_end() -> None:
    (found,) = binned([made([1, 10, 11, 20, 35], [1, 3, 5, 7, 9])], width=10.0)
    assert found.steps.tolist() == [10, 20, 40] and found.returns.tolist() == [2, 6, 9]


def test_bins_are_as_wide_as_the_largest_gap_and_round() -> None:
    """Four environments in step end episodes every 4008 steps, so that no bin of 5000 is empty."""
    steps = [4008.0 * k for k in range(1, 15)]
    (found,) = binned([made(steps, steps)])
    assert np.diff(found.steps).min() == 5000
    (found,) = binned([made([1000.0 * k for k in range(1, 1001)], [0.0] * 1000)])
    assert np.diff(found.steps).tolist() == [20_000.0] * 49


def test_one_grid_is_taken_as_it_is() -> None:
    curve = mean_curve([made([0, 5, 9], [0, 2, 4]), made([0, 5, 9], [2, 6, 4])])
    assert curve.steps.tolist() == [0, 5, 9] and curve.mean.tolist() == [1, 4, 4] and curve.seeds == 2
    assert curve.low.tolist() == [0, 2, 4] and curve.high.tolist() == [2, 6, 4]


def test_other_grids_are_joined_by_lines_between_the_latest_start_and_the_earliest_end() -> None:
    steps, returns = aligned([made([0, 10, 20], [0, 10, 20]), made([5, 15], [100, 200])])
    assert steps.tolist() == [5, 10, 15]
    assert returns.tolist() == [[5, 10, 15], [100, 150, 200]]


@pytest.mark.parametrize("others", [[], [made([], [])], [made([1, 2], [0, 0]), made([3, 4], [0, 0])]])
def test_nothing_in_common_is_an_error(others: list[Series]) -> None:
    with pytest.raises(ValueError, match="cannot be aligned|nothing|in common"):
        aligned(others)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("dmc_walker_walk", "walker-walk"),
        ("gym_Ant-v5", "gym:Ant-v5"),
        ("toy_point-mass", "toy:point-mass"),
        ("x", "x"),
    ],
)
def test_names_of_tasks(field: str, name: str) -> None:
    assert task_name(field) == name


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '[{"task": "a", "method": "b", "seed": 0, "xs": [1], "ys": []}]', "["]
)
def test_what_is_no_score_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(UserError, match="is not a score file|cannot be read"):
        read(tmp_path / "scores.json")
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "other.json")


def test_the_papers_aggregates_follow_from_its_table() -> None:
    """+17.7% over the 18 tasks of Table 3, and +34.6% over the six of Table 1."""
    theirs = published.table_3()
    means = {method: {Task(name): row.mean for name, row in rows.items()} for method, rows in theirs.items()}
    assert len(means["gpld"]) == 18
    assert round(100 * (normalised_gain(means["gpld"], means["dreamer"]) or 0), 1) == 17.7
    six = {Task(name): means["gpld"][Task(name)] for name in published.LOCOMOTION}
    assert round(100 * (normalised_gain(six, means["dreamer"]) or 0), 1) == 34.6
    assert round(100 * (published_gain(list(published.LOCOMOTION)) or 0), 1) == 34.6


def test_the_papers_gain_is_over_the_baseline() -> None:
    ratio = 1 + (published_gain(["walker-walk"]) or 0)
    assert 1 + (published_gain(["walker-walk"], "gpld") or 0) == pytest.approx(1 / ratio)


def test_tasks_without_a_score_above_0_to_divide_by_are_left_out() -> None:
    ours = {Task("a"): 3.0, Task("b"): 5.0, Task("c"): 1.0}
    assert normalised_gain(ours, {Task("a"): 2.0, Task("b"): 0.0}) == 0.5
    assert normalised_gain(ours, {}) is None


def test_published_curves_are_as_they_are_said_to_be() -> None:
    proprio, pixels = published.curves("proprio"), published.curves("pixels")
    assert len(proprio) == 18 and len(pixels) == 20
    assert {len(seeds) for seeds in proprio.values()} == {5}
    assert {one.steps[-1] for seeds in proprio.values() for one in seeds} == {490_000.0}
    assert {one.steps[-1] for seeds in pixels.values() for one in seeds} == {990_000.0}
    assert not {"acrobot-swingup-sparse", "quadruped-run", "quadruped-walk"} & set(proprio)
    assert not published.curves("both")


def test_published_tables() -> None:
    assert published.table_3()["dreamer"]["hopper-hop"] == (81.8, 79.0)
    costs = published.table_4()
    assert len(costs) == 12 and {(c.rho, c.posterior, c.prior): c.ratio for c in costs}[0.5, 0.5, 0.0] == 1.51


def test_a_score_file_of_floats(tmp_path: Path) -> None:
    entry = {"task": "dmc_a", "method": "m", "seed": 0, "xs": [1.5], "ys": [2]}
    (tmp_path / "scores.json").write_text(json.dumps([entry]))
    assert read(tmp_path / "scores.json") == [entry]


@pytest.mark.parametrize("name", ["scores.json", "train_scores.json"])
def test_a_seed_that_is_twice_in_a_file_is_told(tmp_path: Path, name: str) -> None:
    entry = {"task": "dmc_a", "method": "m", "seed": 3, "xs": [1], "ys": [2]}
    others = [entry | {"seed": 4}, entry | {"method": "n"}, entry | {"task": "dmc_b"}]
    for file in ("scores.json", name):
        twice = [entry] * (file == name)
        (tmp_path / file).write_text(json.dumps([entry, *others, *twice]))
    with pytest.raises(UserError, match=f"{name} has 2 curves of m on dmc_a with seed 3: keep one of them"):
        load(tmp_path)
    for file in ("scores.json", name):
        (tmp_path / file).write_text(json.dumps([entry, *others]))
    assert [run.seeds for run in load(tmp_path)] == [(3, 4), (3,), (3,)]


def test_returns_that_are_missing_are_left_out_and_told(tmp_path: Path) -> None:
    """null, and NaN as earlier versions wrote it."""
    entry = {"task": "dmc_a", "method": "m", "seed": 3, "xs": [1, 2, 3, 4]}
    (tmp_path / "scores.json").write_text(json.dumps([{**entry, "ys": [1.0, None, float("nan"), 5.0]}]))
    (tmp_path / "train_scores.json").write_text(json.dumps([{**entry, "ys": [None] * 4}]))
    final = {"task": "dmc_a", "method": "m", "seed": 3, "episodes": 2, "env_steps": 4, "mean": None}
    (tmp_path / "evaluation.json").write_text(json.dumps([final]))
    (run,) = load(tmp_path)
    np.testing.assert_array_equal(run.scores[3], [[1, 4], [1, 5]])
    assert not run.episodes[3].steps.size and not run.finals
    assert compare([run], "m").notes[-3:] == [
        f"In {tmp_path / 'scores.json'}, 2 of 4 returns of seed 3 were not finite: left out.",
        f"In {tmp_path / 'train_scores.json'}, 4 of 4 returns of seed 3 were not finite: left out.",
        f"In {tmp_path / 'evaluation.json'}, the mean return of seed 3 was not finite.",
    ]
    assert run_status(tmp_path).score == 5.0
    (tmp_path / "scores.json").write_text(json.dumps([{**entry, "ys": [1.0, 2.0, 3.0, None]}]))
    assert run_status(tmp_path).score is None
