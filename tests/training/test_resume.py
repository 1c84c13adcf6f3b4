"""A run that is broken off, in whatever way, and started again ends bit for bit as the run that never was."""

import dataclasses
import errno
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
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

import sobolev
from sobolev.errors import UserError
from sobolev.training.checkpoint import Checkpoints
from sobolev.training.config import TrainConfig
from sobolev.training.evaluation import evaluate, load_policy
from sobolev.training.loop import Training
from sobolev.training.start import start
from sobolev.training.storage import NotSaved
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


def damage(folder: Path, pattern: str) -> None:
    """Flips a bit in the one file of a run's checkpoint that fits."""
    (file,) = (folder / "checkpoint").glob(pattern)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("victim", ["state-2.*", "checkpoint-1.json"])
def test_a_damaged_checkpoint_falls_back_and_says_so(straight, tmp_path, capfd, victim):
    folder = tmp_path / "run"
    crash_late(folder, (36, 59), 60)
    damage(folder, victim)
    capfd.readouterr()
    run(folder)
    said = capfd.readouterr().out
    assert "damaged" in said and "went back to the checkpoint of iteration 36" in said
    assert_same(folder, straight)


def copied(replay: Any) -> tuple[dict[str, np.ndarray], int]:
    """The first seed's steps, [environments, capacity, …], and how many were added."""
    names = ("reward", "action", "first", "last")
    return {name: np.array(replay.steps[name])[0] for name in names}, int(replay.count)


@pytest.mark.parametrize("where", ["device", "host"])
@pytest.mark.parametrize("lost", [(0, 30), (30, 45), (45, 58)], ids=["the oldest", "in between", "the newest"])
def test_a_run_goes_on_without_damaged_steps(tmp_path, capfd, lost, where):
    """From the newest state; what follows the hole begins an episode, and all else in replay is as it was. Broken off
    and resumed again, it ends to the bit as one that was damaged and not broken off."""
    config = tiny.config(seeds=(2,), replay__memory=where)
    folder, seen = tmp_path / "run", []
    crash_late(folder, (30, 45, 58), 59, config)
    damage(folder, f"steps-{lost[0]}-{lost[1]}.*")
    before = Checkpoints(folder / "checkpoint").load()
    twin = shutil.copytree(folder, tmp_path / "twin")
    capfd.readouterr()
    with pytest.raises(UserError, match="replay has damage in .*--strict-resume stops here"):
        run(folder, dataclasses.replace(config, strict_resume=True))
    with pytest.MonkeyPatch.context() as patch:
        at(patch, 59, lambda training: seen.append(copied(training.now.replay)))
        run(folder, config)
    said = capfd.readouterr().out
    assert f"replay has damage in steps {lost[0]} to {lost[1] - 1} (steps-" in said
    assert "no longer the same to the bit" in said
    assert before is not None
    ((steps, count),), kept = seen, 58 - (lost[1] - lost[0])
    assert count == kept + 1
    saved = {name: np.moveaxis(x[:, 0], 0, 1).copy() for name, x in before.growing.items()}
    for name in ("reward", "action", "last"):
        np.testing.assert_array_equal(steps[name][:, :kept], saved[name], err_msg=name)
    if lost[0] == 30:
        saved["first"][:, 30] = True
    np.testing.assert_array_equal(steps["first"][:, :kept], saved["first"])
    assert steps["first"][:, kept].all() == (lost[1] == 58)
    assert finished(folder) and metrics(folder)[-1]["updates"] > 112 - 2 * 24
    crash_late(twin, (63, 70), 71, config)
    run(twin, config)
    assert_same(twin, folder)


def finished(folder: Path) -> bool:
    loaded = Checkpoints(folder / "checkpoint").load(strict=True)
    return loaded is not None and loaded.iteration == 80


def test_a_run_whose_steps_are_all_damaged_waits_for_new_ones(tmp_path, capfd):
    """Networks and optimizer are kept; updates that fall due before replay is as full as at the start are forgone."""
    folder, seen = tmp_path / "run", []
    crash_late(folder, (40,), 41)
    damage(folder, "steps-0-40.*")
    with pytest.MonkeyPatch.context() as patch:
        for iteration in (64, 65):
            at(patch, iteration, lambda training: seen.append((training.now.updates, training.now.added)))
        run(folder)
    assert "updates wait until replay" in capfd.readouterr().out
    assert seen == [(32, 24), (34, 25)]
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and loaded.meta["updates"] == 112 - 2 * 24 and loaded.meta["forgone"] == 2 * 24
    assert run(folder, tiny.config(seeds=(2,), steps=200)) and finished_at(folder) == 100


def finished_at(folder: Path) -> int:
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and not loaded.notes
    return loaded.iteration


def test_damaged_steps_in_a_full_ring_of_several_seeds(tmp_path, capfd):
    """A ring that has wrapped begins anew without them, and stays bit for bit resumable."""
    config = tiny.config(seeds=(0, 1), replay__capacity=60, evaluation__episodes=0)
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        tiny.large_replay(patch, 30)
        crash_late(folder, (20, 30, 40, 50), 51, config)
        damage(folder, "steps-30-40.*")
        twin = shutil.copytree(folder, tmp_path / "twin")
        run(folder, config)
        loaded = Checkpoints(folder / "checkpoint").load()
        assert loaded and loaded.meta["missing"] == 50 - 20
        crash_late(twin, (55, 77), 78, config)
        assert_same(run(twin, config), folder)


