"""Running a sweep on a SLURM cluster: a job array in which every job is one run, which saves itself before its time is
up and is put back into the queue.

A job is `Job()`, pickled by submitit. When SLURM warns it (SIGUSR2, before the time limit or at a preemption), submitit
calls its `checkpoint`, which has the training save and leave, and requeues the job, which then goes on.
"""

import getpass
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from sobolev.errors import UserError
from sobolev.sweeps.ledger import Entry, State, Sweep
from sobolev.sweeps.run_process import Work

REQUEUES = 10_000
"""Times that a job may reach its time limit and be put back."""
WARNING_WAIT = 20.0
"""Seconds that a job whose training was stopped from outside waits for SLURM's warning: preempted jobs get one."""


@dataclass(frozen=True)
class SlurmConfig:
    """What a job of the cluster gets; what is none is left to the cluster's defaults."""

    partition: Annotated[str | None, arg(metavar="NAME")] = None
    account: Annotated[str | None, arg(metavar="NAME")] = None
    qos: Annotated[str | None, arg(metavar="NAME")] = None
    constraint: Annotated[str | None, arg(metavar="FEATURES")] = None
    minutes: Annotated[int, arg(metavar="N")] = 1440
    """time limit of a job; it is saved before, and put back into the queue"""
    grace: Annotated[int, arg(metavar="SECONDS")] = 120
    """how long before the limit a job is warned, to save in"""
    gpus: Annotated[int | None, arg(metavar="N")] = None
    """GPUs of a job"""
    cpus: Annotated[int | None, arg(metavar="N")] = None
    """cores of a job"""
    memory: Annotated[int | None, arg(metavar="GB")] = None
    """memory of a job"""
    setup: Annotated[tuple[str, ...], arg(metavar="COMMAND …")] = ()
    """shell commands before the training, as in "module load cuda" """
    options: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE …")] = ()
    """other options of sbatch, as in reservation=paper"""


_WORK: list[Work] = []
"""The run of this process, if it is a job's."""


@dataclass(frozen=True)
class Job:
    """One run as a job of the cluster; what submitit pickles and calls."""

    sweep: str
    run: str
    episodes: int

    def __call__(self) -> State:
        """Train and evaluate the run; returns its state."""
        sweep = Sweep(Path(self.sweep))
        needs = sweep.read()[self.run].needs
        if needs is not None and (state := sweep.read()[needs].state) != "done":
            sweep.update(self.run, state="failed", error=f"it starts from {needs}, which is {state}")
            return "failed"
        work = Work(sweep, self.run, self.episodes)
        _WORK[:] = [work]
        work.start()
        while (state := work.poll()) is None:
            time.sleep(0.2)
        if state == "stopped":
            time.sleep(WARNING_WAIT)
        return state

    def checkpoint(self) -> Any:
        """Have the training save and leave; the same job goes on after it has been put back into the queue."""
        from submitit.helpers import DelayedSubmission

        for work in _WORK:
            work.stop()
            work.wait()
            work.sweep.ended(self.run, "queued")
        return DelayedSubmission(self)


def check_installed() -> None:
    """UserError where submitit or SLURM's commands are not there."""
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--launcher slurm needs a package that is not installed: pip install 'sobolev[slurm]'")
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("--launcher slurm needs SLURM's sbatch and srun, which this machine lacks: use a login node")


def submit(sweep: Sweep, left: Sequence[Entry], config: SlurmConfig, jobs: int | None, episodes: int) -> None:
    """Give runs to the cluster as an array, and those that start from others as a second one after it.

    At most `jobs` of an array run at a time. Raises UserError where sbatch refuses.
    """
    going = {entry.run for entry in left}
    first = [entry for entry in left if entry.needs not in going]
    before = None
    for part in (first, [entry for entry in left if entry.needs in going]):
        if not part:
            continue
        for entry in part:  # before a job can begin, and say that it runs
            sweep.update(entry.run, state="queued", job=None, error=None)
        try:
            numbers = _array(sweep, part, config, jobs, episodes, before)
        except UserError:
            for entry in part:
                sweep.update(entry.run, state=entry.state)
            raise
        for entry, number in zip(part, numbers, strict=True):
            sweep.update(entry.run, job=number)
        before = numbers[0].split("_")[0]


def _array(
    sweep: Sweep, part: Sequence[Entry], config: SlurmConfig, jobs: int | None, episodes: int, after: str | None
) -> list[str]:
    """The job numbers of runs given to the cluster as one array, to begin once the array `after` has ended."""
    import submitit
    from submitit.core.utils import FailedJobError

    executor = submitit.SlurmExecutor(sweep.folder / "logs" / "slurm", max_num_timeout=REQUEUES)
    executor.update_parameters(**_parameters(sweep.name, config, jobs or len(part), after))
    try:
        with executor.batch():
            sent = [executor.submit(Job(str(sweep.path), entry.run, episodes)) for entry in part]
        return [job.job_id for job in sent]
    except (FailedJobError, OSError, subprocess.SubprocessError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"sbatch did not take the jobs of {sweep.name}: {said}") from error


def _parameters(name: str, config: SlurmConfig, parallel: int, after: str | None) -> dict[str, Any]:
    """The options of sbatch as submitit names them."""
    pairs = [option.lstrip("-").partition("=") for option in config.options]
    extra = {option: value if equals else True for option, equals, value in pairs}
    chosen = {
        "job_name": name,
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "time": config.minutes,
        "signal_delay_s": config.grace,
        "gpus_per_node": config.gpus,
        "cpus_per_task": config.cpus,
        "mem": None if config.memory is None else f"{config.memory}GB",
        "setup": list(config.setup) or None,
        "dependency": None if after is None else f"afterany:{after}",
        "array_parallelism": parallel,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **extra},
    }
    return {name: value for name, value in chosen.items() if value is not None}


def lost(sweep: Sweep) -> None:
    """Mark runs whose job is in no queue any more, though the record says so, as stopped.

    Nothing is changed where there is no SLURM, or it does not answer."""
    waiting = [e for e in sweep.read().values() if e.job is not None and e.state in ("queued", "running")]
    if not waiting or shutil.which("squeue") is None:
        return
    command = ["squeue", "--noheader", "--array", "--format=%i", "--user", getpass.getuser()]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    for entry in waiting if told.returncode == 0 else ():
        if entry.job not in told.stdout.split():
            sweep.update(entry.run, state="stopped", process=None)
