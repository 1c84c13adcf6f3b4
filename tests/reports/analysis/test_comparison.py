"""Runs brought together: labels, the step of the comparison, and what is said of what does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sobolev.config import configure, defaults, resolved
from sobolev.config.codec import encode
from sobolev.errors import UserError
from sobolev.reports.analysis.aggregates import aggregate_curves, scales, task_curve
from sobolev.reports.analysis.compare import compare
from sobolev.reports.analysis.comparison import Comparison
from sobolev.reports.analysis.measures import AREA
from sobolev.reports.results.collect import collect
from sobolev.reports.results.runs import Final, Run, Task, find, flat, load
from sobolev.reports.results.scores import Series
from sobolev.reports.results.variant_names import labelled
from tests.reports import made_up

STEPS = np.arange(0.0, 101.0, 10.0)


def made(
    task: str = "walker-walk",
    method: str = "gpld",
    levels: Any = (100.0,),
    steps: Any = STEPS,
    first: int = 0,
    **settings: Any,
) -> Run:
    """A run whose seeds, from `first` on, score `level` × the share of their steps that is done."""
    chosen = {name.replace("__", "."): value for name, value in settings.items()}
    config = encode(resolved(configure(task, method=method, settings=chosen), "cpu"))
    steps = np.asarray(steps, float)
    scores = {first + n: Series(steps, level * steps / 100.0) for n, level in enumerate(levels)}
    folder = Path(f"{task}-{method}-{first}-{len(chosen)}")
    return Run(folder, Task(task), method, flat(config), config, scores, {})


def short(method: str, end: int, steps: Any = (0.0,), score: float = 50.0) -> Run:
    """A run with evaluations at `steps`, and one after training, at `end`."""
    return replace(made(method=method, steps=steps), finals={0: Final(score, 20, end)})


def test_short_runs_are_compared_by_the_evaluation_after_training() -> None:
    found = compare([short("dreamer", 520), short("gpld", 520, score=80.0)])
    task = Task("walker-walk")
    assert found.ends == {task: 520} and found.reached[task, "gpld"].episodes == 20
    assert [found.means(label, [task])[task] for label in found.labels] == [50, 80]
    assert found.values(AREA, task, "gpld") == {0: 40.0}  # the curve rises from 0 at 0
    assert "its curves end with the evaluation after training, at 520." in " ".join(found.notes)
    assert found.cells[task, "gpld"].scores[0].steps.tolist() == [0, 520]


@pytest.mark.parametrize(
    "other",
    [
        made(method="gpld", steps=(0.0,)),  # without an evaluation after training
        short("gpld", 2000, steps=(0.0, 1000.0, 2000.0)),  # which ends elsewhere
    ],
)
def test_curves_end_with_training_unless_all_have_a_later_evaluation(other: Run) -> None:
    found = compare([short("dreamer", 520), other])
    assert found.ends == {Task("walker-walk"): 0}
    assert found.cells[Task("walker-walk"), "dreamer"].scores[0].steps.tolist() == [0]


def test_evaluations_during_training_that_reach_the_end_are_the_curve() -> None:
    found = compare([short("dreamer", 101, steps=STEPS), short("gpld", 101, steps=STEPS)])
    assert found.ends == {Task("walker-walk"): 100} and "its curves end" not in " ".join(found.notes)


def names(*runs: Run) -> list[str]:
    return sorted(labelled(runs)[0])


def test_a_method_without_variants_is_its_own_label() -> None:
    assert names(made(), made("hopper-hop"), made(method="dreamer")) == ["dreamer", "gpld"]


def test_variants_are_named_by_what_is_not_the_default() -> None:
    runs = [made(), made(penalty__rho=0.25), made(penalty__rho=1.0, penalty__prior=0.5), made(method="dreamer")]
    assert names(*runs) == ["dreamer", "gpld", "gpld prior=0.5 rho=1", "gpld rho=0.25"]


def without_config(first: int = 0, **settings: Any) -> Run:
    """A run of which only the score file is there."""
    return replace(made(first=first, **settings), folder=Path("other-code"), settings={}, config={})


def test_runs_of_unknown_settings_have_the_name_of_their_method() -> None:
    other = without_config(first=5)
    assert names(other, made(penalty__rho=0.25)) == names(other, made()) == names(other) == ["gpld"]
    found, notes = labelled([other, made(), made(penalty__rho=0.25)])
    assert list(found) == ["gpld", "gpld rho=0.25"] and other in found["gpld"]
    told = "Scores of gpld have no config.json in other-code, so that they count as gpld, whatever their settings were."
    assert notes == [told]
    assert labelled([other, made(method="dreamer")])[1] == []  # nothing that they could be mistaken for


def test_a_seed_of_unknown_settings_is_not_said_to_be_the_same_experiment() -> None:
    message = "both have gpld on walker-walk with seed 0, and other-code has no config.json to tell them apart: leave"
    for runs in ([without_config(), made()], [made(), without_config()]):
        with pytest.raises(UserError, match=message):
            compare([*runs, made(penalty__rho=0.25)])


def test_a_size_is_named_without_the_widths_that_follow_from_it() -> None:
    config = encode(resolved(configure("walker-walk", size="1m"), "cpu"))
    other = Run(Path("a"), Task("walker-walk"), "gpld", flat(config), config, made().scores, {})
    assert names(made(), other) == ["gpld", "gpld size=1m"]
    config = encode(resolved(configure("walker-walk", preset="laptop"), "cpu"))
    third = Run(Path("b"), Task("walker-walk"), "gpld", flat(config), config, made().scores, {})
    assert names(made(), third) == ["gpld preset=laptop", "gpld preset=paper"]


def test_settings_that_differ_from_task_to_task_are_told() -> None:
    found, notes = labelled([made(), made("hopper-hop", penalty__rho=0.25), made("gym:Ant-v5")])
    assert list(found) == ["gpld"]
    assert notes == [
        "Not all runs of gpld have the same penalty.rho: 0.5 on gym:Ant-v5, walker-walk; 0.25 on hopper-hop."
    ]


def test_the_same_seed_twice_is_refused() -> None:
    with pytest.raises(UserError, match="are the same experiment with seed 1: leave one out"):
        compare([made(levels=(1.0, 2.0)), made(levels=(3.0,), first=1)])


def test_seeds_of_several_runs_are_one_curve() -> None:
    comparison = compare([made(levels=(100.0, 300.0)), made(levels=(200.0,), first=2)])
    curve = task_curve(comparison, Task("walker-walk"), "gpld")
    assert curve.seeds == 3 and curve.mean[-1] == 200.0 and comparison.notes[-1].startswith("Scores of the last")
    assert curve.high[-1] - 200.0 == pytest.approx(np.std([100, 200, 300]))


def both(**changes: Any) -> Comparison:
    return compare([made(method="dreamer", levels=(100.0, 100.0)), made(**{"levels": (150.0, 150.0), **changes})])


def test_unequal_seeds_are_told_and_weigh_the_same() -> None:
    comparison = both(levels=(150.0,))
    assert (
        "Seeds are unequal in number on walker-walk (dreamer 2, gpld 1): every task still counts the same."
        in comparison.notes
    )
    assert not any("unequal" in note for note in both().notes)


def test_scores_are_compared_where_all_still_train() -> None:
    comparison, task = both(steps=STEPS[:6]), Task("walker-walk")
    assert comparison.ends[task] == 50.0
    assert comparison.reached[task, "dreamer"].mean == 50.0 and comparison.reached[task, "gpld"].mean == 75.0
    assert "walker-walk is compared at 50 env steps, where gpld ends; others go to 100." in comparison.notes
    early = compare(comparison.runs, at=25)
    assert early.ends[task] == 25.0 and early.reached[task, "gpld"].mean == pytest.approx(30.0)  # the one at step 20
    assert "walker-walk has no scores at 70 env steps: compared at 50." in compare(comparison.runs, at=70).notes


def test_areas_begin_where_they_are_asked_to() -> None:
    comparison, task = both(), Task("walker-walk")
    assert comparison.spans[task] == (0.0, 100.0)
    later = compare(comparison.runs, since=40)
    assert later.spans[task] == (40.0, 100.0) and later.reached[task, "dreamer"].mean == 100.0
    # the curve rises from 40 to 100 there, by a straight line
    assert later.values(AREA, task, "dreamer")[0] == pytest.approx(70.0)
    assert any(note.startswith("Areas under curves begin at 40 env steps") for note in later.notes)
    assert compare(comparison.runs, since=200).spans[task] == (100.0, 100.0)


@pytest.mark.parametrize(
    ("theirs", "ours", "at", "message"),
    [
        ((10.0, 20.0), (10.0, 20.0), 5, "at 5 env steps, since .* evaluations is 10: choose a later --at"),
        ((6.0, 12.0), (14.0, 20.0), None, "at 12 env steps, since .* evaluations is 14: leave out the runs"),
        ((6.0, 12.0), (14.0, 20.0), 13, "at 12 env steps, since .* evaluations is 14: leave out the runs"),
    ],
)
def test_seeds_that_have_not_begun_where_they_are_compared_are_told(
    theirs: Any, ours: Any, at: int | None, message: str
) -> None:
    """As scores of other code may begin at any env step."""
    with pytest.raises(UserError, match="^walker-walk cannot be compared " + message):
        compare([made(method="dreamer", steps=theirs), made(steps=ours)], at=at)


def test_an_aggregate_without_a_common_env_step_is_left_out_and_told() -> None:
    """Compared at 12, where the baseline's newest evaluation is of 5, before the first one of the other."""
    found = compare([made(method="dreamer", steps=(5.0, 15.0)), made(steps=(9.0, 12.0))])
    task, told = Task("walker-walk"), "There is no aggregate over env steps for DeepMind Control, proprioception: up to"
    assert found.spans[task] == (9.0, 12.0) and found.reached[task, "dreamer"].mean == 5.0
    for normalise in (False, True):
        assert aggregate_curves(found, [task], ["dreamer", "gpld"], normalise) == {}
    assert aggregate_curves(found, [], [], normalise=False) == {}
    assert [note.startswith(told) for note in found.notes].count(True) == 1
    assert not any(note.startswith(told) for note in both().notes)


