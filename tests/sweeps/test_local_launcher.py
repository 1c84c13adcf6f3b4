"""Sweeps on one machine: what is complete is left alone, what broke resumes, and one failure stops nobody."""

import errno
import fcntl
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sobolev.sweeps import run_process, status_table
from sobolev.sweeps.ledger import Entry, Sweep
from sobolev.sweeps.local_launcher import Share, run_here, shares

FAKE = Path(__file__).with_name("fake_sobolev.py")


@pytest.fixture(autouse=True)
def _fake_program(monkeypatch):
    monkeypatch.setattr(run_process, "PROGRAM", (sys.executable, str(FAKE)))
    monkeypatch.setenv("PYTHONPATH", str(Path(run_process.__file__).parents[2]))


def planned(folder: Path, *runs: str, needs: dict[str, str] | None = None, name: str = "test") -> Sweep:
    """A sweep of runs called NAME or NAME-TASK, which do what their task says."""
    sweep = Sweep(folder / f"sweep-{name}.json")
    listed = [
        Entry(
            run=f"task/{run}",
            task=run.rpartition("-")[2],
            method="gpld",
            label="gpld",
            seeds=(0,),
            steps=100,
            command=("train", run.rpartition("-")[2], "--run", str(folder / "task" / run)),
            needs=None if run not in (needs or {}) else f"task/{(needs or {})[run]}",
        )
        for run in runs
    ]
    sweep.plan(listed, {"command": "test"})
    return sweep


def launch(sweep: Sweep, jobs: int = 1, episodes: int = 0, watch=lambda: None) -> tuple[int, list[str]]:
    said: list[str] = []
    status = run_here(sweep, list(sweep.read()), jobs, episodes, said.append, watch, pause=0.02)
    return status, said


def states(sweep: Sweep) -> list[str]:
    return [entry.state for entry in sweep.read().values()]


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(tmp_path):
    sweep = planned(tmp_path, "a-ok", "b-fail", "c-crash", "d-die", "e-ok")
    status, said = launch(sweep, episodes=3)
    assert status == 1 and states(sweep) == ["done", "failed", "failed", "failed", "done"]
    errors = [entry.error for entry in sweep.read().values()]
    assert errors[1:4] == [
        "this cannot be: do something else",
        "ValueError: so it goes",
        "killed by SIGKILL (out of memory?)",
    ]
    assert said[-1] == "task/e-ok: done"
    assert "Traceback" in sweep.log("task/c-crash").read_text()
    lines = status_table.failures(status_table.rows(sweep), sweep)
    assert len(lines) == 3 and "this cannot be" in lines[0] and "task-b-fail.log" in lines[0]
    assert (tmp_path / "task/a-ok/evaluation.json").exists()
    launch(sweep, episodes=3)
    assert [entry.attempts for entry in sweep.read().values()] == [1, 2, 2, 2, 1]


def test_what_was_evaluated_too_little_is_evaluated_again_without_training(tmp_path):
    sweep = planned(tmp_path, "a-ok")
    assert launch(sweep, episodes=3)[0] == 0
    assert launch(sweep, episodes=5)[0] == 0
    log = sweep.log("task/a-ok").read_text()
    assert log.count("sobolev train") == 1 and log.count("sobolev evaluate") == 2


@pytest.mark.parametrize("task", ["unsaved", "unkept", "older"])
def test_a_command_that_ends_well_in_vain_is_not_repeated(tmp_path, task):
    """As where the disk has no room for its result, or the newest checkpoint is damaged."""
    sweep = planned(tmp_path, f"a-{task}", "b-ok")

    def watch() -> None:
        assert sweep.log(f"task/a-{task}").read_text().count("==") <= 2

    assert launch(sweep, episodes=3, watch=watch)[0] == 1
    failed, done = sweep.read().values()
    assert (failed.state, failed.attempts, done.state) == ("failed", 1, "done")
    what = "its newest checkpoint has too few steps" if task == "unsaved" else "its evaluation was not kept"
    assert what in str(failed.error)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["claim", "begun", "handed_over", "ended"])
