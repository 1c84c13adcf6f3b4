"""The tutorial's notebook, executed with short runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_tutorial_runs(tmp_path: Path) -> None:
    executed = tmp_path / "tutorial.ipynb"
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **tiny.quick_environment(), "TUTORIAL_STEPS": "240", "PYTHONPATH": path}
    environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    command = [sys.executable, str(ROOT / "docs" / "run_tutorial.py"), str(executed)]
    run = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert run.returncode == 0, run.stderr
    cells = json.loads(executed.read_text())["cells"]
    printed = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    assert "posterior |J|" in printed and "mean squared Jacobian norm of a row" in printed
    pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    assert pictures == 5


def test_the_notebook_has_its_outputs() -> None:
    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())["cells"]
    pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    errors = [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert pictures == 5 and not errors
