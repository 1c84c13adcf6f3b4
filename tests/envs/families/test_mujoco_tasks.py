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
@pytest.mark.parametrize("noise", [None, Noise(0.2, 0.5)], ids=["plain", "noisy"])
def test_a_task_has_its_published_shapes_and_takes_noise(name: str, noise: Noise | None):
    environment = make(f"gym:{name}-v5", noise=noise)
    size, actions = TASKS[name]
    assert environment.spaces.spec("observation").shape == (size,) and environment.spaces.action == actions
    rng, step, count = np.random.default_rng(0), environment.reset(1), 0
    while not step.last and count < 200:
        step, count = environment.step(rng.uniform(-1, 1, actions).astype(np.float32)), count + 1
    assert step.observation["observation"].dtype == np.float32 and np.isfinite(step.observation["observation"]).all()
    if name in FALL and step.last:
        assert step.terminal
    assert step.last or count == 200
    environment.close()


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
