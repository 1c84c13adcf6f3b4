"""What a GPU would execute: a run's own programs, compiled by XLA for a GPU that need not be there.

    make gpu-plan PLAN="--programs update --targets h200"                  # an environment of its own, 5 GB, then this
    python benchmarks/gpu_plan.py --programs update updates act --targets h200 a100 rtx4090 --write
    python benchmarks/gpu_plan.py --programs update --bodies               # every kernel, and where it comes from
    python benchmarks/gpu_plan.py --reference ../dreamerv3                 # and the public code's update, by this jax

Prints for every program the kernels of one call by part of the update, its loops, memory and how much of it is reused
in place, collectives, floating-point operations and bytes. At the sizes of these models a GPU's time goes into starting
kernels, about two millionths of a second each, so that their number is the first thing to know. `--write` keeps the
results in results/gpu-plan, with commit and versions.

Needs jax[cuda13] on Linux, but no GPU and no driver: JAX describes the device from a file in benchmarks/gpu_targets.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # where JAX itself runs: it would look for a GPU otherwise

import jax  # noqa: E402
from _kernels import Plan, read, summary  # noqa: E402
from _reference_update import reference_update  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from sobolev.agents.api import AnyAgent  # noqa: E402
from sobolev.config import TrainConfig, configure  # noqa: E402
from sobolev.config.registry import agent_of  # noqa: E402
from sobolev.envs.specs import ArraySpec, Spaces  # noqa: E402
from sobolev.errors import UserError  # noqa: E402
from sobolev.system.target import Target, traced_for  # noqa: E402
from sobolev.training.program import Program  # noqa: E402

TARGETS = Path(__file__).with_name("gpu_targets")
RESULTS = Path(__file__).parents[1] / "results" / "gpu-plan"
WALKER = {"height": ArraySpec((), "float32"), "orientations": ArraySpec((14,), "float32")}
WALKER |= {"velocity": ArraySpec((9,), "float32")}
IMAGE = {"image": ArraySpec((64, 64, 3), "uint8")}
HOPPER = {"observation": ArraySpec((11,), "float32")}


@dataclass(frozen=True)
class Case:
    """One program to compile."""

    about: str
    call: str = "update"
    """as `Program.trace` has it"""
    method: str = "gpld"
    seeds: int = 1
    data: int = 1
    """devices that divide a batch"""
    devices: int = 1
    observation: tuple[tuple[str, ArraySpec], ...] = tuple(sorted(WALKER.items()))
    actions: int = 6
    environments: int = 16
    form: Target = "accelerator"


def critic(method: str, about: str) -> Case:
    """An update of a method with a deterministic policy."""
    observation = tuple(sorted(HOPPER.items()))
    return Case(about, method=method, observation=observation, actions=3, environments=1)


IMAGES = tuple(sorted(IMAGE.items()))
CASES = {
    "update": Case("an update"),
    "update-plain": Case("an update without penalty", method="dreamer"),
    "update-seeds": Case("an update of five seeds", seeds=5),
    "update-fused": Case("an update with the fused step", form="fused"),
    "update-fused-seeds": Case("an update of five seeds with the fused step", seeds=5, form="fused"),
    "update-images": Case("an update from images", observation=IMAGES),
    "update-data": Case("an update, its batch on eight GPUs", data=8, devices=8),
    "update-spread": Case("an update of eight seeds on eight GPUs", seeds=8, devices=8),
    "updates": Case("several updates in one call", "updates"),
    "updates-seeds": Case("several updates of five seeds in one call", "updates", seeds=5),
    "step": Case("a step of the loop", "step"),
    "act": Case("a step of an evaluation", "act"),
    "act-images": Case("a step of an evaluation from images", "act", observation=IMAGES),
    "dsdpg": critic("dsdpg", "an update of dsdpg"),
    "dsdpg-seeds": replace(critic("dsdpg", "an update of five seeds of dsdpg"), seeds=5),
    "mage": critic("mage", "an update of mage"),
}
"""Programs by name."""


def agent(case: Case, size: str | None) -> AnyAgent:
    """The agent of a case as the paper's preset has it, in the precision that it has on a GPU."""
    if case.method in ("gpld", "dreamer"):
        config: TrainConfig[Any] = configure("walker-walk", method=case.method, size=size or "12m")
    else:
        config = configure("gym:Hopper-v5", method=case.method)
    if config.agent.precision == "auto":
        config = replace(config, agent=replace(config.agent, precision="bfloat16"))
    return agent_of(config, Spaces(case.observation, case.actions))


REFERENCE = Case("an update of the public DreamerV3 code", method="dreamer")


def compiled(case: Case, target: str, chosen: argparse.Namespace) -> Any:
    """The program as XLA compiled it for that GPU. Raises UserError as `reference_update` does."""
    description = (TARGETS / f"{target}.pbtxt").read_text(encoding="utf-8")
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name=target, target_config=description, topology=f"1x{case.devices}x1"
    )
    with traced_for(case.form):
        if case is REFERENCE:
            ours: Any = agent(case, chosen.size).config
            batch = ours.batch_size, ours.batch_length
            place = jax.sharding.SingleDeviceSharding(topology.devices[0])
            update, shapes = reference_update(chosen.reference, chosen.size, batch, ours.behavior.horizon, place)
            traced = update.trace(*shapes)
        else:
            program = Program(agent(case, chosen.size), range(case.seeds), case.data, topology.devices)
            traced = program.trace(case.call, case.environments, chosen.capacity)
        with jax.default_device(topology.devices[0]):  # whose kind Pallas asks for
            lowered = traced.lower(lowering_platforms=("cuda",))
        return lowered.compile()


