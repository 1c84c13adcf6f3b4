"""Environments of Gymnasium, one's own included. gymnasium is imported when it is needed, not before."""

import importlib
import logging
import sys
from typing import Any

import numpy as np

from sobolev.envs.noise import Kicks
from sobolev.envs.rendering import choose_backend, drawing
from sobolev.envs.specs import ActionScale, ArraySpec, Spaces, Step, build_spaces, check_finite
from sobolev.errors import UserError, nearest


def check_id(name: str) -> None:
    """UserError unless `name` ("Ant-v5" or "package.module:Env-v0", which imports the module) is registered."""
    import gymnasium

    module, _, plain = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not (module + ".").startswith(error.name + "."):
                raise
            raise UserError(f"cannot import '{module}' of the task 'gym:{name}': no module '{error.name}'") from error
    try:
        gymnasium.spec(plain)
    except gymnasium.error.Error as error:
        if plain in gymnasium.registry:
            raise
        wrong = nearest("task", f"gym:{name}", [f"gym:{module}:{k}" if module else f"gym:{k}" for k in _ids()])
        raise wrong from error


def registration(name: str) -> bytes | None:
    """The entry of this process's registry, to be given to `register` in another one; None if it has to import it.

    So an environment that a script registers, even one defined in the script itself, works in the workers.
    """
    if ":" in name or "gymnasium" not in sys.modules:
        return None
    import cloudpickle
    import gymnasium

    spec = gymnasium.registry.get(name)
    return None if spec is None else cloudpickle.dumps(spec)


def register(entry: bytes) -> None:
    """Put what `registration` gave into this process's registry, unless the id is there."""
    import cloudpickle
    import gymnasium

    spec = cloudpickle.loads(entry)
    gymnasium.registry.setdefault(spec.id, spec)


