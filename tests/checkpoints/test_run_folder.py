"""The run folder: same command, same folder; nobody else's folder is touched."""

import dataclasses
import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sobolev.checkpoints.files import NotSaved
from sobolev.checkpoints.run_folder import (
    MARK,
    NOT_COMPUTED,
    delete,
    differences,
    digest,
    folder,
    foreign,
    identity,
    is_run,
    opened,
    read_config,
    write_text,
)
from sobolev.cli.train import config_from
from sobolev.config import TrainConfig, configure, resolved, to_json
from sobolev.config.codec import settings
from sobolev.errors import UserError


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
        {"strict_resume": True},
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


def test_hash_of_a_run_is_that_of_an_earlier_version() -> None:
    """A setting that was added changes the hash only where it is not what earlier versions did."""
    plain = resolved(configure("gym:Ant-v5", method="dsdpg"), "cpu")
    assert "truncation" not in identity(plain)["agent"]["critic"] and "drop" in identity(plain)["agent"]["critic"]
    other = resolved(configure("gym:Ant-v5", method="dsdpg", settings={"critic.truncation": "critic"}), "cpu")
    assert identity(other)["agent"]["critic"]["truncation"] == "critic" and digest(other) != digest(plain)
    assert differences(plain, other) == ["--critic.truncation pooled, not critic"]


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
    with pytest.raises(UserError, match="with --penalty.rho 0.5, not 0.25: choose another --run"), other:
        pass
    assert read_config(tmp_path) == config(run=tmp_path)


VARIANTS = [
    *[(method, None) for method in ("gpld", "dreamer", "dsdpg", "mmd", "iqn", "mage", "td3")],
    *[(method, name) for method in ("gpld", "dsdpg") for name in ("spectral", "noise", "jacobian-norm")],
]


@pytest.mark.parametrize("asked", VARIANTS)
def test_a_run_of_another_method_or_regularizer_is_refused_and_told(tmp_path: Path, asked: tuple[str, str]) -> None:
    """Also where one has settings that the other lacks."""

    def of(method: str, regularizer: str | None) -> TrainConfig[Any]:
        chosen = {} if regularizer is None else {"regularizer": regularizer}
        values = {"run": tmp_path, **chosen}
        return resolved(configure("walker-walk", method=method, preset="laptop", settings=values), "cpu")

    for there in VARIANTS:
        told = differences(of(*there), of(*asked))
        assert (told == []) == (there == asked)
        if there[0] != asked[0]:
            assert told[0] == f"--method {there[0]}, not {asked[0]}"
        elif there != asked:
            assert any(line.startswith("--regularizer ") for line in told)
    there = next(one for one in VARIANTS if one[0] != asked[0])
    with opened(of(*there)):
        pass
    message = f"holds another run, with --method {there[0]}, not {asked[0]}"
    with pytest.raises(UserError, match=message), opened(of(*asked)):
        pass


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    message = "cannot be locked: No locks available; choose a --run on a file system"
    with pytest.raises(UserError, match=message), opened(config(run=tmp_path)):
        pass


MADE = (
    *("metrics.jsonl", "scores.json", "train_scores.json.tmp", "record.json", "evaluation.json", "curve.png"),
    *("episode.mp4", "warm_start.safetensors", "snapshots/000000016.safetensors", "dreams/000020000.png"),
    *("failure/seed-0-update-7.safetensors", "tensorboard/seed-3/events.out.tfevents.1.host.2", ".tmpAbCdEf"),
    *("checkpoint/checkpoint-0.json", "checkpoint/state-3.safetensors", "checkpoint/steps-0-7.safetensors.tmp"),
)
FOREIGN = (
    *("thesis.tex", "src/main.py", "checkpoint/mine.safetensors", "checkpoint/state-best.safetensors", "lock.txt"),
    *("snapshots/best.safetensors", "dreams/000020000.png.bak", "tensorboard/notes.txt", "failure/x/y", ".git/HEAD"),
    *("tensorboard/seed-0/mine/events.out.tfevents.1", "config.json.orig", "dreams/000020000.png/x"),
)


