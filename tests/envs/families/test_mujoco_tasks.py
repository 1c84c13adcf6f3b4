"""The MuJoCo tasks of paper 2: shapes, ends of episodes, and noise on them."""

import numpy as np
import pytest

from sobolev.envs import Noise, make

TASKS = {
    "Ant": (105, 8),
    "Humanoid": (348, 17),
    "Walker2d": (17, 6),
    "InvertedDoublePendulum": (9, 1),
    "HalfCheetah": (17, 6),
    "Hopper": (11, 3),
}
FALL = {"Walker2d", "InvertedDoublePendulum", "Hopper", "Humanoid", "Ant"}
"""Those whose episodes end where the body falls; the cheetah's only ever reach the time limit."""


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_its_published_shapes_and_takes_noise(name: str):
    size, actions = TASKS[name]
    told = {}
    for noise in (Noise(), Noise(observation=0.2), Noise(dynamics=0.5)):
        environment = make(f"gym:{name}-v5", noise=noise)
        assert environment.spaces.spec("observation").shape == (size,) and environment.spaces.action == actions
        rng, steps = np.random.default_rng(0), [environment.reset(1)]
        while not steps[-1].last and len(steps) <= 200:
            steps.append(environment.step(rng.uniform(-1, 1, actions).astype(np.float32)))
        seen = np.stack([step.observation["observation"] for step in steps])
        assert seen.dtype == np.float32 and np.isfinite(seen).all()
        assert steps[-1].terminal == (steps[-1].last and name in FALL)
        environment.close()
        told[noise] = seen, [step.reward for step in steps]
    (plain, rewards), (observed, same), (kicked, others) = told.values()
    ratios = observed[plain != 0] / plain[plain != 0]
    assert same == rewards and 0.8 - 1e-5 <= ratios.min() < ratios.max() <= 1.2 + 1e-5
    np.testing.assert_array_equal(kicked[0], plain[0])  # a reset is as it was
    assert not np.array_equal(kicked[1], plain[1]) and others != rewards


def test_a_time_limit_is_no_end():
    environment = make("gym:HalfCheetah-v5", 10)
    step, count = environment.reset(0), 0
    while not step.last:
        step, count = environment.step(np.zeros(6, np.float32)), count + 1
    assert count == 100 and not step.terminal  # 1000 control steps


def test_a_fall_is_one():
    environment = make("gym:InvertedDoublePendulum-v5")
    step = environment.reset(0)
    while not step.last:
        step = environment.step(np.ones(1, np.float32))
    assert step.terminal
