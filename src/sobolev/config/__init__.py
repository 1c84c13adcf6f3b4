"""What defines a run: its settings, how they are resolved, checked and written, and the registry of methods.

The names below are imported when first used: who only reads flags or JSON loads no numerical library.
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
