"""Metric files: what is written, and that a killed and resumed run's files have no line twice."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sobolev.config.train import LogConfig
from sobolev.logs.sinks import RunLog, field_name
from sobolev.reports.results.scores import task_name
from tests.system.test_atomic_files import full_disk


def lines(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without their times."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in found]


def opened(run: Path, state: dict[str, Any] | None = None, tensorboard: bool = False) -> RunLog:
    return RunLog(run, "walker-walk", "gpld", (3, 5), log=LogConfig(tensorboard=tensorboard), state=state)


def advance(log: RunLog, steps: range) -> None:
    """What a loop does: metrics, an episode and an evaluation at each of these env steps."""
    for step in steps:
        log.write(step, {"loss/dyn": np.array([step, 2 * step], np.float32), "coefficient": 0.5})
        log.episode(step, 5, step / 2, 501)
        log.score(step, 3, [float(step), float(step + 2)])


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("walker-walk", "dmc_walker_walk"),
        ("ball-in-cup-catch", "dmc_ball_in_cup_catch"),
        ("gym:Ant-v5", "gym_Ant-v5"),
        ("toy:point-mass", "toy_point-mass"),
        ("gym:My_Task-v0", "gym_My_Task-v0"),
        ("my_family:hold", "my_family:hold"),
        ("dmc:hold", "dmc:hold"),
        ("my_package.my_env:FAMILY:hold", "my_package.my_env:FAMILY:hold"),
        ("gym:my_package.my_module:MyTask-v0", "gym:my_package.my_module:MyTask-v0"),
    ],
)
def test_names_in_score_files(task: str, name: str) -> None:
    assert field_name(task) == name
    assert task_name(name) == task


def test_lines_and_scores(tmp_path: Path) -> None:
    log = opened(tmp_path)
    advance(log, range(10, 11))
    log.close()
    assert lines(tmp_path) == [
        {"step": 10, "seed": 3, "loss/dyn": 10.0, "coefficient": 0.5},
        {"step": 10, "seed": 5, "loss/dyn": 20.0, "coefficient": 0.5},
        {"step": 10, "seed": 5, "episode/return": 5.0, "episode/length": 501.0},
        {"step": 10, "seed": 3, "evaluation/return": 11.0, "evaluation/std": 1.0},
    ]
    task = {"task": "dmc_walker_walk", "method": "gpld"}
    assert json.loads((tmp_path / "scores.json").read_text()) == [
        {**task, "seed": 3, "xs": [10], "ys": [11.0]},
        {**task, "seed": 5, "xs": [], "ys": []},
    ]
    assert json.loads((tmp_path / "train_scores.json").read_text()) == [
        {**task, "seed": 3, "xs": [], "ys": []},
        {**task, "seed": 5, "xs": [10], "ys": [5.0]},
    ]


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.write(1, {"a": np.array([np.nan, np.inf])})
    log.close()
    assert [line["a"] for line in lines(tmp_path)] == [None, None]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("torn", ["", '{"step": 4, "se'])
def test_resuming_equals_never_having_stopped(tmp_path: Path, torn: str) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    log = opened(whole)
    advance(log, range(1, 7))
    log.close()

    log = opened(killed)
    advance(log, range(1, 4))
    state = json.loads(json.dumps(log.state()))
    advance(log, range(4, 6))  # lost: after the checkpoint
    log.close()
    with (killed / "metrics.jsonl").open("a") as file:
        file.write(torn)
    log = opened(killed, state)
    assert json.loads((killed / "scores.json").read_text())[0]["xs"] == [1, 2, 3]
    advance(log, range(4, 7))
    log.close()
    assert lines(killed) == lines(whole)
    for name in ("scores.json", "train_scores.json"):
        assert (killed / name).read_text() == (whole / name).read_text()


def test_a_new_run_in_an_old_folder_begins_empty(tmp_path: Path) -> None:
    log = opened(tmp_path)
    advance(log, range(1, 3))
    log.close()
    opened(tmp_path).close()
    assert lines(tmp_path) == []
    assert json.loads((tmp_path / "scores.json").read_text())[0]["xs"] == []


def test_wrong_number_of_seeds_is_an_error(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with pytest.raises(ValueError, match="broadcast"):
        log.write(1, {"a": np.zeros(3)})
    log.close()


def events(folder: Path) -> list[Any]:
    """All events of a folder, in the order of its files."""
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2  # generated at run time, so without types
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            found.append(messages.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_tensorboard_per_seed_and_purged_on_resume(tmp_path: Path) -> None:
    log = opened(tmp_path, tensorboard=True)
    advance(log, range(1, 4))
    state = log.state()
    log.close()
    opened(tmp_path, state, tensorboard=True).close()
    found = events(tmp_path / "tensorboard" / "seed-3")
    values = [(e.step, v.simple_value) for e in found for v in e.summary.value if v.tag == "loss/dyn"]
    assert values == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert [event.step for event in found if event.HasField("session_log")] == [4]


def test_returns_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    """In files and in the state of a checkpoint, from which the run goes on with the same curves."""
    log = opened(tmp_path)
    for step, value in ((1, math.nan), (2, 3.0), (3, -math.inf)):
        log.episode(step, 5, value, 7)
        log.score(step, 3, [value])
    state = log.state()
    log.close()
    json.dumps(state, allow_nan=False)
    for name, row in (("scores.json", 0), ("train_scores.json", 1)):
        text = (tmp_path / name).read_text()
        assert json.loads(text, parse_constant=pytest.fail)[row]["ys"] == [None, 3.0, None]
        opened(tmp_path, state).close()
        assert (tmp_path / name).read_text() == text
    assert all("NaN" not in path.read_text() for path in tmp_path.glob("*.json*"))


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_full_disk_ends_nothing_and_leaves_no_gap(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once there is room again everything is there, and TensorBoard reads what it got before and after."""
    whole, full = tmp_path / "whole", tmp_path / "full"
    whole.mkdir()
    full.mkdir()
    log = opened(whole)
    advance(log, range(1, 21))
    log.close()
    log = opened(full, tensorboard=True)
    advance(log, range(1, 4))
    with full_disk(size):
        advance(log, range(4, 18))
        state = log.state()
        assert state["metrics"] <= (full / "metrics.jsonl").stat().st_size
        assert not list(full.glob("*.tmp"))
    told = capsys.readouterr().err
    assert told.count("/metrics.jsonl cannot be written (File too large): continuing without it") == 1
    for name in ("scores.json", "train_scores.json"):
        assert told.count(f"/{name} cannot be written") == (1 if size < 1000 else 0)
    assert told.count("tensorboard cannot be written") <= 1 and len(told.splitlines()) <= 4
    advance(log, range(18, 21))
    log.close()
    assert lines(full) == lines(whole)
    for name in ("scores.json", "train_scores.json"):
        assert (full / name).read_text() == (whole / name).read_text()
    steps = {event.step for event in events(full / "tensorboard" / "seed-3")}
    assert {1, 20} <= steps


