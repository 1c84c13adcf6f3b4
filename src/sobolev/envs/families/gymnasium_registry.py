"""Gymnasium's registry: looks up ids, and sends entries to worker processes. Imports gymnasium when it is needed."""

import contextlib
import dataclasses
import importlib
import sys
from typing import Any

from sobolev.envs.failures import brief, described, guarded
from sobolev.envs.printing import on_stderr
from sobolev.errors import UserError, listed, suggestion


def check_id(name: str) -> None:
    """Raises UserError if a name is not registered: "Ant-v5", or "package.module:Env-v0", which imports the module."""
    import gymnasium

    module, _, plain = name.rpartition(":")
    if module:
        _import(module, f"gym:{name}")
    try:
        gymnasium.spec(plain)
    except gymnasium.error.Error as error:
        if plain in gymnasium.registry:
            raise UserError(f"cannot make 'gym:{name}': {brief(str(error))}") from error
        prefix = f"gym:{module}:" if module else "gym:"
        names = {_without_version(known): prefix + known for known in trainable(own=not module) or trainable()}
        near = suggestion(_without_version(plain), names)  # all begin alike, and in any version
        told = f"did you mean {names[near]}?" if near else f"choose from {listed(names.values())}"
        raise UserError(f"unknown task 'gym:{name}': {told}") from error


CONTINUOUS = ("BipedalWalker", "BipedalWalkerHardcore", "LunarLanderContinuous", "MountainCarContinuous", "Pendulum")
"""Environments of Gymnasium, beside those of MuJoCo, whose actions are continuous."""


def trainable(own: bool = True) -> list[str]:
    """Returns the ids of the registry, in their newest versions, that sobolev can use as far as is known without
    creating them: those of Gymnasium with continuous actions, if `own`, and all that others have registered."""
    import gymnasium

    newest: dict[tuple[str | None, str], Any] = {}
    for entry in gymnasium.registry.values():
        place = entry.entry_point if isinstance(entry.entry_point, str) else str(_module_of(entry.entry_point))
        known = place.startswith("gymnasium.")
        if known and not (place.startswith("gymnasium.envs.mujoco.") or _without_version(entry.id) in CONTINUOUS):
            continue
        other = newest.get((entry.namespace, entry.name))
        if (own or not known) and (other is None or (entry.version or 0) > (other.version or 0)):
            newest[entry.namespace, entry.name] = entry
    return sorted(entry.id for entry in newest.values())


def _module_of(creator: Any) -> str | None:
    """Returns the module of a function or class; None for a callable of another kind."""
    return getattr(creator, "__module__", None)


def _without_version(name: str) -> str:
    return name.rpartition("-v")[0] or name


def creator_of(name: str) -> Any:
    """Returns the class or function that creates a registered environment. Raises whatever its import raises."""
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    entry = gymnasium.spec(name.rpartition(":")[2]).entry_point
    return load_env_creator(entry) if isinstance(entry, str) else entry


def registration(name: str) -> bytes | None:
    """Pickles an entry of the registry for `register` in another process; None if that process can import it itself.

    With this, an environment that is registered or even defined in a user's script works in worker processes. Raises
    UserError for an entry that cannot be pickled.
    """
    if ":" in name or "gymnasium" not in sys.modules:
        return None
    import cloudpickle
    import gymnasium

    spec = gymnasium.registry.get(name)
    if spec is None:
        return None
    try:
        if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
            # another process has another __main__, so the class or function itself is sent
            spec = dataclasses.replace(spec, entry_point=creator_of(name))
        return cloudpickle.dumps(spec)
    except Exception as error:  # pickling may fail in any way
        raise UserError(
            f"'gym:{name}' cannot be sent to other processes ({described(error)}): register it in a module of yours "
            f"and name that, as in gym:my_module:{name}, or step it in this process with --env.workers 0"
        ) from error


def register(entry: bytes) -> None:
    """Adds an entry that `registration` pickled to this process's registry, unless its id is there.

    Raises UserError if its module is not found in this process.
    """
    import cloudpickle
    import gymnasium

    try:
        spec = cloudpickle.loads(entry)
    except Exception as error:
        raise UserError(
            f"an environment that this program registered is not found in another process ({described(error)}): put "
            "its module where Python finds it (PYTHONPATH), or step in this process with --env.workers 0"
        ) from error
    gymnasium.registry.setdefault(spec.id, spec)


def _import(module: str, task: str) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_stderr())
        stack.enter_context(guarded(task, lambda: f"while '{module}' was imported"))
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not (module + ".").startswith(error.name + "."):
                raise
            raise UserError(f"cannot import '{module}' of the task '{task}': no module '{error.name}'") from error
