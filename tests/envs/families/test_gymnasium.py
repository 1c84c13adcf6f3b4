import numpy as np
import pytest

from sobolev.envs import make
from sobolev.envs.specs import ArraySpec
from sobolev.errors import UserError


def test_mujoco_equals_gymnasium_by_hand():
    import gymnasium

    ours, theirs = make("gym:HalfCheetah-v5", 2), gymnasium.make("HalfCheetah-v5")
    assert ours.spaces.keys == ("observation",) and ours.spaces.spec("observation") == ArraySpec((17,), "float32")
    step, wanted = ours.reset(9), theirs.reset(seed=9)
    np.testing.assert_array_equal(step.observation["observation"], np.float32(wanted[0]))
    for action in np.random.default_rng(0).uniform(-2, 2, (10, 6)).astype(np.float32):
        step = ours.step(action)
        first, second = theirs.step(np.clip(action, -1, 1)), theirs.step(np.clip(action, -1, 1))
        np.testing.assert_array_equal(step.observation["observation"], np.float32(second[0]))
        assert step.reward == float(first[1]) + float(second[1]) and not (step.first or step.last or step.terminal)


def test_actions_of_any_shape_and_observations_of_several_entries():
    environment = make("gym:toy_environments:Counter-v0")
    assert environment.spaces.action == 4 and environment.spaces.keys == ("action", "noise", "pixel", "time")
    assert environment.spaces.spec("pixel") == ArraySpec((1, 1, 3), "uint8")
    first = environment.reset(0)
    step = environment.step(np.array([-9, 0, 0.5, 1], np.float32))
    np.testing.assert_array_equal(step.observation["action"], np.array([[-1, 2], [0.5, 30]], np.float32))
    assert step.reward == 31.5 and step.observation["pixel"].dtype == np.uint8
    assert first.observation["time"] == 0 and first.first and first.reward == 0


@pytest.mark.parametrize(("name", "terminal"), [("Counter-v0", True), ("Timed-v0", False)])
def test_terminal_is_not_a_time_limit_and_repeat_stops_at_the_end(name: str, terminal: bool):
    environment = make(f"gym:toy_environments:{name}", 2)
    environment.reset(0)
    steps = [environment.step(np.ones(4, np.float32)) for _ in range(4)]
    assert [step.last for step in steps] == [False, False, False, True]
    assert [step.terminal for step in steps] == [False, False, False, terminal]
    assert [step.reward for step in steps] == [72, 72, 72, 36]  # the limits sum to 36, and the end comes after 7
    with pytest.raises(RuntimeError, match="is over"):
        environment.step(np.ones(4, np.float32))


@pytest.mark.parametrize("name", ["Action-discrete", "Action-unbounded", "Action-half", "Action-integers"])
def test_other_actions_are_refused(name: str):
    with pytest.raises(UserError, match=f"the action space of 'gym:toy_environments:{name}-v0' is .*bounded"):
        make(f"gym:toy_environments:{name}-v0")


@pytest.mark.parametrize("name", ["Observation-discrete", "Observation-nested", "Observation-integers"])
def test_other_observations_are_refused(name: str):
    with pytest.raises(UserError, match="sobolev takes a Box of floats or bytes"):
        make(f"gym:toy_environments:{name}-v0")


def test_an_observation_with_nan_is_refused():
    environment = make("gym:toy_environments:Nan-v0")
    environment.reset(0)
    environment.step(np.zeros(4, np.float32))
    environment.step(np.zeros(4, np.float32))
    with pytest.raises(UserError, match="'noise' of 'gym:toy_environments:Nan-v0' holds NaN"):
        environment.step(np.zeros(4, np.float32))


def test_an_environment_without_pictures_says_so():
    with pytest.raises(UserError, match="cannot be drawn"):
        make("gym:toy_environments:Nothing-v0").render(8, 8)


def test_other_pictures_are_resized():
    environment = make("gym:toy_environments:Counter-v0")
    environment.reset(0)
    frame = environment.render(2, 12)
    assert frame.shape == (2, 12, 3)
    np.testing.assert_array_equal(frame[:, ::2], environment.render(4, 6)[::2])
