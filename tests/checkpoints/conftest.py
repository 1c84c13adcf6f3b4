"""What tests of checkpoints share."""

from pathlib import Path

import pytest

from tests.checkpoints.checkpoints import two


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two checkpoints, of iterations 1 and 2."""
    return two(tmp_path / "run")
