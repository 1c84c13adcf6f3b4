"""Weights & Biases, played by a module of that name."""

import types
from pathlib import Path
from typing import Any

from sobolev.logs.weights_and_biases import LONGEST


class Service:
    """The server: rows of every run by id; refuses names and ids as wandb does."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.names: list[str] = []
        self.knows_resumed = False
        self.fails: Exception | None = None

    def init(self, *, project: str, id: str, name: str, dir: str, resume: str, config: dict[str, Any]) -> Any:
        if self.fails:
            raise self.fails
        assert resume == "allow" and Path(dir).is_absolute() and config
        assert not set(id) & set(":;,#?/'") and 0 < len(id) <= LONGEST
        assert not set(name) & set("/\\#?%:\n") and 0 < len(name) <= LONGEST
        self.names.append(name)
        return Run(self, f"{project}/{id}")


class Run:
    """A run there, whose rows have increasing numbers."""

    def __init__(self, service: Service, key: str):
        self.service, self.rows = service, service.rows.setdefault(key, [])
        self.resumed = bool(self.rows) and service.knows_resumed
        self.step = len(self.rows)
        self.axes: list[str] = []

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes.append(name)

    def log(self, values: dict[str, Any], step: int, commit: bool) -> None:
        if self.service.fails:
            raise self.service.fails
        assert commit and self.axes == ["env_steps", "*"]
        self.rows.append({**values, "_step": step})

    def finish(self) -> None:
        pass


def module(service: Service) -> types.ModuleType:
    """The package `wandb` whose server is this one."""
    found = types.ModuleType("wandb")
    vars(found).update(init=service.init, Image=lambda image: ("image", image.size))
    vars(found).update(Video=lambda content, format: ("video", getattr(content, "getvalue", lambda: content)(), format))
    return found