def test_a_full_disk_delays_what_is_recorded(tmp_path, monkeypatch, name):
    """No run is forgotten, started twice, or recorded as what it is not."""
    sweep, write, failures = planned(tmp_path, "a-ok", "b-fail"), getattr(Sweep, name), []

    def full(*arguments):
        failures.append(arguments[1])
        if failures.count(arguments[1]) <= 3:
            raise FULL
        return write(*arguments)

    monkeypatch.setattr(Sweep, name, full)
    status, said = launch(sweep, episodes=3)
    assert len(failures) > 3 and status == 1 and states(sweep) == ["done", "failed"]
    assert [entry.attempts for entry in sweep.read().values()] == [1, 1]
    assert [entry.error for entry in sweep.read().values()] == [None, "this cannot be: do something else"]
    assert [line for line in said if "task/" not in line] == [
        "the sweep's files cannot be read or written (No space left on device): trying again until they can"
    ]
    assert [sweep.log(run).read_text().count("sobolev train") for run in sweep.read()] == [1, 1]


@pytest.mark.parametrize("name", ["logs", "logs/task-a-ok.log"])
def test_a_log_that_cannot_be_written_delays_its_run(tmp_path, name):
    sweep, ticks, blocked = planned(tmp_path, "a-ok", "b-ok"), [], tmp_path / name
    if name == "logs":
        blocked.touch()
    else:
        blocked.mkdir(parents=True)

    def watch() -> None:
        ticks.append(blocked)
        if len(ticks) == 3:
            blocked.unlink() if name == "logs" else blocked.rmdir()

    status, said = launch(sweep, jobs=2, episodes=3, watch=watch)
    assert (status, states(sweep)) == (0, ["done", "done"])
    assert sum("trying again" in line for line in said) == 1
    assert [entry.attempts for entry in sweep.read().values()] == [1, 1]


def test_a_run_fails_also_where_its_log_is_gone(tmp_path):
    sweep = planned(tmp_path, "a-fail")
    assert launch(sweep, watch=lambda: sweep.log("task/a-fail").unlink(missing_ok=True))[0] == 1
    assert "exit status 1, with a log that cannot be read" in str(sweep.read()["task/a-fail"].error)


def test_an_interrupted_sweep_waits_for_no_disk(tmp_path, monkeypatch):
    sweep, write, ticks = planned(tmp_path, "a-hang", "b-ok"), Sweep._write, []

    def full(*arguments):
        raise FULL

    def interrupt() -> None:
        if (tmp_path / "task/a-hang/hangs").exists():
            (tmp_path / "task/a-hang/hangs").unlink()
            monkeypatch.setattr(Sweep, "_write", full)
            os.kill(os.getpid(), signal.SIGTERM)
            ticks.append(time.monotonic())
        assert not ticks or time.monotonic() < ticks[0] + 30

    status, said = launch(sweep, watch=interrupt)
    assert status == 128 + signal.SIGTERM and said[-1] == "task/a-hang: stopped"
    assert [row.state for row in status_table.rows(sweep)] == ["stopped", "waiting"]
    monkeypatch.setattr(Sweep, "_write", write)
    assert launch(sweep)[0] == 0 and states(sweep) == ["done", "done"]


def test_runs_save_where_the_launcher_ends_by_an_error(tmp_path, monkeypatch):
    sweep = planned(tmp_path, "a-hang")

    def watch() -> None:
        if (tmp_path / "task/a-hang/hangs").exists():
            raise RuntimeError("a fault of the launcher")

    with pytest.raises(RuntimeError, match="a fault of the launcher"):
        launch(sweep, watch=watch)
    assert (tmp_path / "task/a-hang/checkpoint/checkpoint-0.json").exists()
    assert [row.state for row in status_table.rows(sweep)] == ["stopped"]
    launch(sweep)
    assert states(sweep) == ["done"]


