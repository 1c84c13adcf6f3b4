"""`Checked` checks everything that an environment returns, for every family, before other code uses it.

An observation must have exactly the entries of its space, with exactly their shapes: nothing is broadcast or reshaped.
Entries of float32 may be floats, integers or booleans of any dtype, if they are finite and in float32's range
(±3.4e38). Entries of uint8 may be integers or booleans from 0 to 255, but not floats. Lists and arrays of jax or torch
are converted. A reward is a number or an array with one element; `terminated` and `truncated` are booleans.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sobolev.envs.failures import Wrong, guarded, shown
from sobolev.envs.specs import ArraySpec, Environment, Spaces, Step, build_spaces
from sobolev.errors import UserError

_LARGEST = float(np.finfo(np.float32).max)
_MEND = "an agent cannot learn from that, so fix the environment"
_GRAY = 32  # smallest side of a matrix of bytes that counts as a gray image


class Checked:
    """Checks the observations, rewards and flags of an environment, and turns its exceptions into one sentence.

    Observations are copied into the dtypes of the spaces. Error messages name the environment, the entry and its value,
    and the seed and number of actions of the episode, so that the error can be reproduced. Entries of size 0 are left
    out of the observations. Raises UserError for spaces that no agent can use.
    """

    def __init__(self, task: str, environment: Environment):
        self._task, self._environment = task, environment
        with guarded(task, lambda: "while it was created"):
            whole = environment.spaces
        check_spaces(task, whole)
        seen = {key: spec for key, spec in whole.observation if math.prod(spec.shape)}
        self.spaces: Spaces = build_spaces(seen, whole.action)
        self._keys = set(whole.keys)
        self._entries = [(key, spec.shape, np.dtype(spec.dtype)) for key, spec in whole.observation]
        self._seed, self._actions, self._ended = -1, 0, True

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        self._seed, self._actions, self._ended = seed, 0, False
        with guarded(self._task, lambda: self._where("reset()")):
            return self._checked(self._environment.reset(seed))

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. The environment gets a copy of the action, which it may change.

        Also raises UserError for an action that is not finite, since that is an error of the agent.
        """
        if self._ended:
            raise RuntimeError(f"the episode of {self._task} is over: reset it first")
        self._actions += 1
        if not np.isfinite(action).all():
            raise UserError(
                f"the agent's action for '{self._task}' is {shown(action)} ({self._where('step()')}): its numbers are "
                "no longer finite, most likely because observations, rewards or the learning rate are very large"
            )
        with guarded(self._task, lambda: self._where("step()")):
            step = self._checked(self._environment.step(np.array(action)))
        self._ended = step.last
        return step

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`."""
        with guarded(self._task, lambda: self._where("render()")):
            frame = np.array(self._environment.render(height, width))
            if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                found = f"{frame.dtype}{list(frame.shape)}"
                raise Wrong(f"render() of '{self._task}' gave {found}", f"give uint8[{height}, {width}, 3]")
            return frame

    def close(self) -> None:
        """See `Environment.close`."""
        with guarded(self._task, lambda: self._where("close()")):
            self._environment.close()

    def _where(self, method: str) -> str:
        if self._seed < 0:
            return f"in {method}, before the first reset"
        if method == "reset()":
            return f"in {method}, of the episode with seed {self._seed}"
        actions = "1 action" if self._actions == 1 else f"{self._actions} actions"
        return f"in {method}, after {actions} of the episode with seed {self._seed}"

    def _checked(self, step: Step) -> Step:
        task, given = self._task, step.observation
        if not isinstance(given, Mapping) or given.keys() != self._keys:
            raise _other_keys(task, given, sorted(self._keys))
        observation = {key: entry(task, key, shape, dtype, given[key]) for key, shape, dtype in self._entries}
        if len(observation) > len(self.spaces.observation):
            observation = {key: observation[key] for key in self.spaces.keys}
        flags = (flag(task, name, value) for name, value in zip(Step._fields[2:], step[2:], strict=True))
        return Step(observation, number(task, step.reward), *flags)


def entry(task: str, key: str, shape: tuple[int, ...], dtype: np.dtype, given: Any) -> np.ndarray:
    """Returns an observation as a new array of a shape and dtype (float32 or uint8). Raises Wrong if it has another
    shape, is not numeric, not finite or out of range."""
    what = f"the observation '{key}' of '{task}'"
    array = given if isinstance(given, np.ndarray) else _array(what, given)
    if array.shape != shape:
        raise Wrong(f"{what} has shape {array.shape}, but its space says {shape}", "fix one of them")
    kind = array.dtype.kind
    if kind not in "fiub":
        raise Wrong(f"{what} is {shown(given)}, no numbers", _MEND)
    if dtype == np.uint8:
        if array.dtype != dtype and (kind == "f" or (array.size and not 0 <= array.min() <= array.max() <= 255)):
            raise Wrong(
                f"{what} holds {array.dtype} {shown(array)}, but its space says bytes, uint8", "fix one of them"
            )
        return np.array(array, dtype)
    if array.dtype == dtype:
        value = np.array(array)
    else:
        with np.errstate(all="ignore"):  # checked below, whatever NumPy is told to do
            value = np.array(array, dtype)
    if not np.isfinite(value).all():
        raise Wrong(f"{what} holds {_not_finite(array, value)}", _MEND)
    return value


def number(task: str, given: Any) -> float:
    """Returns a reward as a float. Raises Wrong if it is not one number, is NaN, or is out of float32's range."""
    value = given
    if type(given) is not float:
        array = _array(f"the reward of '{task}'", given)
        if array.size != 1 or array.dtype.kind not in "fiub":
            raise Wrong(f"the reward of '{task}' is {shown(given)}, not a number", _MEND)
        value = float(array.reshape(()))
    if not abs(value) <= _LARGEST:  # NaN is not either
        beyond = ", which float32 does not have" if np.isfinite(value) else ""
        raise Wrong(f"the reward of '{task}' is {value:g}{beyond}", _MEND)
    return value


def flag(task: str, name: str, given: Any) -> bool:
    """Returns a flag, which is a boolean or an array that holds one, as a bool. Raises Wrong for anything else."""
    if type(given) is bool:
        return given
    array = _array(f"'{name}' of '{task}'", given)
    if array.size != 1 or array.dtype != bool:
        raise Wrong(f"'{name}' of '{task}' is {shown(given)}, not a boolean", "give True or False, as bool(…) does")
    return bool(array.reshape(()))


def check_spaces(task: str, spaces: Spaces) -> None:
    """Raises UserError for spaces that no agent can use: no observations, no actions, or images laid out otherwise."""
    if not spaces.action:
        raise UserError(f"the action space of '{task}' has no dimensions: an agent needs at least one to act with")
    if not sum(math.prod(spec.shape) for _, spec in spaces.observation):
        raise UserError(f"'{task}' has no observations: give its observation space at least one number")
    for key, spec in spaces.observation:
        complaint = _picture(spec)
        if complaint:
            raise UserError(f"the observation '{key}' of '{task}' is uint8{list(spec.shape)}, {complaint}")


def _picture(spec: ArraySpec) -> str | None:
    """Returns what is wrong with an entry that looks like an image but is not [height, width, channels], else None."""
    shape = spec.shape
    if spec.dtype != "uint8":
        return None
    wrapper = "gymnasium.wrappers.TransformObservation"
    if spec.is_image and shape[0] < min(shape[1:]) and shape[2] > 4 and _ratio(*shape[1:]) < _ratio(*shape[:2]):
        return (
            "an image with channels first, but channels come last here: wrap the environment in "
            f"{wrapper} with a function that does np.moveaxis(observation, 0, -1), and a Box of that shape"
        )
    if len(shape) == 2 and min(shape) >= _GRAY:
        return (
            "a gray image without an axis for its channel: give it one, as "
            "gymnasium.wrappers.GrayscaleObservation(…, keep_dim=True) does, or flatten it if it is no image "
            "(gymnasium.wrappers.FlattenObservation)"
        )
    if len(shape) > 3:
        return (
            "a stack of images, but an image is [height, width, channels] here: join them along their channels, in "
            f"{wrapper} with a function that does np.concatenate(list(observation), -1), and a Box of that shape"
        )
    return None


def _ratio(one: int, other: int) -> float:
    return max(one, other) / max(min(one, other), 1)


def _array(what: str, given: Any) -> np.ndarray:
    if given is None:
        raise Wrong(f"{what} is None", _MEND)
    try:
        return np.asarray(given)
    except Exception as error:  # lists of unequal lengths, or objects that raise their own errors
        raise Wrong(f"{what} is {shown(given)}, which is not an array of numbers", _MEND) from error


def _not_finite(array: np.ndarray, value: np.ndarray) -> str:
    """Describes the first value of an array that is not finite in its float32 copy."""
    if np.isnan(array).any():
        return "NaN"
    return "infinity" if np.isinf(array).any() else f"{array[np.isinf(value)][0]:g}, which float32 does not have"


def _other_keys(task: str, given: Any, keys: list[str]) -> Wrong:
    if not isinstance(given, Mapping):
        return Wrong(f"the observation of '{task}' is {shown(given)}, but its space is a Dict", "give a dict")
    missing = [key for key in keys if key not in given]
    more = [key for key in given if key not in keys]
    what = f"lacks the entry '{missing[0]}' of its space" if missing else f"has '{more[0]}', which is not in its space"
    return Wrong(f"the observation of '{task}' {what}", f"give {', '.join(map(repr, keys))}")
