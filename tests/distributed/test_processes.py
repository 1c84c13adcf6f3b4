"""One model on several devices and in several processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sobolev.checkpoints import warm_start
from sobolev.checkpoints.files import load_arrays
from sobolev.checkpoints.slots import Checkpoints
from sobolev.config.train import DevicesConfig
from sobolev.distributed import processes
from sobolev.distributed.sharding import Layout
from sobolev.errors import UserError
from tests import tiny
from tests.checkpoints import checkpoints

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def started(script: str, *words: str, devices: int = 1) -> subprocess.Popen[str]:
    environment = os.environ | tiny.quick_environment(devices) | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, str(HERE / script), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.long
@pytest.mark.parametrize("script", ["parts.py", "divided.py"])
def test_four_devices(script):
    process = started(script, devices=4)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes leave."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    processes = [started("two_processes.py", port, str(index), str(folder)) for index in range(2)]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return folder


@pytest.mark.long
def test_both_processes_have_the_same_networks(folder):
    for run in ("straight", "broken", "warm"):
        ours, theirs = (np.load(folder / f"{run}-{process}.npz") for process in (0, 1))
        assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours.files) and len(ours.files) > 20


@pytest.mark.long
def test_a_resumed_run_is_the_one_that_was_never_broken_off(folder):
    (straight, ours), (broken, theirs) = (
        checkpoints.content(folder / run / "checkpoint") for run in ("straight", "broken")
    )
    assert straight.meta["updates"] == 6 and straight.iteration == broken.iteration == 27
    assert ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


@pytest.mark.long
def test_a_warm_start_with_replay_in_host_memory(folder):
    """The other run's encoder is copied once, and trained on by both processes."""
    assert (folder / "warm" / warm_start.FILE).exists()
    loaded, begun = Checkpoints(folder / "warm" / "checkpoint").load(), load_arrays(folder / "warm" / warm_start.FILE)
    assert loaded is not None and loaded.meta["updates"] == 6
    changed = [not np.array_equal(loaded.state[f"agent/{name}"], begun[name]) for name in begun]
    assert len(changed) > 5 and any(changed)


@pytest.mark.long
def test_the_leader_alone_writes(folder):
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"straight", "broken", "warm", "taken"}
    for place, ending in (("dreams", "png"), ("snapshots", "safetensors")):
        kept = sorted(path.name for path in (folder / "straight" / place).iterdir())
        assert kept == [f"{step:09d}.{ending}" for step in (26, 52)]
    lines = [json.loads(line) for line in (folder / "straight/metrics.jsonl").read_text().splitlines()]
    evaluations = [line["step"] for line in lines if "evaluation/return" in line]
    assert evaluations == [0, 26, 52]
    assert [line["step"] for line in lines if "penalty/gradient_norm" in line] == [52]
    config = json.loads((folder / "straight/config.json").read_text())
    assert config["devices"]["data"] == 2


def test_places_under_srun(monkeypatch):
    """A task of several joins the others, where they share a model; it takes its own GPU, or the only one it sees."""
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *places, **_: joined.append(places))
    for name, value in {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "CUDA_VISIBLE_DEVICES": "0,1"}.items():
        monkeypatch.setenv(name, value)
    processes.join(DevicesConfig())
    processes.join(DevicesConfig(data=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    processes.join(DevicesConfig(data=2))
    processes.join(DevicesConfig(2, "node1:12345", 2, 1))
    assert joined == [(None, None, None, None), (None, None, None, [0]), ("node1:12345", 2, 1, [0])]


def test_mistakes():
    with pytest.raises(UserError, match="--batch-size 4 is not divisible among --devices.data 3"):
        tiny.config(devices__data=3)
    with pytest.raises(UserError, match=r"--devices.data is 1000, but jax sees \d+ device"):
        Layout(1, data=1000)
    with pytest.raises(UserError, match="several processes need --devices.coordinator, --devices.processes and"):
        tiny.config(devices__coordinator="localhost:1")
    with pytest.raises(UserError, match="--devices.coordinator is localhost, but must be HOST:PORT"):
        tiny.config(devices__coordinator="localhost", devices__processes=2, devices__process=0)
    with pytest.raises(UserError, match="--devices.process is 2, but 2 processes are numbered from 0 to 1"):
        tiny.config(devices__coordinator="localhost:1", devices__processes=2, devices__process=2)