def plan(name: str, target: str, chosen: argparse.Namespace) -> tuple[dict[str, Any], Plan]:
    """What is known of a program on a GPU, as JSON, and its kernels."""
    case, begun = REFERENCE if name == "reference" else CASES[name], time.perf_counter()
    program = compiled(case, target, chosen)
    if chosen.text:
        chosen.text.mkdir(parents=True, exist_ok=True)
        (chosen.text / f"{name}-{target}.hlo").write_text(program.as_text(), encoding="utf-8")
    found, memory = read(program.as_text()), program.memory_analysis()
    row = {"program": name, "about": case.about, "target": target, "size": chosen.size, "seeds": case.seeds}
    row |= {"seconds_to_compile": round(time.perf_counter() - begun, 1)} | summary(found)
    row["predicted_calls_per_second"] = 1 / predicted_seconds(row)
    row |= {
        "memory": {
            "arguments": memory.argument_size_in_bytes,
            "in_place": memory.alias_size_in_bytes,
            "temporary": memory.temp_size_in_bytes,
        },
    }
    return row, found


PER_KERNEL = 2e-6
"""Seconds between two kernels' beginnings. An update of the public DreamerV3 code, about 10,700 kernels as counted here
(horizon 15), was measured at 22.04 ms on a GB200: 2.05 millionths of a second each (pytorch/rl, pull request 4216)."""

PEAK = {"h200": (4.8e12, 989e12), "a100": (2.039e12, 312e12), "rtx4090": (1.008e12, 165e12)}
"""Bytes per second of memory, and operations per second of dense products in bfloat16 that are summed in float32."""


def predicted_seconds(row: dict[str, Any]) -> float:
    """What one call takes at the least: the longest of starting its kernels, moving its bytes, and its products."""
    bandwidth, speed = PEAK[row["target"]]
    return max(PER_KERNEL * row["kernels"], row["bytes"] / bandwidth, row["operations"] / speed)


def printed(row: dict[str, Any]) -> Iterator[str]:
    """A result as lines of text."""
    rare = f", {row['sometimes']:,} of them not in every call" if row["sometimes"] else ""
    memory = {name: size / 1e9 for name, size in row["memory"].items()}
    yield f"{row['about']} ({row['program']}) on {row['target']}: {_launched(row)}{rare}"
    yield "  by part: " + ", ".join(f"{part} {number:,}" for part, number in row["by_part"].items())
    for loop in row["loops"]:
        turns = loop["turns"] or "any number of"
        yield f"  loop, {loop['direction']}: {turns} × {_launched(loop)}, {loop['part']}"
    yield f"  memory: arguments {memory['arguments']:.2f} GB, of which {memory['in_place']:.2f} are reused in place; "
    yield f"  temporary {memory['temporary']:.2f} GB; read and written {row['bytes'] / 1e9:.1f} GB; "
    products, predicted = row["operations"] / 1e12, row["predicted_calls_per_second"]
    yield f"  products {products:.2f} T operations; predicted {predicted:.0f} calls a second"
    if row["collectives"]:
        yield "  between devices: " + ", ".join(f"{number} {name}" for name, number in row["collectives"].items())


def _launched(counts: dict[str, Any]) -> str:
    return f"{counts['kernels']:,} kernels" + (f" and {counts['copies']:,} copies" if counts["copies"] else "")


def versions() -> dict[str, str]:
    """What made the results."""
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    made = {"commit": head + ("-dirty" if changed else ""), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    return made | {name: metadata.version(name) for name in ("jax", "jaxlib", "jax-cuda13-plugin")}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def keep(row: dict[str, Any]) -> None:
    """Write a result into the file of its target, in the place of an older one of the same program."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{row['target']}.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = [old for old in rows if (old["program"], old["size"]) != (row["program"], row["size"])]
    order = {name: number for number, name in enumerate(CASES)}
    rows = sorted([*rows, row], key=lambda each: (order.get(each["program"], 99), each["size"]))
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Compile what the flags ask for, and print what it comes to."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--programs", nargs="+", default=[], choices=[*CASES, "all"], metavar="PROGRAM")
    flags.add_argument(
        "--targets", nargs="+", default=["h200"], choices=sorted(p.stem for p in TARGETS.glob("*.pbtxt"))
    )
    flags.add_argument("--size", default="12m", help="of Dreamer agents")
    flags.add_argument("--capacity", type=int, default=31250, help="steps that replay holds of every environment")
    flags.add_argument(
        "--reference", type=Path, metavar="CHECKOUT", help="of danijar/dreamerv3, whose update is compiled too"
    )
    flags.add_argument("--bodies", action="store_true", help="every kernel: times, part, kind, result and origin")
    flags.add_argument("--text", type=Path, help="a folder for XLA's compiled programs as text")
    flags.add_argument("--write", action="store_true", help="keep the results in results/gpu-plan")
    chosen = flags.parse_args()
    jax.devices()  # the CUDA plugin is registered now, and not started
    made_by = versions()  # of what is compiled here, whatever is committed meanwhile
    names = list(CASES) if "all" in chosen.programs else chosen.programs
    names = [*names, "reference"] if chosen.reference else names or ["update"]
    for target in chosen.targets:
        for name in names:
            try:
                row, found = plan(name, target, chosen)
            except UserError as error:
                flags.error(str(error))
            print("\n".join(printed(row)), flush=True)
            for times, part, kind, shape, origin in found.bodies if chosen.bodies else ():
                print(f"    {times:>4} × {part[:14]:14} {kind[:26]:26} {shape:46} {origin[-90:]}")
            if chosen.write:
                keep(row | made_by)


if __name__ == "__main__":
    sys.exit(main())