def poison(training: Training) -> None:
    """What an earlier version let an environment do."""
    replay = training.now.replay
    reward = replay.steps["reward"].at[0, 1, 33].set(np.nan)
    training.now.replay = dataclasses.replace(replay, steps={**replay.steps, "reward": reward})


def test_a_poisoned_reward_is_found_and_left_out(tmp_path, capfd):
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at(patch, 40, poison)
        at(patch, 40, lambda training: training.save())
        at(patch, 40, crash)
        with pytest.raises(Crash):
            run(folder)
    run(folder)
    assert "replay holds NaN or infinity in step 33: " in capfd.readouterr().out
    assert finished(folder)


def test_a_poisoned_agent_goes_back_to_the_checkpoint_before(straight, tmp_path, capfd):
    folder = tmp_path / "run"

    def poisoned(training: Training) -> None:
        training.now.state = jax.tree.map(
            lambda x: x * np.nan if np.issubdtype(x.dtype, np.floating) else x, training.now.state
        )
        training.save()
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        at(patch, 30, Training.save)
        at(patch, 40, poisoned)
        with pytest.raises(Crash):
            run(folder)
    evaluate(folder, tiny.ENVIRONMENTS)
    said = capfd.readouterr().err
    assert "holds NaN or infinity" in said and "went back to the checkpoint of iteration 30" in said
    assert_same(run(folder), straight)


def test_another_environment_is_named_by_its_entries(straight, tmp_path, monkeypatch):
    """To resume, to evaluate, and for a policy."""
    folder = shutil.copytree(straight, tmp_path / "run")
    box = gymnasium.spaces.Box
    entries: dict[str, gymnasium.Space] = {
        "position": box(-1, 1, (4,), np.float32),
        "speed": box(-1, 1, (2,), np.float32),
    }
    observe = tiny.Spring._observe
    changed = lambda self: {"position": np.zeros(4, np.float32), "speed": observe(self)["velocity"]}  # noqa: E731
    monkeypatch.setattr(tiny.Spring, "observation_space", gymnasium.spaces.Dict(entries))
    monkeypatch.setattr(tiny.Spring, "action_space", box(-1, 1, (2,), np.float32))
    monkeypatch.setattr(tiny.Spring, "_observe", changed)
    wrong = (
        r"the environment gives 'position' of shape \(4,\), the checkpoint was made with \(3,\); "
        r"the environment gives 'speed' of shape \(2,\), the checkpoint was made without it; "
        r"the environment gives no 'velocity', the checkpoint was made with .*\(2,\); and 1 more: "
    )
    for act in (
        lambda: run(folder, tiny.config(seeds=(2,), steps=240)),
        lambda: evaluate(folder, tiny.ENVIRONMENTS),
        lambda: load_policy(folder),
    ):
        with pytest.raises(UserError, match=wrong):
            act()
    config = tiny.config(seeds=(2,), warm_start=straight)
    with pytest.raises(UserError, match=r"'position' of shape \(4,\).*--warm-start .* needs a task with the same"):
        run(tmp_path / "warm", config)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_cannot_be_written_is_tried_again(straight, tmp_path, monkeypatch, capfd, number):
    """Training goes on without it; at the end that it is missing ends the run, and the same command makes it up."""
    folder, replace, full = tmp_path / "run", os.replace, []

    def refused(source: Any, target: Any) -> None:
        if full and Path(target).parent.name in ("checkpoint", "snapshots"):
            raise OSError(number, os.strerror(number))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    config = tiny.config(seeds=(2,), checkpoint__minutes=1e-9, checkpoint__snapshots=60)
    with pytest.MonkeyPatch.context() as patch:
        at(patch, 50, lambda training: full.append(1))
        with pytest.raises(NotSaved, match="a checkpoint of .*free some space|a checkpoint cannot be written"):
            run(folder, config)
    said = capfd.readouterr().out
    assert "not saved: " in said and "training goes on" in said and "a copy of the networks" in said
    assert finished_at(folder) == 49
    full.clear()
    assert_same(run(folder, config), straight)


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


KILLS = int(os.environ.get("SOBOLEV_KILLS", "1"))
"""How often a run is killed: once, or as often as one asks for."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the command line, ended by SIGKILL at random moments, and by the same command brought to its end."""
    tmp_path = tmp_path_factory.mktemp("killed")
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "sobolev", "train", *tiny.flags(), "--seeds", "2", "--run", str(folder)]
    command += ["--checkpoint.minutes", "1e-9"]
    environment = os.environ | tiny.quick_environment() | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    seed = time.time_ns()
    dice = random.Random(seed)
    moments = sorted((dice.randrange(1, 70), dice.random() * 0.05) for _ in range(KILLS))
    print(f"killed {KILLS} times, dice {seed}: {moments}")
    for number, (wait_for, delay) in enumerate(moments):
        with open(tmp_path / "log", "w") as log:
            before = saved(folder)
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
            # a moment that has passed is any time after the start, loading included
            while saved(folder) < max(wait_for, before) and process.poll() is None:
                time.sleep(0.001)
            time.sleep(delay if wait_for > before else delay * 200)
            process.kill()
            assert process.wait() == -signal.SIGKILL, (seed, number, (tmp_path / "log").read_text())
    again = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, (seed, again.stderr)
    assert "goes on at" in again.stdout and "damage" not in again.stdout, (seed, moments, again.stdout)
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
