"""A sweep on a real SLURM, of one node on this machine: run with `make test-slurm`."""

import getpass
import importlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sobolev.cli import status, sweep
from sobolev.sweeps.ledger import Entry, Sweep
from sobolev.sweeps.run_status import saved_steps
from tests import tiny
from tests.sweeps.test_sweep_command import ROOT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
MISSING = [name for name in PROGRAMS if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None]

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"SLURM is not installed here ({', '.join(MISSING)}): make test-slurm"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start SLURM's daemons: make test-slurm as root"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Path]:
    """A cluster of this machine alone, with daemons, ports and keys of its own."""
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=host, ports=free_ports(2), folder=folder))
    daemons = [
        ["munged", "--foreground", "--force"]
        + [f"--{kind}={folder}/munge.{name}" for kind, name in (("key-file", "key"), ("socket", "socket"))]
        + [f"--{name}={folder}/munge.{name}" for name in ("pid-file", "log-file", "seed-file")],
        ["slurmctld", "-D", "-f", str(config)],
        ["slurmd", "-D", "-f", str(config), "-N", host],
    ]
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        with pytest.MonkeyPatch.context() as plain:
            plain.setattr("logging.config.dictConfig", lambda config: None)  # which closes pytest's own handlers
            importlib.import_module("submitit")
        patch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
        patch.setenv("SLURM_CONF", str(config))
        for command in daemons:
            log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(daemon.wait, 30)
            stack.callback(daemon.terminate)
            time.sleep(0.5)
        until(lambda: "idle" in told("sinfo", "--noheader"), folder)
        yield folder
        told("scancel", "--user", getpass.getuser())
        until(lambda: not told("squeue", "--noheader"), folder)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def until(condition, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            logs = [*sorted(folder.rglob("*.log")), *sorted(folder.rglob("*.out"))]
            shown = "\n".join(f"== {path}\n{path.read_text()[-3000:]}" for path in logs)
            raise AssertionError(f"not within {PATIENCE} s; {told('squeue')}\n{shown}")
        time.sleep(0.3)


STEPS = {"short": 40, "long": 12_000, "broken": 40}
PATIENCE = 600
"""Seconds: a busy machine is no failure."""


def suite(folder: Path) -> Path:
    """Runs that never learn, told apart by a setting that does nothing then."""
    shared = {"train_ratio": 0.0, "replay.capacity": 1000, "evaluation.episodes": 0, "checkpoint.minutes": 60.0}
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in (tiny.SETTINGS | shared).items()]
    variants = [
        f'{{ method = "dreamer", label = "{label}", settings = {{ "optimizer.warmup" = {number}, steps = {steps} }} }},'
        for number, (label, steps) in enumerate(STEPS.items(), 1)
    ]
    lines = [line for line in lines if not line.startswith(('"steps"', '"optimizer.warmup"'))]
    head = [f'tasks = ["{tiny.TASK}"]', "seeds = [0]", "variants = [", *variants, "]", "[settings]"]
    path = folder / "small.toml"
    path.write_text("\n".join([*head, *lines]) + "\n")
    return path


def acts(run: Path) -> bool:
    """Whether a run has ended an episode."""
    return (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0


@pytest.mark.long
def test_a_job_array_is_preempted_goes_on_and_tells_its_failures(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    for name, value in tiny.quick_environment().items():
        monkeypatch.setenv(name, value)
    words = [str(suite(tmp_path)), "--output", "out", "--launcher", "slurm", "--final-episodes", "1"]
    _, _, planned = sweep.plan(words)
    broken = Path("out") / planned[2].folder
    broken.mkdir(parents=True)
    (broken / "letter.txt").write_text("not a run")
    assert sweep.main(words) == 0
    assert "3 runs submitted to SLURM, 0 complete or in progress" in capsys.readouterr().out
    ours = Sweep(Path("out/sweep-small.json"))

    def entry(label: str) -> Entry:
        return next(each for each in ours.read().values() if each.label == label)

    jobs = [str(entry(label).job) for label in STEPS]
    array = jobs[0].split("_")[0]
    assert jobs == [f"{array}_{number}" for number in range(3)]

    # Warned, as before its time limit: it saves, waits in the queue, and goes on where it was.
    until(lambda: acts(Path("out") / entry("long").run), cluster)
    assert sweep.main(words) == 0  # which leaves it alone
    assert entry("long").job == jobs[1]
    told("scancel", "--signal=USR2", jobs[1])
    until(lambda: entry("long").state == "queued", cluster)
    assert 0 < saved_steps(Path("out") / entry("long").run) < STEPS["long"]
    until(lambda: "PENDING" in told("scontrol", "show", "job", jobs[1]), cluster)
    # Not in the second in which it was stopped: slurmd takes what begins then for what it has just ended.
    told("scontrol", "update", f"JobId={jobs[1]}", "StartTime=now+3")
    until(lambda: entry("long").state == "done", cluster)
    assert entry("long").attempts == 2 and "resumes at" in ours.log(entry("long").run).read_text()

    until(lambda: entry("short").state == "done" and entry("broken").state == "failed", cluster)
    assert "holds files that are not of a run" in str(entry("broken").error)
    assert status.main(["out", "--once"]) == 1
    shown = capsys.readouterr().out
    assert "small: 2 done, 1 failed" in shown and "failed: " in shown

    # Cancelled by its user: saved, and not put back.
    (broken / "letter.txt").unlink()
    path = tmp_path / "small.toml"
    path.write_text(path.read_text().replace("= 3, steps = 40 ", "= 3, steps = 400000 "))
    assert sweep.main(words) == 0
    assert "1 runs submitted to SLURM, 2 complete or in progress" in capsys.readouterr().out
    until(lambda: acts(Path("out") / entry("broken").run), cluster)
    told("scancel", str(entry("broken").job))
    until(lambda: entry("broken").state == "stopped", cluster)
    assert saved_steps(Path("out") / entry("broken").run) > 0
    assert status.main(["out", "--once"]) == 0
