"""What is asked of SLURM, where it need not be installed: the real one is in test_slurm.py."""

import os
from pathlib import Path

import pytest

from sobolev.sweeps.ledger import Entry, Sweep
from sobolev.sweeps.slurm import SlurmConfig, mark_lost_jobs, sbatch_parameters


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