def test_other_grids_are_told_and_joined_by_lines() -> None:
    comparison = both(steps=np.arange(0.0, 101.0, 25.0))
    assert any(note.startswith("Evaluations at different env steps are joined") for note in comparison.notes)
    found = aggregate_curves(comparison, comparison.tasks(), ["dreamer", "gpld"], normalise=True)
    assert found["dreamer"].mean == pytest.approx(found["dreamer"].steps / 100)
    assert found["gpld"].mean == pytest.approx(1.5 * found["gpld"].steps / 100)
    assert set(found["gpld"].steps) == {*STEPS, 25.0, 75.0}


def test_missing_tasks_are_told_and_left_out_of_aggregates() -> None:
    comparison = compare([*both().runs, made("hopper-hop", "dreamer", (10.0,))])
    assert any(note.startswith("gpld lacks hopper-hop: aggregates") for note in comparison.notes)
    assert comparison.tasks("proprio", ["dreamer", "gpld"]) == [Task("walker-walk")]


def test_every_task_counts_the_same_whatever_its_seeds_and_size() -> None:
    """By the baseline's last mean: 1.5 on one task with two seeds, 3 on another with one."""
    runs = [*both().runs, made("hopper-hop", "dreamer", (10.0, 10.0, 10.0)), made("hopper-hop", levels=(30.0,))]
    comparison = compare(runs)
    found = aggregate_curves(comparison, comparison.tasks(), ["dreamer", "gpld"], normalise=True)
    assert found["gpld"].mean[-1] == pytest.approx(2.25) and found["dreamer"].mean[-1] == pytest.approx(1.0)
    raw = aggregate_curves(comparison, comparison.tasks(), ["dreamer", "gpld"], normalise=False)
    assert raw["gpld"].mean[-1] == pytest.approx(90.0)
    assert raw["gpld"].low == pytest.approx(raw["gpld"].high)  # seeds of a task are equal here


