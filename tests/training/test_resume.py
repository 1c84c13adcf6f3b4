"""A run that is broken off, in whatever way, and started again ends bit for bit as the run that never was."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sobolev
from sobolev.checkpoints.run_folder import MARK, delete, foreign
from sobolev.checkpoints.slots import Checkpoints
from sobolev.cli import evaluate, train
from sobolev.envs import VectorEnv
from sobolev.errors import UserError
from sobolev.system import signals
from sobolev.training.loop import Training
from sobolev.training.program import Program
from sobolev.training.schedule import Plan
from sobolev.training.start import start
from tests import tiny
from tests.quick_runs import quick_runs
from tests.training.broken_off import assert_same, at, content, crash_late, metrics, run, straight_run

ROOT, SOURCE = Path(__file__).parents[2], Path(sobolev.__file__).parents[1]


@pytest.fixture(autouse=True)
def _quick():
    """All runs in this process have the seed and the replay of other tests, and so their compiled programs."""
    with quick_runs():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return straight_run(tmp_path_factory.mktemp("straight") / "run")


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


def test_what_is_measured_for_a_line_survives_until_it_is_written(straight, tmp_path, monkeypatch):
    """Updates are rare here: none is due between the checkpoint and the line of metrics that follows."""
    of = Plan.of
    pace = of(tiny.config()).pace
    rare = pace._replace(updates=pace.updates * 3 / 32)
    monkeypatch.setattr(Plan, "of", staticmethod(lambda config: dataclasses.replace(of(config), pace=rare)))
    due = [Plan.of(tiny.config()).updates_due(iteration) for iteration in range(81)]
    assert due[57] == due[60] > due[40] and tiny.SETTINGS["log.every"] == 40  # two env steps each
    whole = run(tmp_path / "whole")
    crash_late(tmp_path / "run", (57,), 59)
    assert_same(run(tmp_path / "run"), whole)
    lines = [line for line in metrics(whole) if "loss" in line]
    assert [line["step"] for line in lines] == [80, 120, 160]
    assert all(line["penalty/gradient_share"] > 0 for line in lines)


@pytest.mark.long
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
    assert f"in {folder}: the same command resumes it" in printed.out
    loaded = Checkpoints(folder / "checkpoint").load()
    assert loaded and 45 <= loaded.iteration < 80
    assert signal.getsignal(number) is not None and signal.set_wakeup_fd(-1) == -1
    assert_same(run(folder), straight)
    assert "resumes at" in capfd.readouterr().out


@pytest.mark.long
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


def signal_at(monkeypatch: pytest.MonkeyPatch, where: tuple[type, str], calls: int, after: int = 0) -> None:
    """A signal at that call of a method, counted from iteration `after` on; at its beginning."""
    kind, name = where
    method, now, seen = getattr(kind, name), [0], [0]

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        seen[0] += now[0] >= after
        if seen[0] == calls:
            signal.raise_signal(signal.SIGTERM)
            while signals.received() is None:
                time.sleep(0.001)
        return method(self, *arguments, **named)

    def iterate(self: Training) -> None:
        now[0] = self.now.iteration
        before(self)

    before = Training.iterate
    monkeypatch.setattr(Training, "iterate", iterate)
    monkeypatch.setattr(kind, name, counted)


@pytest.mark.parametrize(
    ("where", "calls", "after"),
    [
        ((VectorEnv, "receive"), 3, 0),  # in the first evaluation, with nothing to save
        ((VectorEnv, "receive"), 1, 9),  # before the answer to an action
        ((VectorEnv, "receive"), 1, 59),  # the same where metrics and an evaluation are due then
        ((VectorEnv, "receive"), 4, 59),  # in that evaluation
        ((VectorEnv, "receive"), 1, 79),  # before the last answer of all
        ((VectorEnv, "reset"), 1, 59),
        ((Program, "learn"), 1, 40),  # between two updates of an iteration
        ((Program, "learn"), 1, 59),
        ((Program, "inspect"), 1, 30),
        ((Program, "act"), 3, 29),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.long
def test_a_signal_in_the_middle_of_an_iteration(straight, tmp_path, where, calls, after, workers):
    """The iteration is finished after the resume: nothing is computed or written down twice, and nothing left out."""
    if workers and where[0] is not VectorEnv:
        pytest.skip("has nothing to do with workers")
    config, folder = tiny.config(seeds=(2,), env__workers=workers), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, where, calls, after)
        run(folder, config, status=143)
    assert_same(run(folder, config), straight)


@pytest.mark.long
@pytest.mark.parametrize("delay", [0.05, 0.4, 1.2])
def test_signals_at_any_moment_again_and_again(straight, tmp_path, delay):
    """Each process gets a little further, however it is stopped."""
    config, folder, status, seen = tiny.config(seeds=(2,)), tmp_path / "run", 143, 0
    while status:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM))
        # A signal may come after the run has ended, while nothing of ours hears it.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        if saved(folder) > seen or not seen:
            seen, delay = saved(folder), delay * random.Random(seen).uniform(0.8, 1.2)
        else:
            delay *= 1.5
        with pytest.MonkeyPatch.context() as patch:
            to_the_end = Training.run_to_end

            def started(training: Training, to_the_end=to_the_end, timer=timer) -> int:
                timer.start()
                return to_the_end(training)

            patch.setattr(Training, "run_to_end", started)
            _, status = start(dataclasses.replace(config, run=folder))
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        signal.signal(signal.SIGTERM, before)
    assert_same(folder, straight)


@pytest.mark.long
def test_all_that_a_run_leaves_is_its_own(tmp_path, monkeypatch):
    """What is written and not named in `MADE` would keep --fresh from beginning anew."""
    more = {"log__tensorboard": True, "log__dreams": 50, "checkpoint__snapshots": 50}
    folder = run(tmp_path / "run", tiny.config(seeds=(2,), **more))
    assert not evaluate.main([str(folder), "--episodes", "2"])
    train.draw(folder)
    assert foreign(folder) == []
    left = {path.name for path in folder.iterdir()}
    assert left >= {"tensorboard", "dreams", "snapshots", "curve.png", "evaluation.json", "record.json", MARK}
    delete(folder, all_of_it=True)
    assert list(folder.iterdir()) == []


def test_a_complete_run_says_so(straight, capfd):
    before = content(straight)
    run(straight)
    assert capfd.readouterr().out == (
        f"{straight} is complete at 160 env steps: a larger --steps continues it, --fresh deletes it and starts over\n"
    )
    assert all(np.array_equal(before[name], array) for name, array in content(straight).items())


@pytest.mark.long
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
    """A run by the command line, ended by SIGKILL at several moments, and by the same command brought to its end."""
    tmp_path = tmp_path_factory.mktemp("killed")
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "sobolev", "train", *tiny.flags(), "--seeds", "2", "--run", str(folder)]
    command += ["--checkpoint.minutes", "1e-9"]
    environment = os.environ | tiny.quick_environment() | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    dice = random.Random(0)
    moments = sorted((dice.randrange(1, 70), dice.random() * 0.05) for _ in range(KILLS))
    for number, (wait_for, delay) in enumerate(moments):
        with open(tmp_path / "log", "w") as log:
            before = saved(folder)
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
            # a moment that has passed is any time after the start, loading included
            while saved(folder) < max(wait_for, before) and process.poll() is None:
                time.sleep(0.001)
            time.sleep(delay if wait_for > before else delay * 200)
            process.kill()
            assert process.wait() == -signal.SIGKILL, (number, (tmp_path / "log").read_text())
    again = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, (moments, again.stderr)
    assert "resumes at" in again.stdout and "damage" not in again.stdout, (moments, again.stdout)
    return folder


@pytest.mark.long
def test_a_killed_process_goes_on(straight, killed):
    """And ends as the run in this process did, whose replay was longer than it had to be."""
    assert_same(killed, straight)


@pytest.mark.long
def test_more_steps_go_on(killed, tmp_path, capfd):
    """With a larger replay than before, to the end of the run that had these steps from the start."""
    longer = tiny.config(seeds=(2,), steps=240)
    folder = shutil.copytree(killed, tmp_path / "run")
    run(folder, longer)
    assert "resumes at 160 of 240 env steps" in capfd.readouterr().out
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
