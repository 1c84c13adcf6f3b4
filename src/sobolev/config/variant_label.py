"""The names of variants: a method and the settings that distinguish it, as in "gpld rho=0.25"."""

from collections.abc import Mapping
from typing import Any


def variant_label(method: str, settings: Mapping[str, Any]) -> str:
    """The method with the last part of every setting's path, and its value."""
    return " ".join([method, *(f"{path.rpartition('.')[2]}={short(value)}" for path, value in settings.items())])


def short(value: Any) -> str:
    """A setting's value in few letters."""
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)
