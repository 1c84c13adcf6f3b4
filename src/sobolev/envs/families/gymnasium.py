"""Gymnasium environments, including those of users. gymnasium is imported when it is needed, not before."""

import contextlib
import inspect
import logging
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from sobolev.envs.failures import Wrong, brief, described, raised_within, shown
from sobolev.envs.families.gymnasium_registry import check_id, creator_of
from sobolev.envs.rendering.backend import choose_backend, drawing
from sobolev.envs.rendering.frames import frame_of, resized
from sobolev.envs.specs import ActionScale, ArraySpec, Spaces, Step, build_spaces
from sobolev.envs.wrappers.checks import flag, number
from sobolev.envs.wrappers.noise import Kicks
from sobolev.errors import UserError

_SINGLE = "observation"
"""Key of the observation if the space is not a Dict."""
_MODE = "rgb_array"


class Gymnasium:
    """The environment that `gymnasium.make` makes for `name`; `repeat` of its steps per action.

    Actions are a bounded Box of floats of any shape (flattened). Observations are a Box of floats or bytes, which gets
    the key "observation", or a Dict of such boxes. Raises UserError for an unknown id, for other spaces, and for noise
    on the velocities of an environment that does not use MuJoCo.
    """

    def __init__(self, name: str, repeat: int = 1, kicks: Kicks | None = None):
        choose_backend()
        check_id(name)
        self._name, self._repeat, self._kicks = f"gym:{name}", repeat, kicks or Kicks()
        self._env, self._undrawn = _make(self._name)
        self._viewers: dict[tuple[int, int], dict[str, Any]] = {}
        if self._kicks.scale and not hasattr(getattr(self._env.unwrapped, "data", None), "qvel"):
            raise UserError(f"'{self._name}' has no velocities that could be disturbed: leave out --env.dynamics-noise")
        action = _check_action(self._name, getattr(self._env, "action_space", None))
        self._scale, self._dtype = ActionScale(self._name, action.low, action.high), action.dtype
        boxes, self._single = _boxes(getattr(self._env, "observation_space", None))
        self._keys = _names(self._name, boxes)
        entries = {key: _entry(self._name, key, boxes[own]) for own, key in self._keys.items()}
        self.spaces: Spaces = build_spaces(entries, int(np.prod(action.shape)))

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        try:
            given = self._env.reset(seed=seed)
        except TypeError as error:
            if "argument 'seed'" not in str(error) or not _from_outside(error):
                raise
            what = f"reset() of '{self._name}' takes no seed, as in the old Gym"
            raise Wrong(what, "mend it: reset(self, *, seed=None, options=None) returns (observation, info)") from error
        self._check_tuple("reset()", given, 2)
        self._kicks.reset(seed)
        return Step(self._named(given[0]), 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. `terminal` is Gymnasium's `terminated`; `last` is that or `truncated`."""
        scaled, total = self._scale(action), 0.0
        for _ in range(self._repeat):
            observation, reward, terminal, truncated = self._advance(scaled)
            total += reward
            if terminal or truncated:
                break
        return Step(self._named(observation), total, False, terminal or truncated, terminal)

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`. MuJoCo draws at this size; frames of others are resized (nearest pixel)."""
        if self._undrawn:
            raise UserError(f"'{self._name}' cannot be drawn: {self._undrawn}")
        renderer = getattr(self._env.unwrapped, "mujoco_renderer", None)
        if renderer is not None:
            with drawing():
                return self._draw(renderer, height, width)
        try:
            return resized(frame_of(self._name, self._env.render()), height, width)
        except NotImplementedError as error:
            raise UserError(f"'{self._name}' cannot be drawn: it has no render() of its own") from error

    def close(self) -> None:
        """See `Environment.close`."""
        self._env.close()

    def _draw(self, renderer: Any, height: int, width: int) -> np.ndarray:
        """Returns MuJoCo's image. Every size has its own viewer, with an OpenGL context and a frame buffer."""
        renderer._viewers = viewers = self._viewers.setdefault((height, width), {})
        if _MODE in viewers:  # another viewer, even of another environment, may have drawn last
            viewers[_MODE].make_context_current()
        else:
            size = renderer.model.vis.global_
            size.offheight, size.offwidth = renderer.height, renderer.width = height, width
        return np.asarray(self._env.render(), np.uint8)

    def _advance(self, scaled: np.ndarray) -> tuple[Any, float, bool, bool]:
        """Takes one step with a copy of the action, after adding noise to all velocities of the physics."""
        if self._kicks.scale:
            velocities = self._env.unwrapped.data.qvel
            velocities += self._kicks.draw(velocities.size)
        try:
            given = self._env.step(np.array(scaled, self._dtype))
        except (ValueError, TypeError) as error:
            if "unpack" not in str(error) or not _from_outside(error):
                raise
            # raised by a wrapper of Gymnasium, which unpacks five values
            what = f"step() of '{self._name}' did not return five values ({error})"
            raise Wrong(what, _RETURNS[5]) from error
        self._check_tuple("step()", given, 5)
        observation, reward, terminal, truncated, _ = given
        flags = flag(self._name, "terminated", terminal), flag(self._name, "truncated", truncated)
        return observation, number(self._name, reward), *flags

    def _check_tuple(self, method: str, given: Any, values: int) -> None:
        if isinstance(given, tuple | list) and len(given) == values and isinstance(given[-1], dict):
            return
        if not isinstance(given, tuple | list):
            found = f"returned {shown(given)}"
        elif len(given) != values:
            found = f"returned {len(given)} values"
        else:
            found = f"returned {shown(given[-1])} as info, not a dict"
        raise Wrong(f"{method} of '{self._name}' {found}", _RETURNS[values])

    def _named(self, given: Any) -> Any:
        """Returns the observation as a dict with the keys of `spaces`."""
        if self._single:
            return {_SINGLE: given}
        if not isinstance(given, Mapping):
            return given
        return {self._keys.get(key, str(key)): value for key, value in given.items()}


_RETURNS = {
    2: "return (observation, info), as Gymnasium does and the old Gym did not",
    5: "return (observation, reward, terminated, truncated, info), where the old Gym had only done for both flags",
}


def _make(task: str) -> tuple[Any, str]:
    """Creates the environment. Also returns why it cannot be rendered, "" if it can.

    It is created with the render mode 'rgb_array' if its class offers that, and without a render mode if that fails.
    """
    import gymnasium

    name = task.removeprefix("gym:")
    try:
        creator = creator_of(name)
        _quiet_mujoco()
        refused = "it does not offer the render mode 'rgb_array'"
        if _offers_frames(creator):
            try:
                made: Any = gymnasium.make(name, render_mode=_MODE, disable_env_checker=True)
                modes = made.metadata.get("render_modes") or ()
                return made, "" if made.render_mode == _MODE or _MODE in modes else refused
            except Exception as error:
                told = described(error.__cause__ or error)  # Gymnasium extends the message
                if not (isinstance(error, TypeError) or "render" in told):
                    raise
                refused = f"it does not take the render mode 'rgb_array' although its metadata lists it ({told})"
        return gymnasium.make(name, disable_env_checker=True), refused
    except gymnasium.error.Error as error:
        raise UserError(f"cannot make '{task}': {brief(str(error))}") from error


def _offers_frames(creator: Any) -> bool:
    """Returns whether frames are offered: by the metadata of a class, or by an argument `render_mode` of a function."""
    metadata = getattr(creator, "metadata", None)
    if isinstance(metadata, dict):
        return _MODE in (metadata.get("render_modes") or ())
    with contextlib.suppress(TypeError, ValueError):  # it has no signature
        parameters = inspect.signature(creator).parameters.values()
        return any(p.name == "render_mode" or p.kind == p.VAR_KEYWORD for p in parameters)
    return False


def _boxes(space: Any) -> tuple[dict[Any, Any], bool]:
    """Returns the spaces of the entries by key, and whether the space is not a Dict (one entry without a key)."""
    from gymnasium.spaces import Dict

    return (dict(space.spaces), False) if isinstance(space, Dict) else ({_SINGLE: space}, True)


def _names(task: str, boxes: dict[Any, Any]) -> dict[Any, str]:
    """Returns the name of every entry by its key, which need not be a string."""
    names = {key: str(key) for key in boxes}
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise UserError(f"'{task}' has two observations called '{name}': give them keys that read differently")
    return names


def _entry(task: str, key: str, box: Any) -> ArraySpec:
    from gymnasium.spaces import Box, Dict

    if isinstance(box, Box) and (box.dtype == np.uint8 or np.issubdtype(box.dtype, np.floating)):
        return ArraySpec(box.shape, "uint8" if box.dtype == np.uint8 else "float32")
    numbers = "gymnasium.wrappers.DtypeObservation(…, np.float32)"
    cure = numbers if isinstance(box, Box) else f"gymnasium.wrappers.FlattenObservation, then {numbers}"
    found = f"{shown(box, 200)}, which is nested" if isinstance(box, Dict) else shown(box, 200)
    raise UserError(
        f"the observation '{key}' of '{task}' is {found}: sobolev takes a Box of floats or bytes, or a Dict of such "
        f"boxes, so wrap the environment ({cure})"
    )


def _check_action(task: str, space: Any) -> Any:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"the action space of '{task}' is {shown(space, 200)}: sobolev needs continuous actions, a bounded Box of "
            "floats"
        )
    return space


def _from_outside(error: Exception) -> bool:
    """Returns whether an exception was raised by the call of the environment, not inside its code."""
    return raised_within(error, "sobolev") or raised_within(error, "gymnasium")


def _quiet_mujoco() -> None:
    # by default MuJoCo appends every warning to a file MUJOCO_LOG.TXT in the working directory
    if "mujoco" in sys.modules:
        sys.modules["mujoco"].set_mju_user_warning(_warn)


def _warn(text: str) -> None:
    logging.getLogger("sobolev.mujoco").log(logging.DEBUG if "deprecated" in text else logging.WARNING, text)
