"""What the agent sees: the environment's own observations, an image, or both."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sobolev.envs import VectorEnv, View, Workers, make
from sobolev.envs.rendering.backend import egl_works, osmesa_works
from sobolev.envs.specs import ArraySpec
from sobolev.errors import UserError

SPRING, COUNTER = "gym:tests.spring:Spring-v0", "gym:toy_environments:Counter-v0"
NOTHING = np.zeros(4, np.float32)


def keys(task: str, kind, size: int = 8) -> tuple[str, ...]:
    return make(task, 1, view=View(kind, size)).spaces.keys


def test_which_observations_a_view_has():
    assert keys(SPRING, "proprio") == ("position", "velocity")
    assert keys(SPRING, "pixels") == ("image",)
    assert keys(SPRING, "both") == ("image", "position", "velocity")


def test_an_environment_with_images_of_its_own_gets_no_other():
    own = ("action", "noise", "pixel", "time")
    assert (keys(COUNTER, "proprio"), keys(COUNTER, "pixels"), keys(COUNTER, "both")) == (own, ("pixel",), own)
    step = make(COUNTER, 1, view=View("pixels")).reset(0)
    assert list(step.observation) == ["pixel"]


def test_the_image_is_of_the_present_state():
    """The toy draws its time, resized here; the first and the last step have images too."""
    environment = make(SPRING, 1, view=View("both", 8))
    assert environment.spaces.spec("image") == ArraySpec((8, 8, 3), "uint8")
    step, levels = environment.reset(3), []
    while True:
        image = step.observation["image"]
        assert image.shape == (8, 8, 3) and image.dtype == np.uint8
        levels.append(int(image.max()))
        if step.last:
            break
        step = environment.step(NOTHING[:1])
    assert levels == [20 * time for time in range(len(levels))] and len(levels) > 5
    np.testing.assert_array_equal(environment.render(8, 8), image)


def test_physics_does_not_depend_on_the_view():
    plain, seen = make(SPRING, 1), make(SPRING, 1, view=View("both", 8))
    for ours, theirs in ((plain.reset(1), seen.reset(1)), (plain.step(NOTHING[:1]), seen.step(NOTHING[:1]))):
        np.testing.assert_array_equal(ours.observation["position"], theirs.observation["position"])
        assert ours.reward == theirs.reward


def test_an_environment_that_cannot_be_drawn():
    environment = make("gym:toy_environments:Nothing-v0", 1, view=View("pixels"))
    with pytest.raises(UserError, match="does not offer the render mode 'rgb_array'"):
        environment.reset(0)


@pytest.mark.parametrize("count", [0, 2])
def test_images_come_through_the_workers_as_bytes(count: int):
    with Workers(count) as workers:
        environments = VectorEnv(workers, COUNTER, 1, [0, 1], 3, 0, view=View("pixels"))
        environments.reset(0)
        for time in (1, 2):
            environments.send(np.zeros((2, 3, 4), np.float32))
            observation = environments.receive()["observation"]
            assert list(observation) == ["pixel"] and observation["pixel"].dtype == np.uint8
            np.testing.assert_array_equal(observation["pixel"], np.full((2, 3, 1, 1, 3), time))


def test_a_renderer_that_rounds_otherwise_is_no_other_environment():
    """A checkpoint may be resumed on another machine; what differs by more is a difference."""
    with Workers(0) as workers:
        environments = VectorEnv(workers, SPRING, 1, [0], 2, 0, view=View("both", 16))
        environments.reset(0)
        environments.send(np.zeros((1, 2, 1), np.float32))
        now = environments.receive()
        records = environments.records()
        now["observation"]["image"] += 1
        environments.restore(records, now)
        now["observation"]["image"] += 5
        with pytest.raises(UserError, match="does not repeat episode 0"):
            environments.restore(records, now)


drawn = pytest.mark.skipif(
    not (egl_works() or osmesa_works()),
    reason="neither EGL nor OSMesa is installed here (Debian's packages libegl1, libosmesa6)",
)

_BY_HAND = """
import numpy as np
from sobolev.envs import View, make
from sobolev.envs.rendering.backend import choose_backend
choose_backend()  # before anything imports mujoco
from dm_control import suite
tasks = ("cartpole-balance", "cartpole", "balance", 0), ("quadruped-walk", "quadruped", "walk", 2)
for task, domain, name, camera in tasks:
    ours, theirs = make(task, 2, view=View("both", 64)), suite.load(domain, name, task_kwargs={"random": 5})
    step, frames = ours.reset(5), []
    theirs.reset()
    for _ in range(3):
        frames.append((step.observation["image"], theirs.physics.render(64, 64, camera_id=camera)))
        large = ours.render(96, 128)  # another size in between, as for a film
        assert np.array_equal(large, theirs.physics.render(96, 128, camera_id=camera))
        step = ours.step(np.full(ours.spaces.action, 1.0, np.float32))
        for _ in range(2):
            theirs.step(theirs.action_spec().maximum)
    assert all(np.array_equal(a, b) for a, b in frames) and np.ptp(frames[0][0]) > 50
    assert not np.array_equal(frames[0][0], frames[2][0])
    print(task)
"""


@drawn
def test_images_of_deepmind_control_are_its_own():
    """The bytes of dm_control's `physics.render` with the cameras that DreamerV3 takes, in a fresh process."""
    kept = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{_BY_HAND}"]
    done = subprocess.run(command, env=kept, capture_output=True, text=True)
    assert done.stdout.split() == ["cartpole-balance", "quadruped-walk"], done.stderr