def test_a_checkpoint_of_a_full_disk_counts_the_lines_that_are_there(tmp_path: Path) -> None:
    log = opened(tmp_path)
    advance(log, range(1, 4))
    with full_disk(0):
        advance(log, range(4, 6))
        state = log.state()
    log.lines.waiting.clear()  # the process is killed
    log.close()
    log = opened(tmp_path, json.loads(json.dumps(state)))
    assert json.loads((tmp_path / "scores.json").read_text())[0]["xs"] == [1, 2, 3, 4, 5]
    advance(log, range(6, 7))
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [1] * 4 + [2] * 4 + [3] * 4 + [6] * 4


@pytest.mark.parametrize("name", ["metrics.jsonl", "scores.json", "train_scores.json", "tensorboard"])
def test_a_file_that_cannot_be_opened_ends_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder stands where a file should, or a file where a folder should."""
    (tmp_path / "tensorboard").touch() if name == "tensorboard" else (tmp_path / name).mkdir()
    log = opened(tmp_path, tensorboard=True)
    advance(log, range(1, 4))
    state = log.state()
    log.close()
    told = capsys.readouterr().err
    assert told.count("cannot be written") == 1 and name in told
    assert state["scores"]["3"] == [[1, 2, 3], [2.0, 3.0, 4.0]]


def test_a_file_that_is_shorter_than_the_checkpoint_says_is_cut_to_whole_lines(tmp_path: Path) -> None:
    log = opened(tmp_path)
    advance(log, range(1, 4))
    state = log.state()
    log.close()
    with (tmp_path / "metrics.jsonl").open("r+b") as file:
        file.truncate(state["metrics"] - 5)
    log = opened(tmp_path, state)
    advance(log, range(4, 5))
    log.close()
    assert [line["step"] for line in lines(tmp_path)] == [1] * 4 + [2] * 4 + [3] * 3 + [4] * 4


def test_pictures_that_cannot_be_drawn_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = opened(tmp_path, tensorboard=True)
    for step in (1, 2):
        log.dream(step, {"x": 0.5}, lambda: {}["missing"])
    log.close()
    assert capsys.readouterr().err.count("dreams cannot be written (KeyError: 'missing')") == 1
    assert lines(tmp_path) == [{"step": step, "seed": 3, "dream/x": 0.5} for step in (1, 2)]
