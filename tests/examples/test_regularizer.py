"""The regularizer of examples/: installed as a package, trained with, resumed, and refused like any other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "regularizer"
INSTALL = "from setuptools import setup; setup()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package and its metadata, entry point included; needs no network."""
    folder = tmp_path_factory.mktemp("installed")
    source, site = shutil.copytree(EXAMPLE, folder / "source"), folder / "site"
    site.mkdir()
    command = [sys.executable, "-c", INSTALL, "-q", "build_py", "--build-lib", str(site), "egg_info", "-e", str(site)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return site


def sobolev(installed: Path | None, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`sobolev` with these arguments, where the package is installed, or (None) is not."""
    path = os.pathsep.join(map(str, [ROOT / "src", ROOT, *([installed] if installed else [])]))
    environment = os.environ | tiny.quick_environment() | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "sobolev", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)


@pytest.mark.long
def test_training_and_resuming(installed: Path, tmp_path: Path) -> None:
    """In one run folder, with more steps the second time; other settings are another run."""
    run = tmp_path / "run"
    arguments = ["train", *tiny.flags(), "--evaluation.episodes", "0", "--regularizer", "hinge", "--penalty.limit"]
    arguments += ["0.001", "--run", str(run), "--steps"]
    first = sobolev(installed, *arguments, "80", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    agent = json.loads((run / "config.json").read_text())["agent"]
    assert agent["regularizer"] == "hinge" and agent["penalty"]["limit"] == 0.001 and agent["penalty"]["rho"] == 0.5
    again = sobolev(installed, *arguments, "120", cwd=tmp_path)
    assert again.returncode == 0 and "resumes at 80 of 120 env steps" in again.stdout, again.stderr
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "hinge/posterior" in line]
    assert [line["step"] for line in logged] == [80, 120]
    assert all(line["hinge/posterior"] > 0 and 0 < line["hinge/posterior_lambda"] <= 0.5 for line in logged)
    assert all(line["hinge/gradient_share"] > 0 for line in logged)
    record = json.loads((run / "record.json").read_text())["processes"][-1]["command"]
    assert "--regularizer hinge" in record and "--penalty.limit 0.001" in record
    other = sobolev(installed, *arguments, "120", "--penalty.limit", "0.5", cwd=tmp_path)
    assert other.returncode == 2 and "penalty.limit 0.001, not 0.5" in other.stderr


@pytest.mark.long
def test_help_and_mistakes(installed: Path, tmp_path: Path) -> None:
    for word, flag, default in (
        ("--help-all", "--penalty.limit FLOAT", "it is free (default: 0.1)"),
        ("--help", "--penalty.limit ", "it is free [0.1]"),
    ):
        shown = sobolev(installed, "train", "--regularizer", "sobolev_hinge:HINGE", word, cwd=tmp_path)
        text = " ".join(shown.stdout.replace("│", " ").split())
        assert flag in text and default in text
    for package, flags, sentence in (
        (installed, ["--regularizer", "hing"], "unknown regularizer 'hing': did you mean hinge?"),
        (installed, ["--regularizer", "hinge", "--penalty.limt", "1"], "did you mean --penalty.limit?"),
        (
            installed,
            ["--regularizer", "hinge", "--penalty.limit", "-1"],
            "penalty.limit is -1.0, but must be at least 0",
        ),
        (None, ["--regularizer", "hinge"], "unknown regularizer 'hinge'"),
    ):
        found = sobolev(package, "train", "walker-walk", *flags, cwd=tmp_path)
        assert found.returncode == 2 and sentence in found.stderr and "Traceback" not in found.stderr
