"""Messages of a run: before it starts, when it ends, and advice on settings that fit this machine better."""

import resource
import shlex
import sys
from pathlib import Path

import jax
from rich.filesize import decimal

from sobolev.config import TrainConfig
from sobolev.config.registry import method_of
from sobolev.distributed.sharding import shards
from sobolev.replay import HostReplay
from sobolev.system import lazy_memory
from sobolev.system.resources import cores
from sobolev.training.requirements import Needs, size
from sobolev.training.schedule import Plan
from sobolev.training.snapshot import Snapshot


def plan(config: TrainConfig, plan: Plan, run: Path, done: int, needs: Needs) -> list[str]:
    """Lines on what remains after `done` env steps, on the device, and on memory and disk space."""
    seeds = len(config.seeds)
    device = jax.devices()[0]
    cpu, kind = device.platform == "cpu", device.device_kind
    there, data = jax.device_count(), config.devices.data
    used = data if data > 1 else shards(seeds, there)
    number = len(cores())
    where = f"{number} CPU core{'s' if number > 1 else ''}" if cpu and there == 1 else f"{used} of {there} × {kind}"
    host = " in host memory" if config.replay.memory == "host" else ""
    replay = f"replay {decimal(needs.steps + needs.latents)}{host} ({decimal(round(needs.step))} a step)"
    verb = f"resumes at {done:,} of" if done else "trains"
    who = f"seeds {' '.join(map(str, config.seeds))}" if seeds > 1 else f"seed {config.seeds[0]}"
    ratio = f"{plan.updates_due(plan.total):,} updates of {plan.batch}×{plan.pace.length} each"
    what = f"{config.task} {method_of(config).name} {config.size}, {who}"
    return [
        f"{what}: {verb} {config.steps:,} env steps, {ratio}{protocol(config)}",
        f"on {where} in {config.agent.precision}; {replay}, on disk at most {decimal(needs.disk)}; in {run}",
    ]


def protocol(config: TrainConfig) -> str:
    """What is said of a preset that is not the paper's; "" for a method that has no preset of a paper."""
    other = config.preset != "paper" and "paper" in method_of(config).presets
    return f" (preset {config.preset}, not the paper's protocol)" if other else ""


def memory(now: Snapshot, update: int) -> str:
    """The memory of the run; `update`: working memory of an update in bytes, beside agent and replay.

    Replay counts with its full size, although host memory is used only as replay fills. Of a replay in host memory, an
    accelerator has the latents. On a CPU, everything else in the memory of this process is counted as the program's.
    """
    cpu, host = jax.default_backend() == "cpu", isinstance(now.replay, HostReplay)
    stored = now.replay.latents if host and not cpu else (now.replay.steps, now.replay.latents)
    agent = size((now.state, now.carry))
    parts = {"replay": size(stored), "the agent": agent, "an update": update}
    if cpu:
        taken = sum(lazy_memory.held(leaf) for leaf in jax.tree.leaves(stored))
        parts["the program itself"] = max(0, resident() - taken - agent)
    whole, where = sum(parts.values()), "memory" if cpu else "device memory"
    return f"{where} {decimal(whole)}: " + ", ".join(f"{name} {decimal(size)}" for name, size in parts.items())


def resident() -> int:
    """Resident memory of this process in bytes, including freed memory, which the next update reuses."""
    try:
        count = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return count * resource.getpagesize()


def advice(config: TrainConfig) -> str | None:
    """Advice for a run that would take days; None if there is none."""
    if config.preset != "paper" or "laptop" not in method_of(config).presets:
        return None
    seen, when = f" --observations {config.observations}", "in hours"
    if config.observations == "proprio":
        seen, when = "", "within the hour"
    return (
        "this is the paper's setting, meant for a GPU; on this machine "
        f"`sobolev train {config.task}{seen} --method {config.method} --preset laptop` learns {when}"
    )


def complete(run: Path, env_steps: int) -> str:
    """The message for a run that was complete already."""
    return (
        f"{run} is complete at {env_steps:,} env steps: a larger --steps continues it, --fresh deletes it and starts "
        "over"
    )


def finished(run: Path, env_steps: int) -> str:
    """The message for a run that has just been completed."""
    return f"complete at {env_steps:,} env steps: sobolev evaluate {shlex.quote(str(run))}"


def interrupted(run: Path, env_steps: int) -> str:
    """The message for a run that was ended by a signal."""
    if not env_steps:
        return f"left before the first step, with nothing to save in {run}: the same command begins again"
    return f"saved at {env_steps:,} env steps in {run}: the same command resumes it"
