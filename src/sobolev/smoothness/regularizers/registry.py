"""The regularizers of `--regularizer`: built in, of an installed package, or given as PACKAGE.MODULE:NAME."""

from dataclasses import replace
from typing import Any, TypeVar, get_type_hints

from sobolev.errors import UserError
from sobolev.plugins import Registry
from sobolev.smoothness.config import Maps
from sobolev.smoothness.regularizers.api import Regularizer, Smoothing, default_settings, settings_type
from sobolev.smoothness.regularizers.finite_difference import FINITE_DIFFERENCE
from sobolev.smoothness.regularizers.jacobian import JACOBIAN
from sobolev.smoothness.regularizers.jacobian_norm import JACOBIAN_NORM
from sobolev.smoothness.regularizers.noise import NOISE
from sobolev.smoothness.regularizers.spectral import SPECTRAL

A = TypeVar("A")

REGULARIZERS: dict[str, Regularizer[Any]] = {
    "jacobian": JACOBIAN,
    "finite-difference": FINITE_DIFFERENCE,
    "jacobian-norm": JACOBIAN_NORM,
    "spectral": SPECTRAL,
    "noise": NOISE,
}

CHOICES = "NAME|PACKAGE.MODULE:NAME"
"""The values of `--regularizer`, for help texts, which list the names: installed packages may add to `REGULARIZERS`."""

KNOWN: Registry[Regularizer[Any]] = Registry("regularizer", Regularizer, REGULARIZERS, "sobolev.regularizers")
"""`REGULARIZERS`, those of installed packages, and my_package.my_module:REGULARIZER."""


def find(name: str) -> Regularizer[Any]:
    """The regularizer of that name: from `REGULARIZERS`, from an entry point, or at `package.module:NAME`.

    Raises UserError for an unknown name, and names the nearest one, and for an object that is not a regularizer.
    """
    return KNOWN.find(name)


def smoothing(name: str, settings: Maps) -> Smoothing:
    """The regularizer of that name with its settings, for an agent to call. Raises UserError as `find` does."""
    return Smoothing(find(name), settings)


def penalty_type(agent: type, name: str) -> type[Maps] | None:
    """The type of an agent's `penalty` settings with that regularizer; None if the agent has no map to regularise.

    The settings of an agent have a field `regularizer`, a name, and a field `penalty`, whose annotated type has the
    settings that all its regularizers have in common.
    """
    common = get_type_hints(agent).get("penalty")
    return None if common is None else settings_type(find(name), common)


def regularized(agent: A, name: str) -> A:
    """An agent's settings with another regularizer and its default settings.

    Raises UserError as `find` does, and if the agent has no map to regularise.
    """
    common = get_type_hints(type(agent)).get("penalty")
    if common is None:
        raise UserError("there is no map to regularise in this method: leave out --regularizer")
    changed: Any = agent
    return replace(changed, regularizer=name, penalty=default_settings(find(name), common))
