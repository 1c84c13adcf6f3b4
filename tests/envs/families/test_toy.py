"""The point mass: its equations by hand, its law of returns in any dimension, and the environment's protocol."""

import numpy as np
import pytest

from sobolev.envs import check_task, default_repeat, make
from sobolev.envs.families.toy import LENGTH, Layout, PointMass, in_plane, layout_of, locations, worths
from sobolev.envs.specs import ArraySpec
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import UserError


def play(environment: PointMass, seed: int, action: np.ndarray) -> list:
    steps = [environment.reset(seed)]
    while not steps[-1].last:
        steps.append(environment.step(action))
    return steps


def test_names():
    names = ("point-mass", "point-mass-1", "point-mass-16", "point-mass-8d", "point-mass-3-16d", "point-mass-2-1d")
    assert [layout_of(name) for name in names] == [(4, 2), (1, 2), (16, 2), (4, 8), (3, 16), (2, 1)]
    for name in names[1:3] + names[4:]:
        assert layout_of(name).name == name
    check_task("toy:point-mass-3")
    check_task("toy:point-mass-3-4d")
    assert default_repeat("toy:point-mass") == 1
    for wrong, message in (
        ("toy:pointmass", "did you mean toy:point-mass"),
        ("toy:point-mass-0", "takes 1 to 64"),
        ("toy:point-mass-65", "takes 1 to 64"),
        ("toy:point-mass-4-66d", "asks for 66 dimensions: it takes 1 to 64"),
        ("toy:point-mass-4-3d", "takes 1, or an even number"),
        ("toy:point-mass-3-1d", "3 locations on a line"),
        ("toy:point-mass-4-d", "did you mean toy:point-mass-4-8d"),
        ("toy:swing", "unknown task 'toy:swing'"),
    ):
        with pytest.raises(UserError, match=message):
            check_task(wrong)


def test_locations_lie_on_the_unit_circle_and_are_worth_less_and_less():
    np.testing.assert_allclose(locations(Layout(4, 2)), [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-15)
    np.testing.assert_allclose(worths(4), [1, 0.875, 0.75, 0.625])
    assert worths(1) == [1.0]
    np.testing.assert_allclose(locations(Layout(4, 1))[:, 0], [1, 1 / 3, -1 / 3, -1])
    places = locations(Layout(5, 8))
    np.testing.assert_allclose(np.hypot(places[:, ::2], places[:, 1::2]), 1)
    assert len({tuple(np.round(places[0, i : i + 2], 6)) for i in range(0, 8, 2)}) == 4
    for mass in range(4):  # in one plane, all masses have the locations of the first
        np.testing.assert_allclose(in_plane(places)[:, mass], locations(Layout(5, 2)), atol=1e-12)


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


def test_a_step_in_eight_dimensions_is_four_in_the_plane():
    """Each mass moves by itself, and the reward is of the mean squared distance."""
    environment, goal = PointMass("point-mass-3-8d"), locations(Layout(3, 8))[2]
    environment.reset(0)
    positions, velocities = np.random.default_rng(1).normal(size=(2, 8)) / 2
    actions = np.random.default_rng(2).normal(size=8).astype(np.float32)
    environment.position, environment.velocity, environment.goal = positions, velocities, 2
    step = environment.step(actions)
    wanted = 0.8 * velocities + 0.2 * np.clip(actions, -1, 1)
    assert 0.001 < np.abs(environment.velocity - wanted).max() < 0.1  # 0.02 ε
    np.testing.assert_allclose(environment.position, positions + 0.2 * environment.velocity)
    far = [np.sum((environment.position - goal)[i : i + 2] ** 2) for i in range(0, 8, 2)]
    assert step.reward == pytest.approx(worths(3)[2] * np.exp(-np.mean(far) / 0.5))
    np.testing.assert_array_equal(step.observation["goal"], goal.astype(np.float32))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_returns_are_as_large_in_every_dimension(noise: float):
    """Those of a controller that knows the equations, within five standard errors of the plane's."""
    found = []
    for size in (2, 4, 16, 64):
        environment, returns = PointMass(f"point-mass-2-{size}d", kicks=Kicks(noise)), []
        for seed in range(60):
            step, total = environment.reset(seed), 0.0
            while not step.last:
                seen = step.observation
                step = environment.step(3 * (seen["goal"] - seen["position"]) - 2 * seen["velocity"])
                total += step.reward
            returns.append(total)
        found.append((np.mean(returns), np.std(returns) / 60**0.5))
    for mean, error in found[1:]:
        assert abs(mean - found[0][0]) < 5 * np.hypot(error, found[0][1])


def test_episodes_start_within_a_disc_and_pictures_show_all_masses():
    for size, masses in ((1, 1), (2, 1), (16, 8)):
        environment = PointMass(f"point-mass-4-{size}d")
        starts = in_plane(np.stack([environment.reset(seed).observation["position"] for seed in range(200)]))
        distances = np.linalg.norm(starts, axis=-1)
        assert starts.shape == (200, masses, 2) and 0.27 < distances.max() <= 0.3 and distances.min() < 0.05
        dark = (environment.render(400, 400) == 20).all(-1)
        assert dark.sum() > 100
        assert environment.spaces.action == size
