"""What a run can be made of, for the help of `sobolev train`: tasks, methods, regularizers and log sinks.

All are found in their registries, in which installed packages add to what is built in. Of these packages only methods
are imported, which have a line about themselves; of the others, help knows name and package.
"""

from sobolev.agents.method import Method
from sobolev.cli import short_help
from sobolev.config import TrainConfig
from sobolev.config.codec import settings
from sobolev.config.registry import METHODS, OURS
from sobolev.envs.catalog import to_try
from sobolev.plugins import Registry
from sobolev.smoothness.regularizers.registry import KNOWN

YOUR_OWN = ("your own", "gym:my_package.my_module:MyTask-v0")

PRESETS = {"paper": "paper (GPU)", "laptop": "laptop (two cores)"}
"""What the presets of our methods are for."""


def tasks() -> list[str]:
    """Returns the lines of a table of tasks to begin with, by family."""
    return short_help.table([*((family, ", ".join(names)) for family, names in to_try()), YOUR_OWN])


def methods(chosen: str) -> list[str]:
    """Returns the lines of a table of all methods, and of the chosen one, which may be given as module:OBJECT."""
    about = {name: known.about for name, known in OURS.items()}
    for name, package in METHODS.origins().items():
        found, problem = METHODS.attempt(name)
        about[name] = (
            f"cannot be loaded from {package}: {problem}" if found is None else f"{found.about} (from {package})"
        )
    about.setdefault(chosen, METHODS.find(chosen).about)
    width = max(map(len, about))
    return [f"  {name:<{width}}  {what}" for name, what in about.items()]


def presets(method: Method) -> str:
    """Returns the presets of a method, for the line of --preset."""
    return ", ".join(PRESETS.get(name, name) if method.name in OURS else name for name in method.presets)


def names(config: TrainConfig) -> list[str]:
    """Returns a line each with the presets and sizes of a method, and with the regularizers if it has one."""
    method = METHODS.find(config.method)
    lines = [f"Presets of {method.name}: {', '.join(method.presets)}. Sizes: {', '.join(method.sizes)}."]
    if "regularizer" in settings(config) and method.fixing("regularizer") is None:
        lines.append(f"Regularizers: {', '.join([*KNOWN.ours, *_installed(KNOWN)])}.")
    return lines


def more(config: TrainConfig) -> list[str]:
    """Returns a line for each flag beside these that takes names."""
    method = METHODS.find(config.method)
    parts = f"none, {method.name} takes no networks of another run"
    if method.parts:
        parts = ", ".join(method.parts) + (f"; by default {' and '.join(method.warm)}" if method.warm else "")
    return [f"Parts for --warm-start: {parts}.", *_sinks()]


def _sinks() -> list[str]:
    from sobolev.logs.views import SINKS

    installed = _installed(SINKS)
    return [f"Sinks for --log.sinks: {', '.join(installed)}."] if installed else []


def _installed(registry: Registry) -> list[str]:
    return [f"{name} (from {package})" for name, package in registry.origins().items()]
