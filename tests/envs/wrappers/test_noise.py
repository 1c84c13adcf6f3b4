"""Noise on observations and velocities: its law, that zero changes nothing, and that an episode repeats bit for bit."""

import numpy as np
import pytest

from sobolev.config import configure, resolved
from sobolev.envs import Noise, VectorEnv, View, Workers, make
from sobolev.envs.families.toy import DRAG
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import UserError

TASKS = ["gym:InvertedDoublePendulum-v5", "cartpole-balance", "toy:point-mass"]
BOTH = Noise(observation=0.2, dynamics=0.1)


def rollout(task: str, noise: Noise | None, seed: int = 5, length: int = 6) -> list:
    environment = make(task, noise=noise)
    steps = [environment.reset(seed)]
    while len(steps) <= length and not steps[-1].last:
        steps.append(environment.step(np.full(environment.spaces.action, 0.3, np.float32)))
    environment.close()
    return steps


def flat(step) -> np.ndarray:
    return np.concatenate([np.ravel(value) for _, value in sorted(step.observation.items())])


@pytest.mark.parametrize("task", TASKS)
def test_no_noise_is_the_plain_environment(task: str):
    for plain, with_none in zip(rollout(task, None), rollout(task, Noise()), strict=True):
        np.testing.assert_array_equal(flat(plain), flat(with_none))
        assert plain.reward == with_none.reward


@pytest.mark.parametrize("task", TASKS)
def test_observation_noise_multiplies_what_is_seen_and_nothing_else(task: str):
    plain, noisy = rollout(task, None), rollout(task, Noise(observation=0.2))
    assert [step.reward for step in plain] == [step.reward for step in noisy]
    ratios = np.concatenate([flat(n)[flat(p) != 0] / flat(p)[flat(p) != 0] for p, n in zip(plain, noisy, strict=True)])
    assert 0.8 - 1e-5 <= ratios.min() < ratios.max() <= 1.2 + 1e-5
    assert len(np.unique(ratios)) == len(ratios)  # every number and step by itself
    zeros = [flat(n)[flat(p) == 0] for p, n in zip(plain, noisy, strict=True)]
    assert not np.concatenate(zeros).any()


def test_observation_noise_is_uniform():
    environment = make("toy:point-mass-1", noise=Noise(observation=0.2))
    environment._environment.position = None  # pyright: ignore[reportAttributeAccessIssue]
    step = make("toy:point-mass-1").reset(0)
    factors = np.concatenate(
        [environment._disturb(step).observation["position"] / step.observation["position"] for _ in range(4000)]  # pyright: ignore[reportAttributeAccessIssue]
    )
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    assert factors.std() == pytest.approx(0.4 / 12**0.5, rel=0.03)


@pytest.mark.parametrize("task", TASKS)
def test_dynamics_noise_changes_what_happens(task: str):
    plain, noisy = rollout(task, None), rollout(task, Noise(dynamics=0.1))
    np.testing.assert_array_equal(flat(plain[0]), flat(noisy[0]))  # a reset is as it was
    assert not np.array_equal(flat(plain[1]), flat(noisy[1]))


def test_kicks_are_added_to_velocities_before_every_control_step():
    """The kicked environment is the plain one whose velocities are changed by hand, with an action repeat of two."""
    import gymnasium

    ours, theirs, kicks = make("gym:Hopper-v5", 2, noise=Noise(dynamics=0.3)), gymnasium.make("Hopper-v5"), Kicks(0.3)
    ours.reset(11)
    theirs.reset(seed=11)
    kicks.reset(11)
    for _ in range(3):
        step, total, observation = ours.step(np.zeros(3, np.float32)), 0.0, None
        for _ in range(2):
            data = theirs.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]
            data.qvel[:] += kicks.draw(6)
            observation, reward, *_ = theirs.step(np.zeros(3, np.float32))
            total += float(reward)
        np.testing.assert_array_equal(step.observation["observation"], np.float32(observation))
        assert step.reward == pytest.approx(total)


