"""Makes `toy_environments` importable, here and in the workers."""

import pathlib
import sys

import pytest


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(pathlib.Path(__file__).parent)
    if folder not in sys.path:
        monkeypatch.syspath_prepend(folder)
