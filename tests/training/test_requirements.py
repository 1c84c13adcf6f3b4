"""A run that does not fit says so before it starts, with the numbers and what to change."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from sobolev.config import TrainConfig, configure, resolved
from sobolev.config.registry import agent_of
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.errors import UserError
from sobolev.training import requirements
from sobolev.training.program import Program
from sobolev.training.requirements import Needs
from sobolev.training.schedule import Plan

IMAGES = Spaces((("image", ArraySpec((64, 64, 3), "uint8")),), 6)
GB = 10**9


def config(**settings) -> TrainConfig[Any]:
    """The paper's protocol from images, with 500,000 agent steps per seed."""
    chosen = {"observations": "pixels"} | {name.replace("__", "."): value for name, value in settings.items()}
    return resolved(configure("walker-walk", settings=chosen), "gpu")


def needs(config: TrainConfig) -> Needs:
    return Needs.of(Program(agent_of(config, IMAGES), config.seeds), Plan.of(config))


def test_bytes_by_hand():
    """Per step an image, six actions, a reward, three flags; 2048 numbers of 16 bits and 32 indices of latents."""
    found = needs(config())
    assert found.stored == 500_000
    assert found.steps == 500_000 * (64 * 64 * 3 + 4 * 6 + 4 + 3)
    assert found.latents == 500_000 * (2 * 2048 + 32)
    assert found.step == 12319 + 4128
    assert found.disk == found.steps + 3 * (found.latents + found.agent)
    five = needs(config(seeds=(0, 1, 2, 3, 4)))
    assert five.steps == 5 * found.steps and five.step == found.step


def machine(monkeypatch: pytest.MonkeyPatch, device: float | None, host: float, disk: float) -> None:
    """A machine with so many GB free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(requirements, "device_memory", lambda count=1: None if device is None else int(device * GB))
    monkeypatch.setattr(requirements, "host_memory", lambda: int(host * GB))
    monkeypatch.setattr(requirements.shutil, "disk_usage", lambda path: usage(0, 0, int(disk * GB)))


def said(config: TrainConfig, run: Path, resuming: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        requirements.check(config, needs(config), run, resuming)
    return str(caught.value)


def test_a_run_that_fits_says_nothing(monkeypatch, tmp_path):
    machine(monkeypatch, 40, 1, 20)
    requirements.check(config(), needs(config()), tmp_path, False)
    machine(monkeypatch, 4, 10, 20)
    host = config(replay__memory="host")
    requirements.check(host, needs(host), tmp_path, True)
    machine(monkeypatch, None, 9, 20)
    requirements.check(config(), needs(config()), tmp_path, False)


def test_a_device_that_is_too_small(monkeypatch, tmp_path):
    machine(monkeypatch, 6, 20, 20)
    sentence = said(config(), tmp_path)
    assert "needs 8.4 GB of device memory, of which 6.0 GB are free here" in sentence
    assert "its replay takes 8.2 GB, 16.4 kB a step" in sentence
    assert "--replay.memory host keeps all but the latents in host memory" in sentence
    assert "a --replay.capacity of at most 350000 agent steps" in sentence
    smaller = config(replay__capacity=350_000)
    requirements.check(smaller, needs(smaller), tmp_path, False)
    machine(monkeypatch, 6, 5, 20)
    assert "--replay.memory host" not in said(config(), tmp_path), "it would not fit there either"


def test_a_host_that_is_too_small(monkeypatch, tmp_path):
    machine(monkeypatch, 40, 5, 20)
    assert "needs 6.2 GB of host memory, of which 5.0 GB" in said(config(replay__memory="host"), tmp_path)
    machine(monkeypatch, None, 8, 20)
    assert "needs 8.4 GB of memory, of which 8.0 GB" in said(config(), tmp_path)


def test_resuming_on_a_cpu_has_the_steps_twice(monkeypatch, tmp_path):
    machine(monkeypatch, None, 12, 20)
    requirements.check(config(), needs(config()), tmp_path, False)
    assert "needs 14.5 GB of memory" in said(config(), tmp_path, resuming=True)


def test_a_disk_that_is_too_small(monkeypatch, tmp_path):
    machine(monkeypatch, 40, 20, 5)
    sentence = said(config(seeds=(0, 1)), tmp_path)
    assert "choose another disk with --run, or take fewer --seeds" in sentence
    (tmp_path / "checkpoint").mkdir()
    with (tmp_path / "checkpoint" / "steps-0-9.safetensors").open("wb") as file:
        file.truncate(10 * GB)
    requirements.check(config(), needs(config()), tmp_path, True)


def test_free_memory_of_a_container(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99 kB\nMemAvailable:   8000 kB\nBuffers: 1 kB\n")
    assert requirements.host_memory(tmp_path) == 8000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("5000\n")
    assert requirements.host_memory(tmp_path) == 8000 * 1024
    (group / "memory.max").write_text("9000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 3000\n")
    assert requirements.host_memory(tmp_path) == 9000 - 5000 + 3000
    assert requirements.host_memory(tmp_path / "nowhere") is None