def test_kicks_are_added_to_the_velocities_of_deepmind_control():
    """As above; what follows from velocities is computed anew, of which dm_control's next step begins."""
    from dm_control import suite

    kicks, action = Kicks(0.3), np.full(6, 0.2, np.float32)
    ours, theirs = make("walker-walk", 2, noise=Noise(dynamics=0.3)), suite.load("walker", "walk", {"random": 11})
    first, time_step = ours.reset(11), theirs.reset()
    np.testing.assert_array_equal(first.observation["velocity"], np.float32(time_step.observation["velocity"]))
    kicks.reset(11)
    for _ in range(3):
        step, total = ours.step(action), 0.0
        for _ in range(2):
            theirs.physics.data.qvel[:] += kicks.draw(9)
            theirs.physics.forward()
            time_step = theirs.step(action)
            total += time_step.reward
        for name, value in time_step.observation.items():
            np.testing.assert_array_equal(step.observation[name], np.float32(value), err_msg=name)
        assert step.reward == pytest.approx(total)


def test_kicks_are_added_to_the_velocity_of_the_toy():
    """Two environments with the same noise of their own differ by the kicks, which drag slows as it does all speed."""
    plain, kicked, kicks = make("toy:point-mass", 2), make("toy:point-mass", 2, noise=Noise(dynamics=0.1)), Kicks(0.1)
    plain.reset(11)
    kicked.reset(11)
    kicks.reset(11)
    expected = np.zeros(2)
    for _ in range(3):
        velocities = [each.step(np.full(2, 0.2, np.float32)).observation["velocity"] for each in (plain, kicked)]
        for _ in range(2):
            expected = DRAG * expected + kicks.draw(2)
        np.testing.assert_allclose(velocities[1] - velocities[0], expected, atol=1e-6)


def test_kicks_are_normal_of_their_scale():
    kicks = Kicks(0.25)
    kicks.reset(1)
    drawn = kicks.draw(20_000)
    assert drawn.std() == pytest.approx(0.25, rel=0.03) and drawn.mean() == pytest.approx(0, abs=0.01)
    kicks.reset(1)
    np.testing.assert_array_equal(kicks.draw(20_000), drawn)
    kicks.reset(2)
    assert not np.array_equal(kicks.draw(20_000), drawn)


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_with_noise_repeats_from_its_seed_in_a_used_environment(task: str):
    environment = make(task, noise=BOTH)
    first = rollout(task, BOTH)
    for seed in (3, 5):
        again = [environment.reset(seed)]
        while len(again) < len(first) and not again[-1].last:
            again.append(environment.step(np.full(environment.spaces.action, 0.3, np.float32)))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(flat(one), flat(other))


@pytest.mark.parametrize("task", TASKS)
def test_a_noisy_run_is_restored_bit_for_bit(task: str):
    with Workers(0) as workers:
        one, other = (VectorEnv(workers, task, None, [0, 4], 2, 0, noise=BOTH) for _ in range(2))
        one.reset(0)
        rng = np.random.default_rng(0)
        for _ in range(8):
            one.send(rng.uniform(-1, 1, (2, 2, one.spaces.action)).astype(np.float32))
            now = one.receive()
        restored = other.restore(one.records(), now)
        for key, value in now["observation"].items():
            np.testing.assert_array_equal(restored["observation"][key], value)
        noise_of_streams = now["observation"][next(iter(now["observation"]))]
        assert not np.array_equal(noise_of_streams[0], noise_of_streams[1])


def test_environments_without_velocities_refuse_kicks():
    with pytest.raises(UserError, match="has no velocities that could be disturbed: leave out --env.dynamics-noise"):
        make("gym:toy_environments:Counter-v0", noise=Noise(dynamics=0.1))


def test_noise_that_would_disturb_nothing_is_refused():
    noise, task = Noise(observation=0.2), "gym:toy_environments:Counter-v0"
    with pytest.raises(UserError, match="observed by images or bytes alone: leave out --env.observation-noise"):
        make(task, view=View("pixels"), noise=noise)
    plain, noisy = (make(task, view=View("both"), noise=some).reset(0).observation for some in (None, noise))
    np.testing.assert_array_equal(plain["pixel"], noisy["pixel"])
    chosen = {"observations": "pixels", "env.observation_noise": 0.2}
    with pytest.raises(UserError, match="does not disturb images: leave it out, or take --observations both"):
        resolved(configure("walker-walk", settings=chosen), "cpu")
