"""Runs a sweep on a SLURM cluster, as an array with a job per run. A job saves before its time limit and is requeued.

A job is a `Job`, pickled by submitit. When SLURM warns it (SIGUSR2, before the time limit or at a preemption), submitit
calls its `checkpoint`, which makes the training save and exit, and requeues the job, which then resumes the training.
"""

import getpass
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from sobolev.checkpoints.run_folder import in_use
from sobolev.errors import UserError
from sobolev.sweeps.ledger import Entry, State, Sweep, given_up
from sobolev.sweeps.run_process import Patience, Work

REQUEUES = 10_000
"""Number of times that a job may be requeued after reaching its time limit."""
WARNING_WAIT = 20.0
"""Seconds for which a job whose training was stopped by a signal waits for SLURM's warning, as in a preemption."""


@dataclass(frozen=True)
class SlurmConfig:
    """The resources of a job. A setting of none takes the cluster's default."""

    partition: Annotated[str | None, arg(metavar="NAME")] = None
    """partition of the jobs"""
    account: Annotated[str | None, arg(metavar="NAME")] = None
    """account to charge"""
    qos: Annotated[str | None, arg(metavar="NAME")] = None
    """quality of service of the jobs"""
    constraint: Annotated[str | None, arg(metavar="FEATURES")] = None
    """features that a node must have"""
    minutes: Annotated[int, arg(metavar="N")] = 1440
    """time limit of a job, which saves before the limit and is queued again"""
    grace: Annotated[int, arg(metavar="SECONDS")] = 120
    """time before the limit at which a job is warned, so that it can save"""
    gpus: Annotated[int | None, arg(metavar="N")] = None
    """GPUs of a job"""
    cpus: Annotated[int | None, arg(metavar="N")] = None
    """cores of a job"""
    memory: Annotated[int | None, arg(metavar="GB")] = None
    """memory of a job"""
    setup: Annotated[tuple[str, ...], arg(metavar="COMMAND …")] = ()
    """shell commands to run before the training, such as "module load cuda" """
    options: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE …")] = ()
    """other options of sbatch, such as reservation=paper"""


_WORK: list[Work] = []
"""The run of this process, if it is a job."""


@dataclass(frozen=True)
class Job:
    """One run as a job on the cluster. submitit pickles it, and calls it in the job."""

    sweep: str
    run: str
    episodes: int

    def __call__(self) -> State:
        """Trains and evaluates the run. Returns its state."""
        sweep = Sweep(Path(self.sweep))
        needs = sweep.read()[self.run].needs
        if needs is not None and (state := sweep.read()[needs].state) != "done":
            sweep.update(self.run, state="failed", error=f"it starts from {needs}, which is {state}")
            return "failed"
        if in_use(sweep.folder / self.run) or not sweep.claim(self.run, job_here()):  # another process is training it
            return sweep.read()[self.run].state
        work = Work(sweep, self.run, self.episodes)
        _WORK[:] = [work]
        patience = Patience(print)
        while (state := patience(work.poll)) is None:
            time.sleep(0.2)
        if state == "stopped":
            time.sleep(WARNING_WAIT)
        return state

    def checkpoint(self) -> Any:
        """Makes the training save and exit. The same job resumes it after it has been requeued."""
        from submitit.helpers import DelayedSubmission

        for work in _WORK:
            work.stop()
            work.wait()
            with suppress(OSError):  # the job is queued again whether or not the disk has room to say so
                work.sweep.ended(self.run, "queued")
        return DelayedSubmission(self)


def job_here() -> str | None:
    """Returns the id of the job that this process is, as squeue shows it; None if it is no job."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def check_installed() -> None:
    """Raises UserError if submitit or SLURM's commands are not installed."""
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--launcher slurm needs a package that is not installed: pip install 'sobolev[slurm]'")
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UserError("--launcher slurm needs SLURM's sbatch and srun, which this machine lacks: use a login node")


IN_PROGRESS = ("queued", "running")


def submit(
    sweep: Sweep, left: Sequence[Entry], config: SlurmConfig, jobs: int | None, episodes: int
) -> tuple[list[Entry], list[Entry]]:
    """Submits runs to the cluster as an array, and runs that start from others as a second array after the jobs of
    those, be they of the first array or in the queue already.

    At most `jobs` of an array run at a time. Returns the runs that were submitted, and those that were not, since they
    start from a run that is in progress without a job, which no job can wait for. Raises UserError if sbatch refuses
    them.
    """
    known, chosen = sweep.read(), {entry.run for entry in left}
    bases = {entry.run: known[entry.needs] for entry in left if entry.needs is not None}
    busy = {run: base for run, base in bases.items() if base.run not in chosen and base.state in IN_PROGRESS}
    held = [entry for entry in left if entry.run in busy and busy[entry.run].job is None]
    after = [entry for entry in left if entry not in held and (entry.needs in chosen or entry.run in busy)]
    first = [entry for entry in left if entry not in held and entry not in after]
    for part in filter(None, (first, after)):
        known = sweep.read()  # with the jobs of the first array
        begun = [known[entry.needs] for entry in part if entry.needs is not None]
        ids = dict.fromkeys(base.job for base in begun if base.job is not None and base.state in IN_PROGRESS)
        for entry in part:  # before a job can start and record itself as running
            sweep.submitting(entry.run)
        try:
            numbers = _array(sweep, part, config, jobs, episodes, ":".join(ids) or None)
        except UserError:
            for entry in part:
                sweep.update(entry.run, state=entry.state, error=entry.error)
            raise
        for entry, number in zip(part, numbers, strict=True):
            sweep.update(entry.run, job=number)
    return [*first, *after], held


def _array(
    sweep: Sweep, part: Sequence[Entry], config: SlurmConfig, jobs: int | None, episodes: int, after: str | None
) -> list[str]:
    """Submits runs as an array, which starts when the jobs `after` have ended. Returns their job ids."""
    import submitit
    from submitit.core.utils import FailedJobError

    executor = submitit.SlurmExecutor(sweep.folder / "logs" / "slurm", max_num_timeout=REQUEUES)
    executor.update_parameters(**sbatch_parameters(sweep.name, config, jobs or len(part), after))
    try:
        with executor.batch():
            jobs_of_part = [executor.submit(Job(str(sweep.path), entry.run, episodes)) for entry in part]
        return [job.job_id for job in jobs_of_part]
    except (FailedJobError, OSError, subprocess.SubprocessError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"sbatch did not accept the jobs of {sweep.name}: {reason}") from error


def sbatch_parameters(name: str, config: SlurmConfig, parallel: int, after: str | None) -> dict[str, Any]:
    """Returns the options of sbatch under their names in submitit. `after` has ids of jobs, with colons between."""
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


def mark_lost_jobs(sweep: Sweep) -> None:
    """Records runs as stopped that are queued or running in the ledger, but whose jobs are no longer in the queue, or
    were never submitted.

    Says nothing about jobs if SLURM is not installed or does not answer.
    """
    entries = sweep.read().values()
    for entry in filter(given_up, entries):
        sweep.mark_stopped(entry.run, given_up)
    waiting = [entry for entry in entries if entry.job is not None and entry.state in IN_PROGRESS]
    if not waiting or shutil.which("squeue") is None:
        return
    command = ["squeue", "--noheader", "--array", "--format=%i", "--user", getpass.getuser()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return
    lost = {entry.job for entry in waiting} - set(answer.stdout.split())
    for entry in waiting:
        sweep.mark_stopped(entry.run, lambda now: now.state in IN_PROGRESS and now.job in lost)
