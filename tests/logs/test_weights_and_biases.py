"""Weights & Biases, played by a module of that name: one run per folder, no point twice, and failures in a sentence."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sobolev.config.train import LogConfig
from sobolev.errors import UserError
from sobolev.logs.rows import Picture
from sobolev.logs.sinks import RunLog
from sobolev.logs.weights_and_biases import WeightsAndBiases
from tests.logs.fake_wandb import Service


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text('{"task": "a"}')
    return path


def opened(run: Path, state: dict[str, Any] | None = None) -> RunLog:
    return RunLog(run, "walker-walk", "gpld", (3, 5), log=LogConfig(tensorboard=False, wandb="project"), state=state)


def advance(log: RunLog, steps: range) -> None:
    for step in steps:
        log.write(step, {"loss": np.array([step, 2 * step], np.float32)})
        log.episode(step, 5, step / 2, 501)


def test_two_runs_never_share_one(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [folder(tmp_path / f"{task}/seed0/run") for task in ("ant", "hopper")]
    for place in places:
        WeightsAndBiases(place, "project")
    monkeypatch.chdir(places[0])
    WeightsAndBiases(Path("."), "project")  # the same folder, named otherwise
    assert len(service.rows) == 2 and service.names[0] == service.names[2] != service.names[1]

    shutil.copytree(places[0], tmp_path / "copy")
    WeightsAndBiases(tmp_path / "copy", "project")
    assert len(service.rows) == 3
    places[1].rename(tmp_path / "moved")
    WeightsAndBiases(tmp_path / "moved", "project")
    assert len(service.rows) == 3
    WeightsAndBiases(places[0], "another project")
    assert len(service.rows) == 4


@pytest.mark.parametrize("name", ["a b:c#d?e%f/ä", "x" * 200, "line\nbreak", "'quoted' \\ back"])
def test_names_hold_nothing_that_is_refused(name: str, service: Service, tmp_path: Path) -> None:
    opened(folder(tmp_path / name.replace("/", "-") / name.replace("/", "-"))).close()
    assert len(service.rows) == 1  # `init` looks at the names


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("knows", [False, True])
def test_a_run_that_was_killed_repeats_no_point(before: int, knows: bool, service: Service, tmp_path: Path) -> None:
    """Before its first checkpoint or after it; where the server says how far the run is, and where it does not."""
    service.knows_resumed, run = knows, folder(tmp_path / "run")
    log = opened(run)
    advance(log, range(1, before + 1))
    state = json.loads(json.dumps(log.state())) if before else None
    advance(log, range(before + 1, before + 4))
    log.lines.close()  # the process is killed
    log = opened(run, state)
    advance(log, range(before + 1, before + 6))
    log.close()
    (rows,) = service.rows.values()
    assert [row["_step"] for row in rows] == list(range(3 * (before + 5)))
    assert [row["env_steps"] for row in rows] == [step for step in range(1, before + 6) for _ in range(3)]
    assert rows[1] == {"seed-5/loss": 2.0, "env_steps": 1, "_step": 1}


def test_rows_that_did_not_reach_the_server_are_sent_again(service: Service, tmp_path: Path) -> None:
    service.knows_resumed, run = True, folder(tmp_path / "run")
    log = opened(run)
    advance(log, range(1, 3))
    (rows,) = service.rows.values()
    del rows[4:]  # lost on the way
    log.lines.close()
    log = opened(run)
    advance(log, range(1, 4))
    log.close()
    assert [row["_step"] for row in rows] == list(range(9))


def test_pictures_go_there_too(service: Service, tmp_path: Path) -> None:
    from sobolev.logs.videos import picture

    frames = [np.full((16, 32, 3), 60 * index, np.uint8) for index in range(3)]
    pictures: dict[str, Picture] = {"dream/images": picture(*frames), "dream/vectors": picture(frames[0])}
    log = opened(folder(tmp_path / "run"))
    log.dream(7, {"x": 0.5}, lambda: pictures)
    log.close()
    ((row,),) = service.rows.values()
    assert row["seed-3/dream/vectors"] == ("image", (32, 16)) and row["seed-3/dream/x"] == 0.5
    assert row["seed-3/dream/images"] == ("video", pictures["dream/images"].encoded, "gif")


@pytest.mark.parametrize("when", ["init", "log"])
def test_a_service_that_fails_is_told_once(
    when: str, service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, failure = folder(tmp_path / "run"), RuntimeError("api_key not configured (no-tty)\nmore")
    service.fails = failure if when == "init" else None
    log = opened(run)
    service.fails = failure
    advance(log, range(1, 4))
    log.close()
    told = "Weights & Biases cannot be written (RuntimeError: api_key not configured (no-tty)): continuing"
    assert capsys.readouterr().err.count(told) == 1
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 9


def broken_package(path: Path, code: str) -> Path:
    (path / "wandb").mkdir(parents=True)
    (path / "wandb" / "__init__.py").write_text(code)
    return path


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, r"not installed: pip install 'sobolev\[wandb\]'"),
        ("folder", r"not installed: pip install 'sobolev\[wandb\]'"),
        ("import no_such_package", r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_package'\)"),
        ("from json import nothing", r"cannot be imported \(ImportError: cannot import name 'nothing' from 'json'"),
        ("import json; json.nothing", r"cannot be imported \(AttributeError: module 'json' has no attribute"),
    ],
)
def test_a_package_that_cannot_be_used(
    code: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is not installed is called so; a folder of that name, which wandb leaves behind, is no package."""
    if code is None:
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        monkeypatch.delitem(sys.modules, "wandb", raising=False)
        monkeypatch.syspath_prepend(str(broken_package(tmp_path / "packages", "" if code == "folder" else code)))
        if code == "folder":
            os.remove(tmp_path / "packages" / "wandb" / "__init__.py")
        importlib.invalidate_caches()
    with pytest.raises(UserError, match=message):
        opened(folder(tmp_path / "run"))
    sys.modules.pop("wandb", None)


@pytest.mark.parametrize("name", ["", " ", "me/mine", "a?b", "x" * 200])
def test_names_of_projects(name: str, service: Service, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a project name"):
        WeightsAndBiases(folder(tmp_path / "run"), name)
