import numpy as np
import pytest

from sobolev.envs import make
from sobolev.envs.families.dmc import TASKS
from sobolev.envs.specs import ArraySpec, Environment, Step


def _actions(environment: Environment, number: int) -> np.ndarray:
    shape = (number, environment.spaces.action)
    return np.random.default_rng(0).uniform(-1.3, 1.3, shape).astype(np.float32)


def _same(one: Step, other: Step) -> bool:
    observations = zip(one.observation.values(), other.observation.values(), strict=True)
    return one[1:] == other[1:] and all(np.array_equal(a, b) for a, b in observations)


def test_names_are_the_suite_but_lqr():
    from dm_control import suite

    assert set(TASKS.values()) == {pair for pair in suite.ALL_TASKS if pair[0] != "lqr"}
    assert all("_" not in name for name in TASKS)


@pytest.mark.parametrize(("task", "repeat"), [("walker-walk", 2), ("quadruped-run", 3), ("ball-in-cup-catch", 1)])
def test_equals_dm_control_stepped_by_hand(task: str, repeat: int):
    from dm_control import suite

    ours, theirs = make(task, repeat), suite.load(*TASKS[task], task_kwargs={"random": 77})
    limits = theirs.action_spec()
    step, wanted = ours.reset(77), theirs.reset()
    for action in [None, *_actions(ours, 6)]:
        if action is not None:
            step, reward = ours.step(action), 0.0
            for _ in range(repeat):
                share = (np.clip(np.float64(action), -1, 1) + 1) / 2
                wanted = theirs.step(
                    np.clip(action, -1, 1)
                    if task != "quadruped-run"
                    else limits.minimum * (1 - share) + limits.maximum * share
                )
                reward += wanted.reward
            np.testing.assert_allclose(step.reward, reward, rtol=1e-6, atol=1e-9)
        for key, value in wanted.observation.items():
            ours_is = step.observation[key]
            assert ours_is.dtype == np.float32 and ours_is.shape == np.shape(value)
            np.testing.assert_allclose(ours_is, value, rtol=1e-4, atol=1e-4)
        assert step.first == (action is None) and not step.last and not step.terminal


def test_walker_matches_to_the_bit_where_the_range_is_the_unit_range():
    from dm_control import suite

    ours, theirs = make("walker-walk"), suite.load("walker", "walk", task_kwargs={"random": 5})
    step, wanted = ours.reset(5), theirs.reset()
    for action in _actions(ours, 30):
        step = ours.step(action)
        theirs.step(np.clip(action, -1, 1))
        wanted = theirs.step(np.clip(action, -1, 1))
    for key, value in wanted.observation.items():
        np.testing.assert_array_equal(step.observation[key], np.float32(value))


def test_spaces():
    spaces = make("walker-walk").spaces
    assert spaces.action == 6 and spaces.keys == ("height", "orientations", "velocity")
    assert spaces.spec("height") == ArraySpec((), "float32")
    assert spaces.spec("orientations") == ArraySpec((14,), "float32")


def test_a_used_environment_equals_a_fresh_one():
    used, fresh = make("finger-turn-hard"), make("finger-turn-hard")
    actions = _actions(used, 20)
    used.reset(3)
    for action in actions:
        used.step(-action)
    assert _same(used.reset(4), fresh.reset(4))
    assert all(_same(used.step(action), fresh.step(action)) for action in actions)
    assert not _same(used.reset(5), fresh.reset(4))


def test_an_episode_is_501_agent_steps_and_ends_by_time_alone():
    environment, zero = make("cartpole-balance"), np.zeros(1, np.float32)
    step, number, total = environment.reset(0), 1, 0.0
    while not step.last:
        step = environment.step(zero)
        number, total = number + 1, total + step.reward
    assert number == 501 and not step.terminal and 0 < total <= 1000
    with pytest.raises(RuntimeError, match="is over"):
        environment.step(zero)


def test_an_episode_may_end_within_an_action():
    environment, zero = make("cartpole-balance", 3), np.zeros(1, np.float32)
    step, number = environment.reset(0), 1
    while not step.last:
        step, number = environment.step(zero), number + 1
    assert number == 1 + 334  # 333 actions of three steps, and one of one
    assert step.reward <= 1.0
