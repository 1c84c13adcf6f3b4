"""Checks, before a run starts, whether it fits into memory and on the disk."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
from jaxtyping import PyTree
from rich.filesize import decimal

from sobolev.config import TrainConfig
from sobolev.errors import UserError
from sobolev.training.program import Program
from sobolev.training.schedule import Plan

STATES_ON_DISK = 3
"""Two checkpoint slots, and the one being written."""


@dataclass(frozen=True)
class Needs:
    """Memory and disk space of a complete run, in bytes, over all seeds."""

    steps: int
    """observations, actions, rewards and flags in replay"""
    latents: int
    """latents in replay"""
    agent: int
    """networks, their optimizer, and the policy's memory"""
    stored: int
    """number of steps in replay"""
    devices: int
    """number of devices over which the seeds are spread"""

    @staticmethod
    def of(program: Program, plan: Plan) -> "Needs":
        """The needs of a program; nothing is allocated."""
        number = plan.environments
        replay = jax.eval_shape(lambda: program.initial_replay(number, plan.capacity))
        agent = program.state_shapes(), jax.eval_shape(lambda: program.initial_carry(number))
        stored = len(program.seeds) * number * plan.capacity
        return Needs(size(replay.steps), size(replay.latents), size(agent), stored, program.layout.spread_over)

    @property
    def step(self) -> float:
        """Bytes of one step in replay."""
        return (self.steps + self.latents) / self.stored

    @property
    def disk(self) -> int:
        """Largest number of bytes of all checkpoints together."""
        return self.steps + STATES_ON_DISK * (self.latents + self.agent)


def check(config: TrainConfig, needs: Needs, run: Path, resuming: bool) -> None:
    """Raises UserError if a run does not fit into the memory of the device or the host, or on the disk.

    The working memory of updates and of jax itself is not included. Resuming on a CPU needs the steps twice for a
    moment.
    """
    on_host = config.replay.memory == "host"
    device, host = device_memory(needs.devices), host_memory()
    if device is None:  # a CPU, whose memory is the host's
        twice = needs.steps if resuming and not on_host else 0
        _compare(config, needs, "memory", needs.steps + needs.latents + needs.agent + twice, host, "")
    elif on_host:
        _compare(config, needs, "device memory", needs.latents + needs.agent, device, "")
        _compare(config, needs, "host memory", needs.steps, host, "")
    else:
        fits = host is None or needs.steps < host
        cure = "--replay.memory host keeps all but the latents in host memory, or " if fits else ""
        _compare(config, needs, "device memory", needs.steps + needs.latents + needs.agent, device, cure)
    there = sum(path.stat().st_size for path in (run / "checkpoint").glob("*.safetensors"))
    free = shutil.disk_usage(run).free + there
    if needs.disk > free:
        share = (free - STATES_ON_DISK * needs.agent) / ((needs.disk - STATES_ON_DISK * needs.agent) / needs.stored)
        raise UserError(
            f"the checkpoints of this run take up to {decimal(needs.disk)} on the disk of {run}, which has "
            f"{decimal(free)} for them: choose another disk with --run, or {_less(config, share)}"
        )


def _compare(config: TrainConfig, needs: Needs, what: str, needed: int, there: int | None, cure: str) -> None:
    if there is None or needed <= there:
        return
    replay = needs.steps + needs.latents
    raise UserError(
        f"this run needs {decimal(needed)} of {what}, of which {decimal(there)} are free here (its replay takes "
        f"{decimal(replay)}, {decimal(round(needs.step))} a step; the agent {decimal(needs.agent)}): "
        f"{cure}{_less(config, (there - (needed - replay)) / needs.step)}"
    )


def _less(config: TrainConfig, steps: int | float) -> str:
    """Which settings to lower so that replay holds at most `steps` steps of all seeds."""
    capacity = int(max(0, steps) / len(config.seeds))
    seeds = "fewer --seeds, " if len(config.seeds) > 1 else ""
    digits = max(0, len(str(capacity)) - 2)
    rounded = capacity // 10**digits * 10**digits
    return f"take {seeds}fewer --steps, or a --replay.capacity of at most {rounded} agent steps"


def device_memory(devices: int = 1) -> int | None:
    """Bytes that jax can still allocate on `devices` accelerators; None on CPUs, and if a device does not report it."""
    device = jax.local_devices()[0]
    stats: dict[str, int] = (device.memory_stats() if device.platform != "cpu" else None) or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else devices * (limit - stats.get("bytes_in_use", 0))


def host_memory(root: Path = Path("/")) -> int | None:
    """Bytes that a process can allocate without swapping, within its container's limit; None if that is unknown."""
    found = []
    meminfo = _read(root / "proc/meminfo")
    if "MemAvailable:" in meminfo:
        found.append(1024 * int(meminfo.split("MemAvailable:")[1].split()[0]))
    group = root / "sys/fs/cgroup"
    limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        stat = _read(group / "memory.stat").split()
        cache = int(stat[stat.index("inactive_file") + 1]) if "inactive_file" in stat else 0
        found.append(int(limit) - int(used) + cache)
    return min(found) if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def size(tree: PyTree) -> int:
    """Bytes of a pytree's arrays, or of arrays with its shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
