"""Builds the config of a run: defaults, changed settings, checks, values that depend on task and device, and JSON."""

from collections.abc import Mapping
from typing import Any

from sobolev.agents.method import Method
from sobolev.config import codec
from sobolev.config.codec import assign, assign_all, decode, encode, flattened
from sobolev.config.registry import METHODS
from sobolev.config.train import TrainConfig
from sobolev.config.validate import validate
from sobolev.envs import default_repeat
from sobolev.errors import UserError, nearest
from sobolev.smoothness.regularizers.registry import penalty_type, regularized


def defaults(
    task: str,
    method: str = "gpld",
    size: str | None = None,
    preset: str | None = None,
    regularizer: str | None = None,
) -> TrainConfig[Any]:
    """Returns the default config of a task, method, size, preset and regularizer.

    Preset None is the method's first one, size None the preset's, regularizer None the method's own, if it has one.
    Raises UserError for an unknown name, with the nearest one.
    """
    known = METHODS.find(method)
    preset = preset or next(iter(known.presets))
    for kind, name, options in (("preset", preset, known.presets), ("size", size, known.sizes)):
        if name is not None and name not in options:
            raise nearest(f"{kind} of method {known.name}", name, options)
    chosen = known.presets[preset]
    agent = chosen.agent if size is None else known.sizes[size](chosen.agent)
    if regularizer is not None:
        fixed = known.fixed.get("regularizer") or known.fixed.get("penalty")
        if fixed is not None:  # said here, since `validate` would name a setting that the regularizer has changed
            reason, other = fixed
            raise UserError(f"method {known.name} {reason}: leave out --regularizer, or choose --method {other}")
        agent = regularized(agent, regularizer)
    config = TrainConfig[Any](task=task, method=method, size=size or chosen.size, preset=preset, agent=agent)
    return assign_all(config, chosen.settings)


def configure(
    task: str,
    *,
    method: str = "gpld",
    size: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainConfig[Any]:
    """Returns the config of a run, as in `configure("walker-walk", size="1m", settings={"penalty.rho": 0.25})`.

    The keys of `settings` are the flags of `sobolev train` with underscores: "steps", "batch_size", "model.deter". A
    mapping names some of a group: {"model": {"deter": 512}} is {"model.deter": 512}. "size", "preset" and "regularizer"
    choose the defaults that the other settings change, whatever their order. Raises UserError for an unknown key, one
    that is given twice, and a value of the wrong type.
    """
    given = flattened(settings or {})
    for name, value in (("task", task), ("method", method)):
        if given.pop(name, value) != value:
            raise UserError(f"{name} is among the settings: give it as an argument of its own, {name}=...")
    for name, value in (("size", size), ("preset", preset)):
        if value is not None and given.get(name, value) != value:
            raise UserError(f"{name} is given twice, as {value} and among the settings as {given[name]}: leave one out")
    size, preset = given.pop("size", size), given.pop("preset", preset)
    return assign_all(defaults(task, method, size, preset, given.get("regularizer")), given)


def checked(config: TrainConfig) -> TrainConfig[Any]:
    """Returns the config with every value converted to the type of its setting. Raises UserError like `validate`."""
    config = _decoded(encode(config))
    validate(config)
    return config


def resolved(config: TrainConfig, backend: str | None = None) -> TrainConfig[Any]:
    """Returns the config after `checked` and `filled`. Raises UserError like `validate`."""
    return filled(checked(config), backend)


def filled(config: TrainConfig, backend: str | None = None) -> TrainConfig[Any]:
    """Replaces every None that has a default: the action repeat (by task) and the precision (by device).

    `backend` is jax's name of the platform ("cpu", "gpu", "tpu"); None asks jax.
    """
    if config.env.repeat is None:
        config = assign(config, "env.repeat", default_repeat(config.task))
    if config.agent.precision == "auto":
        config = assign(config, "precision", _precision(backend))
    if config.warm_start is not None and not config.warm_start_parts:
        config = assign(config, "warm_start_parts", METHODS.find(config.method).warm)
    return config


def _precision(backend: str | None) -> str:
    if backend is None:
        import jax

        backend = jax.default_backend()
    return "float32" if backend == "cpu" else "bfloat16"


def to_json(config: TrainConfig) -> str:
    """Converts a config to JSON text. `from_json` returns an equal config."""
    return codec.to_json(config)


def from_json(text: str) -> TrainConfig[Any]:
    """Returns the config that `to_json` wrote, in this version or an earlier one (see `added`). Raises UserError for
    unknown, missing or wrong settings."""
    return _decoded(codec.tree(text))


def _decoded(tree: Any) -> TrainConfig[Any]:
    """Decodes the config of a JSON tree. Its method determines the type of the agent's settings."""
    method = METHODS.find(str(tree.get("method", "gpld")) if isinstance(tree, dict) else "gpld")
    kinds = {"agent": method.config}
    penalty = penalty_type(method.config, _regularizer(tree))
    tree = completed(tree, added(method))
    return decode(TrainConfig, tree, kinds if penalty is None else kinds | {"agent.penalty": penalty})


ADDED: Mapping[str, Any] = {"log.sinks": []}
"""Settings of every run that version 0.2.0 did not have, with the JSON values that they had in effect."""


def added(method: Method[Any]) -> Mapping[str, Any]:
    """Returns the settings that earlier versions did not have, by path in config.json, with the values that they had in
    effect: `ADDED`, and those of the method."""
    return {**ADDED, **{f"agent.{path}": value for path, value in method.added.items()}}


def completed(tree: Any, values: Mapping[str, Any], prefix: str = "") -> Any:
    """Returns a JSON tree with those of these values, by path, that it lacks; not with groups that it lacks."""
    if not isinstance(tree, Mapping):
        return tree
    own = {path.removeprefix(prefix): value for path, value in values.items() if path.startswith(prefix)}
    lacking = {name: value for name, value in own.items() if "." not in name and name not in tree}
    return {name: completed(group, values, f"{prefix}{name}.") for name, group in tree.items()} | lacking


def _regularizer(tree: Any) -> str:
    agent = tree.get("agent") if isinstance(tree, dict) else None
    return str(agent.get("regularizer", "jacobian")) if isinstance(agent, dict) else "jacobian"


def without(tree: dict[str, Any], values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a JSON tree without those of these values, by path, that it has."""
    kept = {name: value for name, value in tree.items() if (prefix + name, value) not in values.items()}
    return {
        name: without(value, values, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in kept.items()
    }