class Gymnasium:
    """The environment that `gymnasium.make` makes for `name`; `repeat` of its steps per action.

    Actions: a bounded Box of floats of any shape (flattened). Observations: a Box of floats or bytes, which gets the
    key "observation", or a Dict of such boxes. Raises UserError for an unknown id, for other spaces, and for kicks to
    an environment that is not MuJoCo's.
    """

    def __init__(self, name: str, repeat: int = 1, kicks: Kicks | None = None):
        choose_backend()
        check_id(name)
        import gymnasium

        self._name, self._repeat, self._ended = f"gym:{name}", repeat, True
        mode = "rgb_array" if "rgb_array" in _render_modes(name) else None
        _quiet_mujoco()
        try:
            self._env: Any = gymnasium.make(name, render_mode=mode) if mode else gymnasium.make(name)
        except gymnasium.error.DependencyNotInstalled as error:
            raise UserError(f"cannot make '{self._name}': {error}") from error
        self._mode, self._kicks = mode, kicks or Kicks()
        self._viewers: dict[tuple[int, int], dict[str, Any]] = {}
        if self._kicks.scale and not hasattr(getattr(self._env.unwrapped, "data", None), "qvel"):
            raise UserError(f"'{self._name}' has no velocities that could be disturbed: leave out --env.dynamics-noise")
        action = _check_action(self._name, self._env.action_space)
        self._scale, self._dtype = ActionScale(self._name, action.low, action.high), action.dtype
        self._single = not isinstance(self._env.observation_space, gymnasium.spaces.Dict)
        entries = self._entries(self._env.observation_space)
        self.spaces: Spaces = build_spaces(entries, int(np.prod(action.shape)))
        self._dtypes = {key: np.dtype(spec.dtype) for key, spec in self.spaces.observation}

    def reset(self, seed: int) -> Step:
        """See `Environment.reset`."""
        observation, _ = self._env.reset(seed=seed)
        self._kicks.reset(seed)
        self._ended = False
        return Step(self._observation(observation), 0.0, True, False, False)

    def step(self, action: np.ndarray) -> Step:
        """See `Environment.step`. Terminal: Gymnasium's `terminated`; last: that or `truncated`."""
        if self._ended:
            raise RuntimeError(f"the episode of {self._name} is over: reset it first")
        scaled, total = self._scale(action).astype(self._dtype), 0.0
        observation, reward, terminal, truncated, _ = self._advance(scaled)
        total += float(reward)
        for _ in range(self._repeat - 1):
            if terminal or truncated:
                break
            observation, reward, terminal, truncated, _ = self._advance(scaled)
            total += float(reward)
        self._ended = bool(terminal or truncated)
        return Step(self._observation(observation), total, False, self._ended, bool(terminal))

    def render(self, height: int, width: int) -> np.ndarray:
        """See `Environment.render`. MuJoCo draws at this size; others at theirs, resized to the nearest pixel."""
        if self._mode is None:
            raise UserError(f"'{self._name}' cannot be drawn: it does not offer the render mode 'rgb_array'")
        renderer = getattr(self._env.unwrapped, "mujoco_renderer", None)
        if renderer is None:
            return _resize(np.asarray(self._env.render(), np.uint8), height, width)
        with drawing():
            return self._draw(renderer, height, width)

    def close(self) -> None:
        """See `Environment.close`."""
        self._env.close()

    def _draw(self, renderer: Any, height: int, width: int) -> np.ndarray:
        """MuJoCo's image. For every size there is a viewer, with an OpenGL context and a frame buffer of its own."""
        renderer._viewers = viewers = self._viewers.setdefault((height, width), {})
        if self._mode in viewers:  # another viewer, of another environment too, may have drawn last
            viewers[self._mode].make_context_current()
        else:
            size = renderer.model.vis.global_
            size.offheight, size.offwidth = renderer.height, renderer.width = height, width
        return np.asarray(self._env.render(), np.uint8)

    def _advance(self, action: np.ndarray) -> Any:
        """One step of the environment, after a kick to all velocities of its physics."""
        if self._kicks.scale:
            velocities = self._env.unwrapped.data.qvel
            velocities += self._kicks.draw(velocities.size)
        return self._env.step(action)

    def _entries(self, space: Any) -> dict[str, ArraySpec]:
        from gymnasium.spaces import Box

        boxes = {"observation": space} if self._single else dict(space.spaces)
        for key, box in boxes.items():
            if not isinstance(box, Box) or not (box.dtype == np.uint8 or np.issubdtype(box.dtype, np.floating)):
                raise UserError(
                    f"the observation '{key}' of '{self._name}' is {box}: sobolev takes a Box of floats or bytes, or a "
                    "Dict of such boxes, so wrap the environment (gymnasium.wrappers.FlattenObservation may do)"
                )
        return {
            key: ArraySpec(box.shape, "uint8" if box.dtype == np.uint8 else "float32") for key, box in boxes.items()
        }

    def _observation(self, raw: Any) -> dict[str, np.ndarray]:
        entries = {"observation": raw} if self._single else raw
        observation = {key: np.array(entries[key], dtype) for key, dtype in self._dtypes.items()}
        check_finite(self._name, observation)
        return observation


def _check_action(task: str, space: Any) -> Any:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"the action space of '{task}' is {space}: sobolev needs continuous actions, a bounded Box of floats"
        )
    return space


def _render_modes(name: str) -> list[str]:
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    entry = gymnasium.spec(name.rpartition(":")[2]).entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    metadata = getattr(creator, "metadata", None)
    return metadata.get("render_modes", []) if isinstance(metadata, dict) else []


def _quiet_mujoco() -> None:
    # MuJoCo would append every warning to a file MUJOCO_LOG.TXT in the working directory
    if "mujoco" in sys.modules:
        sys.modules["mujoco"].set_mju_user_warning(_warn)


def _warn(text: str) -> None:
    logging.getLogger("sobolev.mujoco").log(logging.DEBUG if "deprecated" in text else logging.WARNING, text)


def _ids() -> list[str]:
    import gymnasium

    return sorted(gymnasium.registry)


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = np.arange(height) * frame.shape[0] // height, np.arange(width) * frame.shape[1] // width
    return frame[rows][:, columns]
