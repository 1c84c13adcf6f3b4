"""The arithmetic of a run."""

import dataclasses

import pytest

from sobolev.config import configure, resolved
from sobolev.training.schedule import Plan


def plan(**settings) -> Plan:
    chosen = {name.replace("__", "."): value for name, value in settings.items()}
    return Plan.of(resolved(configure("walker-walk", settings=chosen)))


def test_the_papers_protocol():
    paper = plan()
    assert (paper.environments, paper.repeat, paper.total) == (16, 2, 31_250)
    assert paper.env_steps(paper.total) == 1_000_000
    assert paper.capacity == 31_250
    # training starts at 1024 stored windows of 65 steps: after 2048 agent steps
    assert paper.warmup * 16 == 2048
    assert (paper.warmup - paper.pace.length) * 16 == 1024
    # 512 replayed steps per agent step, 1024 per update
    assert paper.updates_due(paper.total) == (500_000 - 2048) / 2


def test_updates_fall_due_evenly_and_without_backlog():
    paper = plan()
    due = [paper.updates_due(iteration) for iteration in range(paper.warmup + 50)]
    assert not any(due[: paper.warmup + 1])
    steps = [after - before for before, after in zip(due[paper.warmup :], due[paper.warmup + 1 :], strict=False)]
    assert set(steps) == {8}


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 7.3, 512.0])
def test_any_train_ratio_is_kept(ratio):
    tiny = plan(train_ratio=ratio, batch_size=4, batch_length=8, env__number=3, steps=6000)
    due = [tiny.updates_due(iteration) for iteration in range(tiny.total + 1)]
    assert sorted(due) == due
    replayed, agent_steps = due[-1] * 32, (tiny.total - tiny.warmup) * 3
    assert 0 <= ratio * agent_steps - replayed < 32


def test_training_waits_for_a_whole_batch_of_windows():
    """Also where environments do not divide a batch: never less than batch × length windows."""
    for number in (1, 2, 3, 5, 16, 100):
        tiny = plan(env__number=number, batch_size=4, batch_length=8)
        assert number * (tiny.warmup - 8) >= 32 > number * (tiny.warmup - 9)


def test_the_iteration_in_which_a_multiple_is_reached():
    tiny = plan(env__number=3, env__repeat=2)  # six env steps in each
    for every in (1, 4, 6, 20):
        reached = [i for i in range(1, 30) if 6 * i // every > 6 * (i - 1) // every]
        for iteration in range(1, 20):
            assert tiny.reaching(iteration, every) == min(i for i in reached if i >= iteration)


def test_steps_that_do_not_divide_are_rounded_up():
    assert plan(steps=1001, env__number=4).total == 126
    assert plan(steps=1, env__number=16).total == 1


def test_capacity():
    assert plan(steps=3200, replay__capacity=1600, batch_length=8).capacity == 100
    assert plan(steps=3200, replay__capacity=5_000_000).capacity == 100
    # a run shorter than a window still has a ring that a window fits
    assert plan(steps=32).capacity == 65


def test_evaluations():
    tiny = plan(steps=20_000)
    due = {iteration: tiny.evaluation_due(iteration) for iteration in range(tiny.total + 1)}
    found = {tiny.env_steps(iteration): number for iteration, number in due.items() if number is not None}
    assert found == {0: 0, 5024: 1, 10_016: 2, 15_008: 3, 20_000: 4}
    assert dataclasses.replace(tiny, evaluate_every=0).evaluation_due(0) is None
    assert plan(evaluation__episodes=0).evaluate_every == 0


def test_evaluations_that_fall_together_are_made_once():
    often = plan(steps=320, evaluation__every=10)
    assert [often.evaluation_due(iteration) for iteration in range(4)] == [0, 3, 6, 9]
