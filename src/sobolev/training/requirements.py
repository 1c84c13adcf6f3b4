"""Whether a run fits into memory and on the disk, checked and said with numbers before it starts."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
from jaxtyping import PyTree

from sobolev.config import TrainConfig
from sobolev.errors import UserError
from sobolev.training.program import Program
from sobolev.training.schedule import Plan

STATES_ON_DISK = 3
"""Two checkpoint slots, and the one being written."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes by its end, over all seeds."""

    steps: int
    """what replay holds of observations, actions and rewards"""
    latents: int
    """what it holds of latents"""
    agent: int
    """networks, their optimizer, the policy's memory"""
    stored: int
    """steps that replay holds"""
    devices: int
    """devices over which the seeds are spread"""

    @staticmethod
    def of(program: Program, plan: Plan) -> "Needs":
        """What a program needs; allocates nothing."""
        number = plan.environments
        replay = jax.eval_shape(lambda: program.initial_replay(number, plan.capacity))
        agent = program.state_shapes(), jax.eval_shape(lambda: program.initial_carry(number))
        stored = len(program.seeds) * number * plan.capacity
        return Needs(size(replay.steps), size(replay.latents), size(agent), stored, program.layout.spread_over)

    @property
    def step(self) -> float:
        """Bytes that replay takes for one step."""
        return (self.steps + self.latents) / self.stored

    @property
    def disk(self) -> int:
        """Bytes of all checkpoints together, at most."""
        return self.steps + STATES_ON_DISK * (self.latents + self.agent)


def check(config: TrainConfig, needs: Needs, run: Path, resuming: bool) -> None:
    """Raise UserError where a run would outgrow the device, the host or the disk.

    Working memory of the update and of jax itself comes on top of what is compared here. Resuming on a CPU holds the
    steps twice for a moment.
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
            f"the checkpoints of this run take up to {human(needs.disk)} on the disk of {run}, which has {human(free)} "
            f"for them: choose another disk with --run, or {_less(config, share)}"
        )


def _compare(config: TrainConfig, needs: Needs, what: str, needed: int, there: int | None, cure: str) -> None:
    if there is None or needed <= there:
        return
    replay = needs.steps + needs.latents
    raise UserError(
        f"this run needs {human(needed)} of {what}, of which {human(there)} are free here (its replay takes "
        f"{human(replay)}, {needs.step / 1000:.1f} KB a step; the agent {human(needs.agent)}): "
        f"{cure}{_less(config, (there - (needed - replay)) / needs.step)}"
    )


def _less(config: TrainConfig, steps: int | float) -> str:
    """What to lower so that replay holds no more than so many steps of all seeds."""
    capacity = int(max(0, steps) / len(config.seeds))
    seeds = "fewer --seeds, " if len(config.seeds) > 1 else ""
    digits = max(0, len(str(capacity)) - 2)
    rounded = capacity // 10**digits * 10**digits
    return f"take {seeds}fewer --steps, or a --replay.capacity of at most {rounded} agent steps"


def device_memory(devices: int = 1) -> int | None:
    """Bytes that jax can still allocate on so many accelerators; None on CPUs, and where a device does not say."""
    device = jax.local_devices()[0]
    stats: dict[str, int] = (device.memory_stats() if device.platform != "cpu" else None) or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else devices * (limit - stats.get("bytes_in_use", 0))


def host_memory(root: Path = Path("/")) -> int | None:
    """Bytes that a process can still get without swapping, within its container's limit; None where that is unknown."""
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
    """Bytes of a pytree's arrays, or of the shapes that stand for them."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def human(size: int | float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
