"""The point mass: its equations by hand, its law of returns, and the environment's protocol."""

import numpy as np
import pytest

from sobolev.envs import check_task, default_repeat, make
from sobolev.envs.families.toy import LENGTH, PointMass, locations, locations_of, worths
from sobolev.envs.specs import ArraySpec
from sobolev.errors import UserError


def play(environment: PointMass, seed: int, action: np.ndarray) -> list:
    steps = [environment.reset(seed)]
    while not steps[-1].last:
        steps.append(environment.step(action))
    return steps


def test_names():
    assert [locations_of(name) for name in ("point-mass", "point-mass-1", "point-mass-16")] == [4, 1, 16]
    check_task("toy:point-mass-3")
    assert default_repeat("toy:point-mass") == 1
    for wrong, message in (
        ("toy:pointmass", "did you mean toy:point-mass"),
        ("toy:point-mass-0", "takes 1 to 64"),
        ("toy:point-mass-65", "takes 1 to 64"),
        ("toy:swing", "unknown task 'toy:swing'"),
    ):
        with pytest.raises(UserError, match=message):
            check_task(wrong)


def test_locations_lie_on_the_unit_circle_and_are_worth_less_and_less():
    np.testing.assert_allclose(locations(4), [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-15)
    np.testing.assert_allclose(worths(4), [1, 0.875, 0.75, 0.625])
    assert worths(1) == [1.0]


def test_a_step_follows_the_equations():
    environment = PointMass("point-mass-4")
    environment.reset(3)
    environment.position, environment.velocity, environment.goal = np.array([0.5, -0.2]), np.array([0.1, 0.3]), 1
    mean, number = np.array([0.8 * 0.1 + 0.2 * 0.5, 0.8 * 0.3 - 0.2]), 4000
    found = []
    for _ in range(number):
        environment.position, environment.velocity, environment._time = np.array([0.5, -0.2]), np.array([0.1, 0.3]), 0
        step = environment.step(np.array([0.5, -7.0], np.float32))  # clipped to −1
        found.append(environment.velocity)
        np.testing.assert_array_equal(environment.position, np.array([0.5, -0.2]) + 0.2 * environment.velocity)
        distance = np.sum((environment.position - [0, 1]) ** 2)
        assert step.reward == pytest.approx(0.875 * np.exp(-distance / 0.5), rel=1e-12)
    velocities = np.array(found)
    np.testing.assert_allclose(velocities.mean(0), mean, atol=5 * 0.02 / number**0.5)
    np.testing.assert_allclose(velocities.std(0), 0.02, rtol=0.05)


def test_walls_stop_the_mass():
    environment = PointMass("point-mass-1")
    steps = play(environment, 0, np.array([1.0, 0.0], np.float32))
    assert environment.position[0] == 2.0 and environment.velocity[0] == 0.0
    assert max(step.observation["position"][0] for step in steps) == 2.0


def test_the_goal_is_drawn_once_with_chance_a_fifth_and_evenly():
    environment, known, goals = PointMass("point-mass-3"), [], []
    for seed in range(600):
        steps = play(environment, seed, np.zeros(2, np.float32))
        seen = np.array([step.observation["goal"] for step in steps])
        first = int(np.argmax(seen.any(1)))
        assert not seen[:first].any() and (seen[first:] == seen[first]).all()
        assert not any(step.reward for step in steps[:first]) and steps[first].reward > 0
        known.append(first)
        goals.append(environment.goal)
    assert np.mean(known) == pytest.approx(5.0, abs=0.6)  # mean of a geometric law with chance 0.2, five deviations
    np.testing.assert_allclose(np.bincount(goals) / 600, 1 / 3, atol=0.1)


def test_an_episode_is_cut_off_and_repeats_from_its_seed():
    one, other = (play(PointMass("point-mass-5"), 7, np.array([0.3, -0.1], np.float32)) for _ in range(2))
    assert len(one) == LENGTH + 1
    assert [step.last for step in one] == [False] * LENGTH + [True] and not any(step.terminal for step in one)
    assert [step.first for step in one] == [True] + [False] * LENGTH
    for a, b in zip(one, other, strict=True):
        assert a.reward == b.reward and all(np.array_equal(a.observation[k], b.observation[k]) for k in a.observation)
    third = play(PointMass("point-mass-5"), 8, np.array([0.3, -0.1], np.float32))
    assert not np.array_equal(third[5].observation["position"], one[5].observation["position"])


def test_repeat_sums_rewards():
    environment = make("toy:point-mass-2", 3)
    single, steps, last = PointMass("point-mass-2"), [], False
    environment.reset(1)
    wanted = [step.reward for step in play(single, 1, np.ones(2, np.float32))[1:]]
    while not last:
        step = environment.step(np.ones(2, np.float32))
        steps.append(step.reward)
        last = step.last
    np.testing.assert_allclose(steps, [sum(wanted[i : i + 3]) for i in range(0, LENGTH, 3)], rtol=1e-12)
    with pytest.raises(RuntimeError, match="is over"):
        environment.step(np.ones(2, np.float32))


def test_spaces_and_picture():
    environment = make("toy:point-mass")
    assert environment.spaces.action == 2
    assert environment.spaces.observation == tuple(
        (k, ArraySpec((2,), "float32")) for k in ("goal", "position", "velocity")
    )
    environment.reset(0)
    frame = environment.render(60, 80)
    assert frame.shape == (60, 80, 3) and frame.dtype == np.uint8 and len(np.unique(frame)) > 3
    environment.close()


def test_the_return_has_as_many_modes_as_locations():
    """Of a mass that always goes where it should: returns cluster, one cluster for each location's worth."""
    environment = PointMass("point-mass-3")
    clusters: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for seed in range(120):
        step, rewards = environment.reset(seed), []
        while not step.last:
            seen = step.observation
            step = environment.step(3 * (seen["goal"] - seen["position"]) - 2 * seen["velocity"])
            rewards.append(step.reward)
        clusters[environment.goal].append(sum(rewards[-30:]) / 30)
    means = [np.mean(clusters[k]) for k in range(3)]
    np.testing.assert_allclose(means, worths(3), rtol=0.05)
    assert max(np.std(clusters[k]) for k in range(3)) < 0.2 / 6
