"""From names to a config in which nothing is left open: defaults, settings, checks, and its JSON."""

from collections.abc import Mapping
from typing import Any

from sobolev.config import codec
from sobolev.config.codec import assign, decode, encode
from sobolev.config.registry import METHODS
from sobolev.config.train import TrainConfig
from sobolev.config.validate import validate
from sobolev.envs import default_repeat
from sobolev.errors import nearest
from sobolev.smoothness.registry import penalty_type, regularized


def defaults(
    task: str,
    method: str = "gpld",
    size: str | None = None,
    preset: str | None = None,
    regularizer: str | None = None,
) -> TrainConfig[Any]:
    """The config that a preset, a size, a method and a regularizer stand for.

    Preset None is the method's first, size None the preset's, and regularizer None the method's own, if it has one.

    Raises UserError for an unknown name, with the nearest one.
    """
    known = METHODS.find(method)
    preset = preset or next(iter(known.presets))
    for kind, name, options in (("preset", preset, known.presets), ("size", size, known.sizes)):
        if name is not None and name not in options:
            raise nearest(kind, name, options)
    chosen = known.presets[preset]
    agent = chosen.agent if size is None else known.sizes[size](chosen.agent)
    agent = agent if regularizer is None else regularized(agent, regularizer)
    config = TrainConfig[Any](task=task, method=method, size=size or chosen.size, preset=preset, agent=agent)
    for path, value in chosen.settings.items():
        config = assign(config, path, value)
    return config


def configure(
    task: str,
    *,
    method: str = "gpld",
    size: str | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainConfig[Any]:
    """The config of a run, from Python: `configure("walker-walk", size="1m", settings={"penalty.rho": 0.25})`.

    The keys of `settings` are the flags of `sobolev train`, with underscores: "steps", "batch_size", "model.deter".
    Raises UserError for an unknown key or a value of the wrong type.
    """
    config = defaults(task, method, size, preset, (settings or {}).get("regularizer"))
    for path, value in (settings or {}).items():
        config = assign(config, path, value)
    return config


def checked(config: TrainConfig) -> TrainConfig[Any]:
    """The config with every value of the type that its setting has. Raises UserError as `validate` does."""
    config = _decoded(encode(config))
    validate(config)
    return config


def resolved(config: TrainConfig, backend: str | None = None) -> TrainConfig[Any]:
    """The config `checked` and `filled`. Raises UserError as `validate` does."""
    return filled(checked(config), backend)


def filled(config: TrainConfig, backend: str | None = None) -> TrainConfig[Any]:
    """A checked config with nothing left open: action repeat from the task, precision from the device.

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
    """A config as JSON text; `from_json` gives the same config back, field by field."""
    return codec.to_json(config)


def from_json(text: str) -> TrainConfig[Any]:
    """The config that `to_json` wrote. Raises UserError for unknown, missing or wrong settings."""
    return _decoded(codec.tree(text))


def _decoded(tree: Any) -> TrainConfig[Any]:
    """The config of a JSON tree, whose method says of what type its agent's settings are."""
    method = METHODS.find(str(tree.get("method", "gpld")) if isinstance(tree, dict) else "gpld")
    kinds = {"agent": method.config}
    penalty = penalty_type(method.config, _regularizer(tree))
    return decode(TrainConfig, tree, kinds if penalty is None else kinds | {"agent.penalty": penalty})


def _regularizer(tree: Any) -> str:
    agent = tree.get("agent") if isinstance(tree, dict) else None
    return str(agent.get("regularizer", "jacobian")) if isinstance(agent, dict) else "jacobian"
