"""The settings of a run: `TrainConfig`, how it is resolved, checked and written as JSON, and the registry of methods.

The names below are imported when they are first used, so that code that only reads flags or JSON does not load jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobolev.config.resolve import checked, configure, defaults, filled, from_json, resolved, to_json
    from sobolev.config.train import TrainConfig

__all__ = ["TrainConfig", "checked", "configure", "defaults", "filled", "from_json", "resolved", "to_json"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sobolev.config' has no attribute '{name}'")
    module = "sobolev.config.train" if name == "TrainConfig" else "sobolev.config.resolve"
    return getattr(importlib.import_module(module), name)
