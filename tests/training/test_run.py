"""The run folder: same command, same folder; nobody else's folder is touched."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sobolev.config import TrainConfig, configure, resolved
from sobolev.config.codec import settings
from sobolev.errors import UserError
from sobolev.training.run import NOT_COMPUTED, differences, digest, folder, identity, opened, read_config, write_text


def config(**values: Any) -> TrainConfig[Any]:
    chosen = {name.replace("__", "."): value for name, value in values.items()}
    return resolved(configure("walker-walk", preset="laptop", settings=chosen), "cpu")


def test_default_folder() -> None:
    one = config()
    assert folder(one) == Path("runs/walker-walk") / f"gpld-1m-{digest(one)}"
    ant = dataclasses.replace(one, task="gym:my.package:Ant-v5")
    assert folder(ant).parent == Path("runs/gym-my.package-Ant-v5")
    assert folder(config(run=Path("here"))) == Path("here")


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 7},
        {"run": Path("x")},
        {"fresh": True},
        {"compilation_cache": False},
        {"evaluation.every": 7},
        {"checkpoint.minutes": 7.0},
        {"log.tensorboard": False},
        {"env.workers": 0},
    ],
)
def test_hash_ignores_what_is_not_computed(values: dict[str, Any]) -> None:
    changed = resolved(configure("walker-walk", preset="laptop", settings=values), "cpu")
    assert digest(changed) == digest(config())
    assert differences(config(), changed) == []


def test_hash_sees_every_other_setting() -> None:
    """Every path of the config is either ignored by name, or in the identity."""
    ignored = {"env.workers", "replay.memory"}
    paths = [path for path in settings(config()) if path.split(".")[0] not in NOT_COMPUTED and path not in ignored]
    tree = identity(config())
    for path in paths:
        value: Any = tree if path.split(".")[0] in tree else tree["agent"]
        for name in path.split("."):
            value = value[name]
    for name, value in {"seeds": (1,), "penalty__rho": 0.25, "env__number": 5, "env__repeat": 1}.items():
        assert digest(config(**{name: value})) != digest(config()), name


def test_preset_is_only_a_label() -> None:
    paper = configure("walker-walk", size="1m")
    laptop = configure("walker-walk", preset="laptop")
    spelled = {path: value for path, (_, value) in settings(laptop).items() if path not in ("task", "preset")}
    assert digest(resolved(configure("walker-walk", size="1m", settings=spelled), "cpu")) == digest(config())
    assert digest(resolved(paper, "cpu")) != digest(config())


def test_open_writes_the_config_and_takes_it_again(tmp_path: Path) -> None:
    run = tmp_path / "a" / "run"
    with opened(config(run=run)) as held:
        assert held == run
        (run / "metrics.jsonl").write_text("{}\n")
    assert read_config(run) == config(run=run)
    with opened(config(run=run, steps=123)):
        assert (run / "metrics.jsonl").exists()
    assert read_config(run).steps == 123


def test_another_config_is_refused_and_told(tmp_path: Path) -> None:
    with opened(config(run=tmp_path)):
        pass
    other = opened(config(run=tmp_path, penalty__rho=0.25))
    with pytest.raises(UserError, match="with penalty.rho 0.5, not 0.25: choose another --run"), other:
        pass
    assert read_config(tmp_path) == config(run=tmp_path)


def test_fresh_empties_a_run_and_only_a_run(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    with opened(config(run=run)):
        (run / "checkpoint").mkdir()
        (run / "checkpoint" / "state").write_text("x")
    with opened(config(run=run, fresh=True, penalty__rho=0.25)):
        assert sorted(path.name for path in run.iterdir()) == ["config.json", "lock"]
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds files that are not of a run"), opened(config(run=other, fresh=True)):
        pass
    assert (other / "thesis.tex").exists()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    second = opened(config(run=tmp_path, fresh=True))
    with opened(config(run=tmp_path)), pytest.raises(UserError, match="another process is training"), second:
        pass


@pytest.mark.parametrize("keep", [False, True])
def test_a_failed_start_leaves_nothing_behind(tmp_path: Path, keep: bool) -> None:
    run = tmp_path / "run"
    with pytest.raises(UserError, match="no room"), opened(config(run=run)):
        (run / "scores.json").write_text("[]")
        (run / "metrics.jsonl").write_text("{}\n" if keep else "")
        raise UserError("no room")
    assert run.exists() == keep


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda run: run.write_text("x"), "is a file"),
        (lambda run: None, "is not a run of sobolev"),
        (lambda run: (run.mkdir(), (run / "config.json").write_text("{")), "not valid JSON"),
        (lambda run: (run.mkdir(), (run / "config.json").write_bytes(b"\xff\xfe")), "cannot be read"),
    ],
)
def test_reading_what_is_no_run(tmp_path: Path, prepare: Callable[[Path], Any], message: str) -> None:
    run = tmp_path / "run"
    prepare(run)
    with pytest.raises(UserError, match=message):
        if run.is_file():
            with opened(config(run=run)):
                pass
        read_config(run)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"), opened(config(run=tmp_path / "file" / "run")):
        pass


def test_write_text_replaces_whole_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old and long")
    write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"
