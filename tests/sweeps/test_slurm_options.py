"""What is asked of SLURM, where it need not be installed: the real one is in test_slurm.py."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sobolev.cli.sweep import SweepConfig, _to_cluster
from sobolev.errors import UserError
from sobolev.sweeps import run_process, slurm
from sobolev.sweeps.ledger import Entry, Sweep
from sobolev.sweeps.local_launcher import left_to_do
from sobolev.sweeps.slurm import Job, SlurmConfig, mark_lost_jobs, sbatch_parameters, submit

FAKE = Path(__file__).with_name("fake_sobolev.py")


def planned(folder: Path, needs: dict[str, str | None]) -> Sweep:
    """A sweep of runs of the fake program that are complete at once, with the run that each starts from."""
    sweep = Sweep(folder / "sweep-test.json")
    listed = [
        Entry(run, "ok", "gpld", run, (0,), 100, ("train", "ok", "--run", str(folder / run)), needs=base)
        for run, base in needs.items()
    ]
    sweep.plan(listed, {})
    return sweep


class Cluster:
    """Stands for submitit: remembers the arrays, each with the jobs it waits for, and numbers them from 7 on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.arrays: list[tuple[list[str], str | None]] = []
        monkeypatch.setattr(slurm, "_array", self.submit)

    def submit(self, sweep, part, config, jobs, episodes, after):
        self.arrays.append(([entry.run for entry in part], after))
        return [f"{6 + len(self.arrays)}_{number}" for number in range(len(part))]


def test_options_are_those_of_sbatch() -> None:
    config = SlurmConfig(partition="gpu", minutes=30, gpus=2, memory=64, options=("reservation=paper", "--exclusive"))
    assert sbatch_parameters("name", config, 4, "17") == {
        "job_name": "name",
        "partition": "gpu",
        "time": 30,
        "signal_delay_s": 120,
        "gpus_per_node": 2,
        "mem": "64GB",
        "dependency": "afterany:17",
        "array_parallelism": 4,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, "reservation": "paper", "exclusive": True},
    }


def test_settings_that_are_none_are_left_to_the_cluster() -> None:
    found = sbatch_parameters("name", SlurmConfig(), 1, None)
    assert set(found) == {
        *("job_name", "time", "signal_delay_s", "array_parallelism", "stderr_to_stdout", "additional_parameters")
    }
    assert sbatch_parameters("name", SlurmConfig(setup=("module load cuda",)), 1, None)["setup"] == ["module load cuda"]


def test_a_job_that_is_in_no_queue_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`squeue` lists one job; of the others, those that the ledger has as queued or running are stopped."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 7_1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sweep = Sweep(tmp_path / "sweep-test.json")
    states = {"7_1": "running", "7_2": "running", "7_3": "queued", "7_4": "done"}
    sweep.plan([Entry(job, "t", "gpld", "gpld", (0,), 1, ("train",)) for job in states], {})
    for job, state in states.items():
        sweep.update(job, state=state, job=job)
    mark_lost_jobs(sweep)
    assert [entry.state for entry in sweep.read().values()] == ["running", "stopped", "stopped", "done"]
    squeue.write_text("#!/bin/sh\nexit 1\n")  # SLURM does not answer: nothing is known
    sweep.update("7_2", state="queued")
    mark_lost_jobs(sweep)
    assert sweep.read()["7_2"].state == "queued"


