"""`sobolev sensitivity`: what it writes, and one sentence for every mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from sobolev.checkpoints.run_folder import opened
from sobolev.cli import sensitivity
from sobolev.config import configure, resolved
from sobolev.errors import UserError
from sobolev.experiments.api import Say
from sobolev.experiments.sensitivity import runs as study

TABLE = {"sensitivity": 0.5, "jacobian_norm": 2.0}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two runs, whose agents are measured at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sobolev.system.jax_setup.configure", lambda compilation_cache: None)
    names = ["gpld", "dreamer"]
    for method in names:
        config = configure("walker-walk", method=method, preset="demo", settings={"run": tmp_path / method})
        with opened(resolved(config, "cpu")):
            pass

    def measure_runs(runs: tuple[Path, ...], episodes: int, states: int, say: Say) -> list[dict[str, Any]]:
        assert (episodes, states) == (3, 512)
        facts = {"task": "walker-walk", "env_steps": 9, "seed": 0, "posterior": TABLE, "prior": TABLE}
        return [{"label": run.name, **facts} for run in runs]

    monkeypatch.setattr(study, "measure_runs", measure_runs)
    return names


def test_files_numbers_and_the_command(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sensitivity.main([*runs, "--episodes", "3", "--out", "found"]) == 0
    assert sorted(path.name for path in Path("found").iterdir()) == [f"sensitivity.{k}" for k in ("json", "pdf", "png")]
    written = json.loads(Path("found/sensitivity.json").read_text())
    assert written["settings"]["episodes"] == 3 and "jax" in written["versions"]
    assert written["command"] == "sobolev sensitivity gpld dreamer --episodes 3 --out found"
    assert [record["label"] for record in written["records"]] == runs and len(written["magnitudes"]) == 5
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split()[:2] == ["walker-walk", "dreamer"] and "0.5 ± 0" in shown[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a run is missing, as in sobolev sensitivity"),
        ("nowhere", "nowhere is not a run of sobolev"),
        ("gpld --episodes 0", "--episodes is 0"),
        ("gpld --states 0", "--states is 0"),
        ("gpld --state 9", "did you mean --states"),
        ("gpld --out gpld/lock/x", "cannot be created"),
    ],
)
def test_mistakes(runs: list[str], words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sensitivity.main(words.split())
