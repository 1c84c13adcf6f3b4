"""A run that is broken off, in whatever way, and started again ends bit for bit as the run that never was."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sobolev
from sobolev.config import TrainConfig
from sobolev.errors import UserError
from sobolev.training.checkpoint import Checkpoints
from sobolev.training.loop import Training
from sobolev.training.start import start
from tests import tiny

ROOT, SOURCE = Path(__file__).parents[2], Path(sobolev.__file__).parents[1]


class Crash(Exception):
    """Stands for whatever ends a process without warning."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    """All runs in this process have the seed and the replay of other tests, and so their compiled programs."""
    tiny.share_programs(monkeypatch)
    tiny.large_replay(monkeypatch)
    with tiny.quickly():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never broken off."""
    with pytest.MonkeyPatch.context() as patch, tiny.quickly():
        tiny.share_programs(patch)
        tiny.large_replay(patch)
        return run(tmp_path_factory.mktemp("straight") / "run")


def run(folder: Path, config: TrainConfig | None = None, status: int = 0) -> Path:
    config = config or tiny.config(seeds=(2,))
    assert start(dataclasses.replace(config, run=folder)) == (folder, status)
    return folder


def at(monkeypatch: pytest.MonkeyPatch, iteration: int, act: Callable[[Training], None]) -> None:
    """Acts once, when a run has made so many iterations."""
    iterate = Training.iterate

    def wrapped(self: Training) -> None:
        iterate(self)
        if self.now.iteration == iteration:
            act(self)

    monkeypatch.setattr(Training, "iterate", wrapped)


def crash(training: Training) -> None:
    raise Crash


def crash_late(folder: Path, saves: tuple[int, ...], end: int, config: TrainConfig | None = None) -> None:
    """Runs until `end`, with checkpoints at `saves`, and loses all that came after the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        for iteration in saves:
            at(patch, iteration, Training.save)
        at(patch, end, crash)
        with pytest.raises(Crash):
            run(folder, config)


def content(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint."""
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and not loaded.notes
    return {**loaded.state, **{f"steps/{name}": x for name, x in loaded.growing.items()}}


def assert_same(folder: Path, wanted: Path) -> None:
    ours, theirs = content(folder), content(wanted)
    assert set(ours) == set(theirs)
    different = [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()]
    assert not different
    for name in ("scores.json", "train_scores.json"):
        assert json.loads((folder / name).read_text()) == json.loads((wanted / name).read_text())
    assert metrics(folder) == metrics(wanted)