def test_an_interrupted_sweep_saves_and_is_resumed(tmp_path):
    sweep = planned(tmp_path, "a-ok", "b-hang", "c-ok")

    def interrupt() -> None:
        if (tmp_path / "task/b-hang/hangs").exists():
            (tmp_path / "task/b-hang/hangs").unlink()
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert launch(sweep, watch=interrupt)[0] == 128 + signal.SIGTERM
    assert states(sweep) == ["done", "stopped", "waiting"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert launch(sweep)[0] == 0
    assert states(sweep) == ["done", "done", "done"]
    assert [entry.attempts for entry in sweep.read().values()] == [1, 2, 1]


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    sweep, pressed = planned(tmp_path, "a-meet"), []

    def interrupt() -> None:
        if len(pressed) < 2:
            pressed.append(os.kill(os.getpid(), signal.SIGINT))

    sweep.update("task/a-meet", command=("train", "meet", "--run", str(tmp_path / "task/9-meet")))
    assert launch(sweep, watch=interrupt)[0] == 128 + signal.SIGINT
    assert states(sweep) == ["stopped"]


def test_runs_side_by_side_have_cores_of_their_own(tmp_path):
    names = ["2-meet", "2b-meet"]
    sweep = planned(tmp_path, *names)
    assert launch(sweep, jobs=2)[0] == 0
    used = [set((tmp_path / "task" / name / "cores").read_text().split()) for name in names]
    here = {str(core) for core in os.sched_getaffinity(0)}
    assert used[0] | used[1] == here
    if len(here) > 1:
        assert not used[0] & used[1]


def test_a_run_in_use_is_left_alone(tmp_path):
    sweep = planned(tmp_path, "a-ok", "b-ok")
    (tmp_path / "task/a-ok").mkdir(parents=True)
    with (tmp_path / "task/a-ok/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, said = launch(sweep)
    assert (status, states(sweep)) == (0, ["waiting", "done"])
    assert "skipped" in said[0]


def test_a_run_whose_process_is_gone_is_resumed(tmp_path):
    sweep = planned(tmp_path, "a-ok")
    sweep.begun("task/a-ok", process=2**22 + 1)  # above any process number
    (row,) = status_table.rows(sweep)
    assert (row.state, row.note) == ("stopped", "its process is gone; sobolev sweep resumes it")
    assert launch(sweep)[0] == 0
    assert states(sweep) == ["done"]


def test_of_two_sweeps_one_trains_a_run(tmp_path):
    """The second one starts while the first one's training has not taken hold of the folder yet, or only evaluates."""
    sweep, others = planned(tmp_path, "1-meet"), []

    def watch() -> None:
        if not others:
            others.append(launch(sweep))

    assert launch(sweep, watch=watch)[0] == 0
    assert others == [(0, ["task/1-meet: skipped, another process is training it"])]
    (entry,) = sweep.read().values()
    assert (entry.state, entry.attempts, entry.error) == ("done", 1, None)
    assert sweep.log("task/1-meet").read_text().count("sobolev train") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_sweeps_with_ledgers_of_their_own_share_runs(tmp_path, command):
    """Two suites with one --output: the second one starts while the first trains the run, or evaluates it."""
    first, second = (planned(tmp_path, "a-ok", name=name) for name in ("first", "second"))
    others = []

    def watch() -> None:
        if not others and f"sobolev {command}" in first.log("task/a-ok").read_text():
            others.append(launch(second, episodes=3))

    assert launch(first, episodes=3, watch=watch)[0] == 0
    assert others == [(0, ["task/a-ok: skipped, another process is training it"])]
    assert (states(first), states(second)) == (["done"], ["waiting"])
    assert launch(second, episodes=3) == (0, [])
    assert states(second) == ["done"]
    log = first.log("task/a-ok").read_text()
    assert log.count("sobolev train") == 1 and log.count("sobolev evaluate") == 1


@pytest.mark.parametrize(("base", "expected"), [("ok", ["done", "done"]), ("fail", ["failed", "failed"])])
def test_a_run_waits_for_the_one_it_starts_from(tmp_path, base, expected):
    sweep = planned(tmp_path, "b-ok", f"a-{base}", needs={"b-ok": f"a-{base}"})
    _, said = launch(sweep)
    assert sorted(states(sweep)) == expected
    assert said[0] == f"task/a-{base}: started"
    if base == "fail":
        assert sweep.read()["task/b-ok"].error == "it starts from task/a-fail, which failed"


def test_shares():
    assert shares(1, range(8), ["0", "1"]) == [Share((), {})]
    assert [share.cores for share in shares(3, range(8), [])] == [(0, 1), (2, 3, 4), (5, 6, 7)]
    assert [share.cores for share in shares(2, [5], [])] == [(), ()]
    visible = [share.environment for share in shares(2, range(4), ["0", "1", "2"])]
    assert visible == [{"CUDA_VISIBLE_DEVICES": "0,2"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    together = [share.environment for share in shares(3, range(4), ["7"])]
    assert together == [{"CUDA_VISIBLE_DEVICES": "7", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.30"}] * 3
