import re
import subprocess
import sys

import pytest

from sobolev.envs import check_task, default_repeat, make, tasks
from sobolev.envs.families.gymnasium_registry import trainable
from sobolev.errors import UserError


def test_tasks_are_sorted_and_valid():
    assert tasks() == sorted(tasks()) and {"walker-walk", "ball-in-cup-catch", "humanoid-CMU-run"} < set(tasks())
    for task in tasks():
        check_task(task)
    check_task("gym:HalfCheetah-v5")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("walker-wlak", "walker-walk"),
        ("cartpole_swingup", "cartpole-swingup"),
        ("gym:HalfCheeta-v5", "gym:HalfCheetah-v5"),
        ("gym:HalfCheetah-v9", "gym:HalfCheetah-v5"),
        ("gym:toy_environments:Conter-v0", "gym:toy_environments:Counter-v0"),
    ],
)
def test_wrong_names_get_the_nearest(wrong: str, near: str):
    with pytest.raises(UserError, match=f"unknown task '{wrong}': did you mean {near[:-1]}"):
        check_task(wrong)


@pytest.mark.parametrize("wrong", ["NoSuch-v0", "MountainCar", "CartPole-v9", "Taxi-v9", "Walker2d-v9", "Pendulum"])
def test_suggested_environments_of_gymnasium_have_continuous_actions(wrong: str):
    with pytest.raises(UserError) as caught:
        check_task(f"gym:{wrong}")
    suggested = re.findall(r"gym:([\w-]+-v\d+)", str(caught.value).partition("': ")[2])
    assert suggested and set(suggested) <= set(trainable())
    for discrete in ("CartPole-v1", "MountainCar-v0", "Taxi-v3", "Acrobot-v1", "Ant-v4"):
        assert discrete not in trainable()


def test_suggested_environments_can_be_created():
    """Those of Gymnasium itself, but for the ones that need an extra of it."""
    others = trainable(own=False)
    for name in trainable():
        if name not in others and not name.startswith(("BipedalWalker", "LunarLander")):
            make(f"gym:{name}").close()


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(UserError, match="cannot import 'no_such.module'.*'no_such'"):
        check_task("gym:no_such.module:Env-v0")


def test_repeat():
    assert (default_repeat("walker-walk"), default_repeat("gym:Ant-v5")) == (2, 1)
    with pytest.raises(UserError, match="at least 1"):
        make("walker-walk", 0)


def test_importing_the_package_imports_neither_jax_nor_physics():
    heavy = "{'jax', 'mujoco', 'dm_control', 'gymnasium'}"
    code = f"import sobolev.envs, sobolev.envs.processes.server; print({heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_a_family_that_is_not_installed_is_told() -> None:
    with pytest.raises(UserError, match=r"unknown family 'foo' of task 'foo:bar': install its package, or choose from"):
        check_task("foo:bar")