def test_a_run_waits_for_the_jobs_of_those_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be they submitted with it or before, and for no others; what is done is not waited for."""
    cluster = Cluster(monkeypatch)
    needs = {"cold": None, "warm": "cold", "other": None, "old": None, "of old": "old", "done": None, "of done": "done"}
    sweep = planned(tmp_path, needs)
    sweep.update("old", state="running", job="3_1")
    sweep.update("done", state="done", job="3_2")
    left = [entry for run, entry in sweep.read().items() if run not in ("old", "done")]
    submitted, held = submit(sweep, left, SlurmConfig(), None, 0)
    assert cluster.arrays == [(["cold", "other", "of done"], None), (["warm", "of old"], "7_0:3_1")]
    assert [entry.run for entry in submitted] == ["cold", "other", "of done", "warm", "of old"] and not held
    found = sweep.read()
    assert {found[entry.run].state for entry in submitted} == {"queued"}
    assert [found[run].job for run in ("cold", "other", "warm", "of old")] == ["7_0", "7_1", "8_0", "8_1"]


def test_a_run_is_held_while_the_one_it_starts_from_has_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that this machine trains: no job can wait for it. The same command submits the run later."""
    cluster = Cluster(monkeypatch)
    sweep = planned(tmp_path, {"cold": None, "warm": "cold"})
    assert sweep.claim("cold")
    assert _to_cluster(sweep, list(sweep.read()), SweepConfig("test", final_episodes=0)) == 0
    assert cluster.arrays == [] and sweep.read()["warm"].state == "waiting"
    shown = capsys.readouterr().out
    assert "0 runs submitted to SLURM, 1 complete or in progress" in shown
    assert "warm: not submitted, it starts from cold, which is trained without a job" in shown
    sweep.ended("cold", "stopped")
    assert _to_cluster(sweep, list(sweep.read()), SweepConfig("test", final_episodes=0)) == 0
    assert cluster.arrays == [(["cold"], None), (["warm"], "7_0")]


def test_a_launcher_that_leaves_during_sbatch_leaves_no_run_queued(tmp_path: Path) -> None:
    sweep = planned(tmp_path, {"a": None, "b": None})
    code = f"""
import os
from pathlib import Path
from sobolev.sweeps import slurm
from sobolev.sweeps.ledger import Sweep
slurm._array = lambda *_: os._exit(143)
sweep = Sweep(Path({str(sweep.path)!r}))
slurm.submit(sweep, list(sweep.read().values()), slurm.SlurmConfig(), None, 0)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 143
    assert [entry.state for entry in sweep.read().values()] == ["queued", "queued"]
    assert [entry.state for entry in left_to_do(sweep, ["a"], 0)] == ["stopped"]
    mark_lost_jobs(sweep)
    assert [entry.state for entry in sweep.read().values()] == ["stopped", "stopped"]


def test_a_submission_in_progress_is_no_lost_job(tmp_path: Path) -> None:
    sweep = planned(tmp_path, {"a": None})
    sweep.submitting("a")
    mark_lost_jobs(sweep)
    assert [entry.state for entry in left_to_do(sweep, ["a"], 0)] == ["queued"]


def test_runs_that_sbatch_refuses_are_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[str]:
        raise UserError("no such partition")

    monkeypatch.setattr(slurm, "_array", refuse)
    sweep = planned(tmp_path, {"a": None, "b": None})
    sweep.update("b", state="failed", error="so it goes")
    with pytest.raises(UserError, match="no such partition"):
        submit(sweep, list(sweep.read().values()), SlurmConfig(), None, 0)
    assert [(entry.state, entry.error) for entry in sweep.read().values()] == [
        ("waiting", None),
        ("failed", "so it goes"),
    ]


@pytest.fixture
def _fake_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_process, "PROGRAM", (sys.executable, str(FAKE)))
    monkeypatch.setenv("PYTHONPATH", str(Path(run_process.__file__).parents[2]))


@pytest.mark.usefixtures("_fake_program")
def test_a_job_records_its_id_and_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher may have left before it recorded the id."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    sweep, write, calls = planned(tmp_path, {"a": None}), Sweep.ended, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments)

    monkeypatch.setattr(Sweep, "ended", full)
    assert Job(str(sweep.path), "a", 0)() == "done"
    (entry,) = sweep.read().values()
    assert (entry.state, entry.job, entry.attempts) == ("done", "9_4", 1)


@pytest.mark.usefixtures("_fake_program")
def test_a_job_leaves_a_run_alone_that_another_sweep_has_claimed(tmp_path: Path) -> None:
    sweep, other = planned(tmp_path, {"a": None}), Sweep(tmp_path / "sweep-other.json")
    other.plan(list(sweep.read().values()), {})
    assert other.claim("a")
    sweep.update("a", state="queued", job="9_4")
    assert Job(str(sweep.path), "a", 0)() == "queued"
    assert not sweep.log("a").exists()
    other.ended("a", "stopped")
