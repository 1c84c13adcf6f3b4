"""The wheel, installed outside of the checkout, passes doctor and trains; the Dockerfile builds from it.

`make wheel` installs the one in dist/ with all that it needs, and trains (WHEEL=install); elsewhere one is built in the
same way, and only its content is checked.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sobolev._version import __version__
from tests import tiny

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints, which has to succeed."""
    of_tests = ("PYTHONPATH", "VIRTUAL_ENV", "XLA_FLAGS")  # the last has a compiler that is quick, not a user's
    clean = {name: value for name, value in os.environ.items() if name not in of_tests}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, made from its source distribution: files of earlier builds are not in it."""
    out = ROOT / "dist"
    if os.environ.get("WHEEL") != "install":
        out = tmp_path_factory.mktemp("dist")
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheel in it."""
    venv = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=ROOT.parent)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, wheel, "--constraint", ROOT / "constraints.txt", cwd=venv)
    if sys.version_info >= (3, 13):
        run(*pip, "--no-deps", "dm_control", "--constraint", ROOT / "constraints.txt", cwd=venv)
    return venv / "bin"


def test_the_wheel_holds_what_the_package_reads(wheel: Path) -> None:
    assert wheel.name == f"sobolev-{__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {str(path.relative_to(source)) for path in (source / "sobolev").rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {name for name in names if name.startswith("sobolev/")} == wanted
    assert {name.split("/")[0] for name in names} == {"sobolev", f"sobolev-{__version__}.dist-info"}


@pytest.mark.skipif(os.environ.get("WHEEL") != "install", reason="`make wheel` runs it: it installs 100 packages")
def test_it_trains_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import sobolev; print(sobolev.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    doctor = run(installed / "sobolev", "doctor", cwd=tmp_path, JAX_PLATFORMS="cpu")
    assert doctor.splitlines()[-1] == "ready" and f"sobolev {__version__}" in doctor
    flags = ["--run", "run", *tiny.flags()[1:]]
    trained = run(installed / "sobolev", "train", "cartpole-swingup", *flags, cwd=tmp_path, **tiny.quick_environment())
    assert "complete at 160 env steps" in trained
    (scores,) = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["xs"][-1] >= 120
    listed = run(installed / "sobolev", "sweep", "--help", cwd=tmp_path)
    assert "dmc-proprio" in listed


def test_the_dockerfile_is_one() -> None:
    """Its instructions, their order and what they copy; building it takes Docker."""
    text = (ROOT / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    known = {"ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD", "USER", "VOLUME"}
    assert {name for name, _ in lines} <= known
    assert [name for name, _ in lines if name in ("FROM", "ENTRYPOINT")] == ["FROM", "FROM", "ENTRYPOINT"]
    for name, rest in lines:
        if name in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list)
        elif name == "RUN":
            script = re.sub(r"^(--\S+\s+)*", "", rest)
            subprocess.run(["sh", "-n", "-c", script], check=True)
        elif name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    stages = {match for match in re.findall(r"^FROM \S+ AS (\S+)", joined, re.M)}
    assert set(re.findall(r"--from=(\S+)", joined)) <= stages
    used = set(re.findall(r"\$\{?([A-Z_]+)", joined)) - {"PATH"}
    assert used <= set(re.findall(r"^(?:ARG|ENV) ([A-Z_]+)", joined, re.M))
