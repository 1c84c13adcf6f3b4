"""What a run says of itself: before it starts, when it ends, and what would fit this machine better."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

import jax

from sobolev.replay import Replay
from sobolev.training.config import TrainConfig
from sobolev.training.devices import shards
from sobolev.training.schedule import Plan
from sobolev.training.snapshot import Snapshot

STATES_ON_DISK = 3
"""Two checkpoint slots, and the one being written."""


def plan(config: TrainConfig, plan: Plan, run: Path, now: Snapshot) -> list[str]:
    """What will be done, on which device, and how much memory and disk it takes."""
    seeds = len(config.seeds)
    device = jax.devices()[0]
    cpu, kind = device.platform == "cpu", device.device_kind
    there = jax.device_count()
    where = f"{os.cpu_count()} CPU cores" if cpu and there == 1 else f"{shards(seeds, there)} of {there} × {kind}"
    memory, disk = size(now.replay), checkpoint_size(now.replay, (now.state, now.carry))
    done = plan.env_steps(now.iteration)
    verb = f"goes on at {done:,} of" if now.iteration else "trains"
    who = f"seeds {' '.join(map(str, config.seeds))}" if seeds > 1 else f"seed {config.seeds[0]}"
    ratio = f"{plan.updates_due(plan.total):,} updates of {plan.batch}×{plan.pace.length} each"
    protocol = "" if config.preset == "paper" else f" (preset {config.preset}, not the paper's protocol)"
    return [
        f"{config.task} {config.method} {config.size}, {who}: {verb} {config.steps:,} env steps, {ratio}{protocol}",
        f"on {where} in {config.agent.precision}; replay {human(memory)}, on disk at most {human(disk)}; in {run}",
    ]


def memory(now: Snapshot, update: int) -> str:
    """How much memory the run takes from here on; `update`: bytes that an update takes beside agent and replay.

    Replay has its full size from the start. On a CPU the rest is what this process has anyway.
    """
    replay, agent = size(now.replay), size(now.state) + size(now.carry)
    parts = {"replay": replay, "the agent": agent, "an update": update}
    if jax.default_backend() == "cpu":
        parts["the program itself"] = max(0, resident() - replay - agent)
    whole, where = sum(parts.values()), "memory" if jax.default_backend() == "cpu" else "device memory"
    return f"{where} {human(whole)}: " + ", ".join(f"{name} {human(size)}" for name, size in parts.items())


def resident() -> int:
    """Bytes of memory that this process holds, after giving back to the system what is free (where it tells)."""
    try:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize()


def advice(config: TrainConfig) -> str | None:
    """What to do where a run would take days."""
    if config.preset != "paper":
        return None
    return (
        "this is the paper's setting, meant for a GPU; on this machine "
        f"`sobolev train {config.task} --method {config.method} --preset laptop` learns within the hour"
    )


def complete(run: Path, env_steps: int) -> str:
    """For a run that has nothing left to do."""
    return f"{run} is complete at {env_steps:,} env steps: a larger --steps goes on, --fresh deletes it and begins anew"


def finished(run: Path, env_steps: int) -> str:
    """For a run that has just ended."""
    return f"complete at {env_steps:,} env steps: sobolev evaluate {run}"


def interrupted(run: Path, env_steps: int) -> str:
    """For a run that a signal ended."""
    return f"saved at {env_steps:,} env steps in {run}: the same command goes on"


def checkpoint_size(replay: Replay, state: object) -> int:
    """Bytes that the checkpoints of a run take at most; arrays, or their shapes (`jax.eval_shape`)."""
    return size(replay.steps) + STATES_ON_DISK * (size(replay.latents) + size(state))


def size(tree: object) -> int:
    """Bytes of a pytree's arrays, or of arrays of such shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def human(size: int) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000  # pyright: ignore[reportAssignmentType]
    return f"{size:.1f} GB"
