"""`sobolev study`: what it writes, and one sentence for every mistake."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sobolev.cli import study
from sobolev.errors import UserError
from sobolev.experiments.registry import EXPERIMENTS
from tests import tiny

SMALL = "--seeds 0 1 --side 6 --plane 2 --actions 1 --numbers 20 50 --lambdas 0.1 --epsilons 1"


@pytest.mark.long
def test_tabular_writes_figures_numbers_and_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tabular", "--out", str(tmp_path / "a b"), *SMALL.split()]
    assert study.main(arguments) == 0
    names = {f"{name}.{kind}" for name in ("tabular", "identities") for kind in ("png", "pdf", "json")}
    assert {path.name for path in (tmp_path / "a b").iterdir()} == names
    for name in ("tabular", "identities"):
        written = json.loads((tmp_path / "a b" / f"{name}.json").read_text())
        assert shlex.split(written["command"]) == ["sobolev", "study", *arguments]
        assert written["settings"]["numbers"] == [20, 50]
    shown = capsys.readouterr().out
    assert "the 4 states beside the jump: smoothing is better at" in shown and "equation (3): observed order" in shown


def test_the_list_of_experiments_is_there_without_jax() -> None:
    code = "import sys; from sobolev.cli import study; study.main([]); print('jax' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(study.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tabluar", "unknown study 'tabluar': did you mean tabular?"),
        ("--seeds 1", "a study is missing before --seeds"),
        ("my_package.my_study:EXPERIMENT", "there is no module 'my_package'"),
        ("sensitivity", "a run is missing, as in sobolev study sensitivity runs"),
        ("tabular more", "unexpected argument 'more': sobolev study tabular takes only flags, which begin with --"),
        ("tabular --lambda 1", "did you mean --lambdas?"),
        ("tabular --seeds 1", "two different seeds"),
        ("world-model", "a task is missing"),
        ("world-model walker-wlak", "did you mean walker-walk?"),
        ("world-model walker-walk --seeds 1", "two different seeds"),
        ("tabular --out file/inside", "the folder file/inside cannot be created"),
    ],
)
def test_mistakes(words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        study.main(words.split())


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "small", "said"),
    [
        (
            "contraction",
            "--products 0.7 --pairs 1 --systems 0 --iterations 1",
            "within the bound on 1 of 1 systems",
        ),
        ("linear", "--critics mmd --seeds 1 --updates 2 --batch 4 --samples 2 --units 4", "MMD: mean of return"),
    ],
)
def test_studies_of_critics(
    name: str, small: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tiny.quickly():
        assert study.main([name, "--out", str(tmp_path), *small.split()]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for kind in ("png", "pdf", "json")}
    written = json.loads((tmp_path / f"{name}.json").read_text())
    assert shlex.split(written["command"])[:3] == ["sobolev", "study", name] and "versions" in written
    assert said in capsys.readouterr().out


def test_help_lists_the_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main([]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")] == list(EXPERIMENTS)
    assert "sobolev study my_package.my_study:EXPERIMENT" in shown