def fill(run: Path, paths: tuple[str, ...]) -> None:
    for path in paths:
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_text(path)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_fresh_deletes_all_that_a_run_has_made(tmp_path: Path) -> None:
    with opened(config(run=tmp_path)):
        fill(tmp_path, MADE)
    with opened(config(run=tmp_path, fresh=True, penalty__rho=0.25)):
        assert sorted(path.name for path in tmp_path.iterdir()) == [MARK, "config.json", "lock"]


@pytest.mark.parametrize("path", FOREIGN)
def test_fresh_touches_nothing_where_there_is_a_file_of_others(tmp_path: Path, path: str) -> None:
    with opened(config(run=tmp_path)):
        fill(tmp_path, (*MADE, path) if "png/" not in path else (path,))
    before = content(tmp_path)
    found = re.escape(foreign(tmp_path)[0])
    again = opened(config(run=tmp_path, fresh=True))
    with pytest.raises(UserError, match=rf"not of a run \({found}\), and --fresh"), again:
        pass
    assert content(tmp_path) == before
    with opened(config(run=tmp_path)):  # the run itself goes on there
        pass


CONFIGS = {"foreign": '{"name": "my website", "version": 3}', "none": None, "list": "[1]", "broken": "{"}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("fresh", [True, False])
def test_a_folder_that_never_was_a_run_is_left_alone(tmp_path: Path, kind: str, fresh: bool) -> None:
    text = CONFIGS[kind]
    fill(tmp_path, ("thesis.tex", "src/main.py") if text is None else ())
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    before = content(tmp_path)
    with pytest.raises(UserError, match="holds files that are not of a run"), opened(config(run=tmp_path, fresh=fresh)):
        pass
    assert content(tmp_path) == before


def test_symbolic_links_are_never_followed(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    fill(other, ("checkpoint-0.json", "metrics.jsonl"))
    links = {"checkpoint": other, "metrics.jsonl": other / "metrics.jsonl", "curve.png": other / "not there"}
    for name, target in links.items():
        with opened(config(run=run)):
            (run / name).symlink_to(target)
        with pytest.raises(UserError, match=rf"not of a run \({name}\)"), opened(config(run=run, fresh=True)):
            pass
        delete(run, all_of_it=True)
        assert [path.name for path in run.iterdir()] == [name] and len(content(other)) == 2
        (run / name).unlink()


def test_a_run_of_an_earlier_version_is_known_by_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(to_json(config(run=tmp_path)))
    (tmp_path / "metrics.jsonl").write_text("x")
    assert is_run(tmp_path)
    with opened(config(run=tmp_path, fresh=True)):
        assert not (tmp_path / "metrics.jsonl").exists()


def test_a_run_whose_config_is_damaged_is_still_one(tmp_path: Path) -> None:
    with opened(config(run=tmp_path)):
        pass
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"), opened(config(run=tmp_path)):
        pass
    with opened(config(run=tmp_path, fresh=True)):
        assert read_config(tmp_path) == config(run=tmp_path, fresh=True)


@pytest.mark.parametrize("path", ["", " ", "~nobody-of-this-name/x"])
def test_a_path_without_a_folder_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="run .*give"):
        config(run=path)
    for flag in ("run", "warm-start"):
        with pytest.raises(UserError, match=f"--{flag} .*give"):
            config_from(["walker-walk", f"--{flag}", path])


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config(run="~/x").run == config_from(["walker-walk", "--run=~/x"]).run == tmp_path / "x"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="choose another with --run"), opened(config(run=tmp_path / name)):
        pass


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("file", ["lock", MARK, "config.json."])
def test_a_folder_in_which_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, file: str
) -> None:
    open_file = Path.open

    def refused(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if (self.name == file or file.endswith(".") and self.name.startswith(file)) and mode != "r":
            raise OSError(number, os.strerror(number))
        return open_file(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(NotSaved, match="no room|cannot be written"), opened(config(run=tmp_path / "run")):
        pass


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
    with pytest.raises(UserError, match="cannot be created"), opened(config(run=tmp_path / "file" / "run")):
        pass


def test_write_text_replaces_whole_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old and long")
    write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"
