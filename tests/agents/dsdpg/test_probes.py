"""Probe environments whose optimal actions and values are known, for every method, on replays of random actions."""

import numpy as np
import pytest

from tests import tiny
from tests.agents import family

BEST = np.array([0.4, -0.3], np.float32)


@pytest.fixture(autouse=True)
def _quick():
    with tiny.quickly():
        yield


def worth(action: np.ndarray) -> np.ndarray:
    """1 at the best action, less around it."""
    return 1 - np.sum((action - BEST) ** 2, -1)


def rows(number: float, count: int = 40) -> np.ndarray:
    """Observations at a step of that number."""
    found = np.zeros((count, 6), np.float32)
    found[:, 0], found[:, 2] = number, np.random.default_rng(1).normal(size=count)
    return found


@pytest.mark.long
@pytest.mark.parametrize("method", family.METHODS)
def test_the_best_action_of_the_last_step_and_its_discounted_value_before_it(method: str):
    """Three steps; the reward comes with the third, which ends the episode, and depends on the action at the second.

    So Q is 1 at the second step, at the best action, and γ · 1 at the first one, whatever the action there."""

    def reward(number, action):
        return np.where(number == 1, worth(action), 0.0)

    steps = family.steps_of(np.random.default_rng(0), 3, 900, reward, terminal=True)
    program = family.program(method)
    state = family.learned(program, steps, 1500)
    np.testing.assert_allclose(family.policy(state, rows(1)).mean(0), BEST, atol=0.12)
    best = np.broadcast_to(BEST, (40, 2))
    assert family.value(program.agent, state, rows(1), best).mean() == pytest.approx(1.0, abs=0.12)
    before = family.value(program.agent, state, rows(0), family.policy(state, rows(0))).mean()
    assert before == pytest.approx(0.8, abs=0.15)


@pytest.mark.long
@pytest.mark.parametrize("method", ["dsdpg", "mage", "td3"])
def test_a_time_limit_ends_nothing(method: str):
    """A reward of 1 at every step, in episodes that are cut off after four: the value is 1 / (1 − γ) = 5 everywhere.

    It is asked for at the policy's actions, at which critics are trained."""
    steps = family.steps_of(np.random.default_rng(0), 4, 600, lambda n, a: 1.0, terminal=False, told=False)
    program = family.program(method)
    state = family.learned(program, steps, 1000)
    found = family.value(program.agent, state, rows(0.0), family.policy(state, rows(0.0))).mean()
    assert found == pytest.approx(5.0, abs=0.5)