def test_a_seed_without_evaluations_is_left_out_and_told() -> None:
    run = made(levels=(100.0, 200.0))
    empty = Series(np.zeros(0), np.zeros(0))
    comparison = compare([Run(run.folder, run.task, "gpld", run.settings, run.config, {**run.scores, 5: empty}, {})])
    assert len(comparison.cells[run.task, "gpld"].scores) == 2
    assert comparison.notes[0].startswith("gpld on walker-walk, seed 5")
    with pytest.raises(UserError, match="hold no evaluation yet"):
        compare([Run(run.folder, run.task, "gpld", run.settings, run.config, {5: empty}, {})])


def test_scores_outside_deepmind_control_need_a_baseline() -> None:
    runs = [*both().runs, made("gym:Ant-v5", levels=(2.0,)), made("gym:Hopper-v5", "dreamer", (50.0,))]
    comparison = compare(runs)
    assert scales(comparison, comparison.tasks()) == {Task("walker-walk"): 1000.0, Task("gym:Hopper-v5"): 50.0}
    assert list(comparison.families) == ["proprio", "other"]


def test_runs_of_another_protocol_are_told() -> None:
    changed = [made(penalty__rho=1.0), made("hopper-hop", batch_size=8), made("finger-spin", "dreamer")]
    (note,) = [note for note in compare(changed).notes if note.startswith("Not the protocol of paper 1")]
    assert note.endswith(": batch_size on hopper-hop.")