def metrics(folder: Path) -> list[dict]:
    """Every line of the run's metrics but for the time at which it was written."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def test_the_run_has_in_it_what_a_resume_could_get_wrong(straight):
    """Episodes that ended, several evaluations, trained weights, refreshed latents: else the comparison is empty."""
    arrays = content(straight)
    loaded = Checkpoints(straight / "checkpoint").load()
    assert loaded and (loaded.iteration, loaded.meta["updates"]) == (80, 112)
    assert arrays["records/episode"].min() > 2 and arrays["records/length"].max() > 0
    assert arrays["agent/updates"].tolist() == [112]
    assert 0 < arrays["taken"] <= 16 and arrays["latents/deter"].any()
    (scores,), (episodes,) = (json.loads((straight / f"{name}scores.json").read_text()) for name in ("", "train_"))
    assert scores["xs"] == [0, 60, 120] and len(episodes["xs"]) > 10


@pytest.mark.parametrize(
    ("saves", "end"), [((7,), 20), ((41,), 52), ((30, 31, 63), 64)], ids=["before learning", "between", "thrice saved"]
)
def test_lost_work_is_done_again(straight, tmp_path, saves, end):
    crash_late(tmp_path / "run", saves, end)
    assert_same(run(tmp_path / "run"), straight)


def test_a_run_without_any_checkpoint_begins_again(straight, tmp_path):
    crash_late(tmp_path / "run", (), 50)
    assert_same(run(tmp_path / "run"), straight)


def test_broken_off_several_times(straight, tmp_path):
    for save, end in ((10, 12), (33, 33), (34, 60)):
        crash_late(tmp_path / "run", (save,), end)
    assert_same(run(tmp_path / "run"), straight)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(straight, tmp_path, monkeypatch, capfd, number):
    at(monkeypatch, 45, lambda training: signal.raise_signal(number))
    folder = run(tmp_path / "run", status=128 + number)
    printed = capfd.readouterr()
    assert "saving, then leaving" in printed.err
    assert f"in {folder}: the same command goes on" in printed.out
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and 45 <= loaded.iteration < 80
    assert signal.getsignal(number) is not None and signal.set_wakeup_fd(-1) == -1
    assert_same(run(folder), straight)
    assert "goes on at" in capfd.readouterr().out


def test_a_signal_before_the_first_step(straight, tmp_path, monkeypatch):
    """What was evaluated before it is not evaluated twice."""
    evaluate = Training.evaluate

    def first(training: Training) -> None:
        evaluate(training)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "evaluate", first)
        run(tmp_path / "run", status=143)
    assert_same(run(tmp_path / "run"), straight)


@pytest.mark.parametrize("victim", ["state", "steps", "manifest"])
def test_a_damaged_checkpoint_falls_back_and_says_so(straight, tmp_path, capfd, victim):
    folder = tmp_path / "run"
    crash_late(folder, (36, 59), 60)
    manifests = [json.loads(path.read_text()) for path in (folder / "checkpoint").glob("checkpoint-*.json")]
    assert len(manifests) == 2
    pattern = {"state": "state-2.*", "steps": "steps-36-59.*", "manifest": "checkpoint-1.json"}[victim]
    (file,) = (folder / "checkpoint").glob(pattern)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    capfd.readouterr()
    run(folder)
    said = capfd.readouterr().out
    assert "damaged" in said and "went back to the checkpoint of iteration 36" in said
    assert_same(folder, straight)


def test_two_damaged_checkpoints_stop_the_run(tmp_path):
    crash_late(tmp_path / "run", (5, 9), 10)
    for file in (tmp_path / "run" / "checkpoint").glob("state-*"):
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="--fresh"):
        run(tmp_path / "run")


def test_a_complete_run_says_so(straight, capfd):
    before = content(straight)
    run(straight)
    assert capfd.readouterr().out == (
        f"{straight} is complete at 160 env steps: a larger --steps goes on, --fresh deletes it and begins anew\n"
    )
    assert all(np.array_equal(before[name], array) for name, array in content(straight).items())


def test_several_seeds_of_real_physics(tmp_path):
    config = tiny.config("cartpole-swingup", seeds=(0, 1, 2), evaluation__episodes=0)
    config = dataclasses.replace(config, steps=2 * 2 * 60)
    wanted = run(tmp_path / "wanted", config)
    crash_late(tmp_path / "run", (37,), 44, config)
    assert_same(run(tmp_path / "run", config), wanted)
    assert content(wanted)["records/length"].tolist() == [[60, 60]] * 3


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the command line, ended by SIGKILL at a random moment, and by the same command brought to its end."""
    tmp_path = tmp_path_factory.mktemp("killed")
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "sobolev", "train", *tiny.flags(), "--seeds", "2", "--run", str(folder)]
    command += ["--checkpoint.minutes", "1e-9"]
    environment = os.environ | tiny.quick_environment() | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    dice = random.Random(time.time_ns())
    wait_for, delay = dice.randrange(1, 60), dice.random() * 0.05
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        while saved(folder) < wait_for and process.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "goes on at" in again.stdout, (wait_for, delay, again.stdout)
    return folder


def test_a_killed_process_goes_on(straight, killed):
    """And ends as the run in this process did, whose replay was longer than it had to be."""
    assert_same(killed, straight)


def test_more_steps_go_on(killed, tmp_path, capfd):
    """With a larger replay than before, to the end of the run that had these steps from the start."""
    longer = tiny.config(seeds=(2,), steps=240)
    folder = shutil.copytree(killed, tmp_path / "run")
    run(folder, longer)
    assert "goes on at 160 of 240 env steps" in capfd.readouterr().out
    assert_same(folder, run(tmp_path / "whole", longer))


def saved(folder: Path) -> int:
    """The iteration of the newest checkpoint that can be read just now."""
    found = [0]
    for slot in (0, 1):
        try:
            found.append(
                json.loads((folder / "checkpoint" / f"checkpoint-{slot}.json").read_text())["record"]["iteration"]
            )
        except (OSError, ValueError, KeyError):
            continue
    return max(found)


def test_a_checkpoint_of_another_program_is_refused(straight, tmp_path):
    """As after an update of the package that changed the networks."""
    folder = shutil.copytree(straight, tmp_path / "run")
    config = tiny.config(seeds=(2,), model__units=24, steps=240)
    text = json.loads((folder / "config.json").read_text())
    text["agent"]["model"]["units"] = 24
    (folder / "config.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match="does not fit this program"):
        run(folder, config)
