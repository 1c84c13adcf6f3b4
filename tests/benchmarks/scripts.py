"""The programs in benchmarks/ as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """A program as a module, for which its own folder must be on the path, as when it runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        importlib.import_module(name)
    return sys.modules.pop(name)  # names such as "memory" are not for others to import
