"""What defines a run: its settings, how they are resolved, checked and written, and the registry of methods."""

from sobolev.config.resolve import checked, configure, defaults, filled, from_json, resolved, to_json
from sobolev.config.train import TrainConfig

__all__ = ["TrainConfig", "checked", "configure", "defaults", "filled", "from_json", "resolved", "to_json"]
