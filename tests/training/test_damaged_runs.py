"""A run whose checkpoint is damaged, poisoned, of another environment, or cannot be written goes on with what is whole,
or says why not."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

from sobolev.checkpoints.files import NotSaved
from sobolev.checkpoints.slots import Checkpoints
from sobolev.errors import UserError
from sobolev.training.evaluation import evaluate, load_policy
from sobolev.training.loop import Training
from tests import tiny
from tests.checkpoints import checkpoints
from tests.quick_runs import quick_runs
from tests.spring import Spring
from tests.training.broken_off import Crash, assert_same, at, crash, crash_late, metrics, run, straight_run


@pytest.fixture(autouse=True)
def _quick():
    """All runs in this process have the seed and the replay of other tests, and so their compiled programs."""
    with quick_runs():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return straight_run(tmp_path_factory.mktemp("straight") / "run")


def damage(folder: Path, pattern: str) -> None:
    """Flips a bit in the one file of a run's checkpoint that fits."""
    (file,) = (folder / "checkpoint").glob(pattern)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("where", ["device", "host"])
@pytest.mark.parametrize("lost", [(0, 30), (30, 45), (45, 58)], ids=["the oldest", "in between", "the newest"])
def test_a_run_goes_on_without_damaged_steps(tmp_path, capfd, lost, where):
    """From the newest state; what follows the hole begins an episode, and all else in replay is as it was. Broken off
    and resumed again, it ends to the bit as one that was damaged and not broken off."""
    config = tiny.config(seeds=(2,), replay__memory=where)
    folder, seen = tmp_path / "run", []
    crash_late(folder, (30, 45, 58), 59, config)
    damage(folder, f"steps-{lost[0]}-{lost[1]}.*")
    _, before = checkpoints.content(folder / "checkpoint")
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
    ((steps, count),), kept = seen, 58 - (lost[1] - lost[0])
    assert count == kept + 1
    names = ("reward", "action", "first", "last")
    saved = {name: np.moveaxis(before[f"steps/{name}"][:, 0], 0, 1).copy() for name in names}
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


@pytest.mark.long
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


@pytest.mark.long
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
    observe = Spring._observe
    changed = lambda self: {"position": np.zeros(4, np.float32), "speed": observe(self)["velocity"]}  # noqa: E731
    monkeypatch.setattr(Spring, "observation_space", gymnasium.spaces.Dict(entries))
    monkeypatch.setattr(Spring, "action_space", box(-1, 1, (2,), np.float32))
    monkeypatch.setattr(Spring, "_observe", changed)
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


@pytest.mark.long
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
    assert "not saved: " in said and "training continues" in said and "a copy of the networks" in said
    assert finished_at(folder) == 49
    full.clear()
    assert_same(run(folder, config), straight)


@pytest.mark.long
def test_two_damaged_checkpoints_stop_the_run(tmp_path):
    crash_late(tmp_path / "run", (5, 9), 10)
    for file in (tmp_path / "run" / "checkpoint").glob("state-*"):
        file.write_bytes(b"nothing")
    with pytest.raises(UserError, match="--fresh"):
        run(tmp_path / "run")