def test_an_unknown_baseline_is_told() -> None:
    with pytest.raises(UserError, match="did you mean gpld"):
        compare(both().runs, baseline="gpdl")


def test_main_labels_are_methods_as_they_are_by_default() -> None:
    comparison = compare([*both().runs, made(levels=(1.0,), penalty__rho=0.25)])
    assert comparison.labels == ("dreamer", "gpld", "gpld rho=0.25") and comparison.main == ("dreamer", "gpld")
    alone = compare([made(levels=(1.0,), penalty__rho=0.25), made(levels=(1.0,), penalty__rho=1.0)])
    assert alone.main == ("gpld rho=0.25", "gpld rho=1")


def test_older_configs_are_read_with_what_their_version_did() -> None:
    """The project's own scores were made before snapshots were a setting."""
    root = Path(__file__).parents[3] / "scores"
    runs = [run for folder in find([root]) for run in load(folder)]
    assert all(run.settings["penalty.rho"] == 0.5 for run in runs)
    assert {run.task.name for run in runs} >= {"cartpole-swingup", "finger-spin"}
    assert len({run.folder for run in runs}) == len(runs) and all(run.facts["commit"] for run in runs)
    assert compare(runs).main == ("dreamer", "gpld")


def test_settings_that_were_added_make_no_variant_of_older_runs() -> None:
    tree = encode(defaults("gym:Hopper-v5", "dsdpg"))
    earlier = json.loads(json.dumps(tree))
    del earlier["agent"]["critic"]["truncation"], earlier["log"]["sinks"]
    assert flat(earlier) == flat(json.loads(json.dumps(tree)))
    tree["agent"]["critic"]["truncation"] = "critic"
    assert flat(earlier) != flat(tree)


def test_noise_makes_another_task(tmp_path: Path) -> None:
    """And no variant of a method: with and without it, methods are compared under their own names."""
    widths: tuple[dict[str, Any], ...] = (
        {},
        {"env__observation_noise": 0.2},
        {"env__observation_noise": 0.2, "env__dynamics_noise": 0.1},
    )
    for number, noise in enumerate(widths):
        for method in ("dreamer", "gpld"):
            made_up.run(tmp_path / f"{number}-{method}", "gym:Hopper-v5", method, **noise)
    made_up.run(tmp_path / "own", "walker-walk", "gpld", env__observation_noise=0.1)
    comparison = compare([run for folder in find([tmp_path]) for run in load(folder)])
    assert comparison.labels == ("dreamer", "gpld")
    assert [str(task) for task in comparison.tasks("other")] == [
        "gym:Hopper-v5",
        "gym:Hopper-v5, observation noise 0.2",
        "gym:Hopper-v5, observation noise 0.2 and dynamics noise 0.1",
        "walker-walk, observation noise 0.1",
    ]
    assert not comparison.tasks("proprio"), "not averaged with the paper's tasks"
    places = collect([tmp_path / "1-gpld"], tmp_path / "scores")
    assert [place.name for place in places] == ["gym-Hopper-v5-observation-noise-0.2-gpld-paper"]


def test_a_place_with_nothing_but_a_file_of_sensitivity_needs_runs_beside_it(tmp_path: Path) -> None:
    run, place = made_up.run(tmp_path / "run", end=10_000), tmp_path / "results" / "sensitivity"
    place.mkdir(parents=True)
    made_up.write(place, "sensitivity.json", {})
    assert find([place, run]) == find([run, tmp_path / "results"]) == [run]
    with pytest.raises(UserError, match="sensitivity: only sensitivity.json, no scores.json; give folders of runs"):
        find([place])


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_places_without_runs_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="does not exist|holds no scores.json"):
        find([tmp_path / name])
