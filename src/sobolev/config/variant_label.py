"""The names of variants: a method with the settings in which it differs from the default, as in "gpld rho=0.25"."""

from collections.abc import Mapping
from typing import Any


def variant_label(method: str, settings: Mapping[str, Any]) -> str:
    """Returns the method followed by name=value of every setting; the name is the last part of its path."""
    return " ".join([method, *(f"{path.rpartition('.')[2]}={short(value)}" for path, value in settings.items())])


def short(value: Any) -> str:
    """Returns the value of a setting in few characters."""
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
