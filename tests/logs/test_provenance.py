"""A run says itself what made it."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sobolev.cli.train import config_from
from sobolev.config import TrainConfig, configure, resolved
from sobolev.errors import UserError
from sobolev.logs import provenance


def config(**values: Any) -> TrainConfig[Any]:
    settings = {name.replace("__", "."): value for name, value in values.items()}
    return resolved(configure("walker-walk", preset="laptop", settings=settings))


def log(run: Path, step: int, time: float) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "seed": 0, "time": time}) + "\n")


LINES = [
    "walker-walk --method gpld",
    "walker-walk --method gpld --preset laptop --seeds 0 1 2",
    "cartpole-swingup --method dreamer --preset demo --size 12m --steps 1000 --run 'my runs/a'",
    "hopper-hop --method gpld --penalty.posterior 0.25 --penalty.rho 1.0 --env.repeat 1 --log.no-tensorboard",
    "hopper-hop --method gpld --model.deter 1024 --penalty.schedule custom --penalty.custom 0 0.5 100 0.0625",
    "gym:Ant-v5 --method gpld --no-compilation-cache --log.wandb mine",
]


@pytest.mark.parametrize("line", LINES)
def test_the_command_is_the_one_that_was_typed(line: str) -> None:
    """Any order and spelling of flags gives the same config, so the shortest line is compared."""
    made = resolved(config_from(shlex.split(line)))
    assert provenance.command(made) == f"sobolev train {line}"
    assert resolved(config_from(shlex.split(provenance.command(made))[2:])) == made


def test_every_process_that_trained_has_an_entry(tmp_path: Path) -> None:
    for steps in (100, 250):
        with provenance.recorded(config(steps=steps), tmp_path):
            log(tmp_path, steps, 7.0)
    with provenance.recorded(config(), tmp_path):
        pass  # nothing was left to do
    entries = provenance.read_record(tmp_path)
    assert [entry["env_steps"] for entry in entries] == [100, 250]
    assert [shlex.split(entry["command"])[-1] for entry in entries] == ["100", "250"]
    assert all(0 <= entry["seconds"] < 600 and "killed" not in entry for entry in entries)
    assert entries[0]["machine"]["cores"] >= 1 and entries[0]["jax"].count(".") >= 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entries[0]["started"])


def test_a_failed_start_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError), provenance.recorded(config(), tmp_path):
        raise UserError("no room")
    assert not list(tmp_path.iterdir())


def test_an_entry_left_open_ends_with_the_last_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9; half a line of metrics is no line."""
    monkeypatch.setattr(provenance, "_end", lambda *_: {})
    monkeypatch.setattr(provenance.time, "time", lambda: 1000.0)
    with provenance.recorded(config(), tmp_path):
        log(tmp_path, 300, 1090.5)
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 400, "seed": 0, "ti')
    monkeypatch.undo()
    (entry,) = provenance.read_record(tmp_path)
    assert (entry["killed"], entry["seconds"], entry["env_steps"]) == (True, 90.5, 300)


def test_a_file_that_is_no_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("[1")
    with pytest.raises(UserError, match="is not the record of a run .*: delete it"):
        provenance.read_record(tmp_path)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_names_the_checkout_and_its_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True).stdout

    assert provenance.commit(tmp_path) is None
    git("init")
    source = tmp_path / "provenance.py"
    source.write_text("1")
    git("add", "provenance.py")
    git("commit", "-m", "a", "--no-verify")
    head = git("rev-parse", "--short=10", "HEAD").strip()
    assert provenance.commit(tmp_path) == head and len(head) == 10
    source.write_text("2")
    assert provenance.commit(tmp_path) == head + "+changes"
    git("rm", "--cached", "provenance.py")
    assert provenance.commit(tmp_path) is None


def test_a_record_that_is_no_record_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.json").write_text("[1")
    with provenance.recorded(config(), tmp_path):
        log(tmp_path, 100, 7.0)
    assert (tmp_path / "record.json").read_text() == "[1"
    assert capsys.readouterr().err.count("record.json cannot be written") == 1
