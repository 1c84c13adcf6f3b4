"""DeepMind Control tasks. dm_control is imported when the first environment is made, not before."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from sobolev.envs.rendering.backend import drawing, import_physics
from sobolev.envs.specs import ActionScale, ArraySpec, Spaces, Step, build_spaces
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import nearest

_SUITE = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse", "three_poles", "two_poles"),
    "cheetah": ("run",),
    "dog": ("fetch", "run", "stand", "trot", "walk"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("swim", "upright"),
    "hopper": ("hop", "stand"),
    "humanoid": ("run", "run_pure_state", "stand", "walk"),
    "humanoid_CMU": ("run", "stand", "walk"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("escape", "fetch", "run", "walk"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer15", "swimmer6"),
    "walker": ("run", "stand", "walk"),
}

TASKS: dict[str, tuple[str, str]] = {
    f"{domain}-{task}".replace("_", "-"): (domain, task) for domain, tasks in _SUITE.items() for task in tasks
}
"""(domain, task) in dm_control by published name: the whole suite without lqr, whose actions are unbounded."""

_CAMERAS = {"quadruped": 2}  # the fixed camera that shows the body; 0 elsewhere, as in the DreamerV3 code


class DeepMindControl:
    """A task of the suite by its published name, e.g. "walker-walk"; `repeat` control steps per action.

    Raises UserError for an unknown name.
    """

    def __init__(self, task: str, repeat: int = 2, kicks: Kicks | None = None):
        if task not in TASKS:
            raise nearest("task", task, TASKS)
        import_physics()
        from dm_control import suite

        self._name, self._repeat, self._kicks = task, repeat, kicks or Kicks()
        self._domain, name = TASKS[task]
        self._env: Any = suite.load(self._domain, name, task_kwargs={"random": 0})
        limits = self._env.action_spec()
        self._scale = ActionScale(task, limits.minimum, limits.maximum)
        self._cameras: dict[tuple[int, int], Any] = {}
        self._drawn_with: Any = None
        entries = {key: ArraySpec(tuple(spec.shape), "float32") for key, spec in self._env.observation_spec().items()}
        self.spaces: Spaces = build_spaces(entries, int(np.prod(limits.shape)))

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`. After reseeding the task's random state, a used environment equals a new one."""
        self._env.task.random.seed(seed)
        self._kicks.reset(seed)
        with _resetting(self._name):
            time_step = self._env.reset()
        return Step(time_step.observation, 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. A step is terminal if the task's discount is 0."""
        scaled, reward = self._scale(action), 0.0
        time_step = self._advance(scaled)
        reward += time_step.reward
        for _ in range(self._repeat - 1):
            if time_step.last():
                break
            time_step = self._advance(scaled)
            reward += time_step.reward
        last = time_step.last()
        return Step(time_step.observation, reward, False, last, last and time_step.discount == 0)

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`. Does not change the episode."""
        physics = self._env.physics
        size = physics.model.vis.global_
        with drawing():
            if physics._contexts is None:  # the default is 640×480, all of which is cleared for every image
                size.offheight, size.offwidth = height, width
            elif height > size.offheight or width > size.offwidth:
                size.offheight, size.offwidth = max(height, size.offheight), max(width, size.offwidth)
                physics._free_rendering_contexts()  # the frame buffer has the smaller size
            return self._camera(height, width).render().copy()  # the camera reuses the buffer for its next frame

    def close(self) -> None:
        """See `Environment.close`."""
        self._env.close()

    def _advance(self, action: np.ndarray) -> Any:
        """Takes one control step, after adding noise to all velocities of the physics."""
        if self._kicks.scale:
            physics = self._env.physics
            physics.data.qvel[:] += self._kicks.draw(physics.data.qvel.size)
            physics.forward()
        return self._env.step(action)

    def _camera(self, height: int, width: int) -> Any:
        """Returns dm_control's camera of a size. Cameras are kept as long as their renderer, since creating one takes
        longer than drawing a small image."""
        from dm_control.mujoco import Camera

        contexts = self._env.physics.contexts
        if self._drawn_with is not contexts:
            self._cameras, self._drawn_with = {}, contexts
        if (height, width) not in self._cameras:
            number = _CAMERAS.get(self._domain, 0)
            self._cameras[height, width] = Camera(self._env.physics, height, width, number)
        return self._cameras[height, width]


def _resetting(task: str) -> AbstractContextManager[None]:
    # the only task whose reset needs a renderer, to which it uploads its new terrain
    return drawing() if task == "quadruped-escape" else nullcontext()
