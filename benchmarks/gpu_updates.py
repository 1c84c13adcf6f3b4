"""Updates per second where JAX computes, several in each call as a run on a GPU makes them, beside what was predicted.

    python benchmarks/gpu_updates.py --method gpld --seeds 5 --seconds 10
    python benchmarks/gpu_updates.py --profile                   # and the kernels of a call, counted and timed
    python benchmarks/gpu_updates.py --form fused                # with the fused step

Prints one line of JSON, and appends it to --out where that is given. Predictions are those of results/gpu-plan for
the same kind of GPU, if there are any.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp

from sobolev.agents.api import AnyAgent
from sobolev.config import configure, resolved
from sobolev.config.registry import agent_of
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.system.target import Target, traced_for
from sobolev.training.program import Program

WALKER = Spaces(tuple((name, ArraySpec((n,), "float32")) for name, n in (("orientations", 14), ("velocity", 10))), 6)
HOPPER = Spaces((("observation", ArraySpec((11,), "float32")),), 3)
PLANS = Path(__file__).parents[1] / "results" / "gpu-plan"
PREDICTED = {("gpld", 1): "update", ("dreamer", 1): "update-plain", ("gpld", 5): "update-seeds"}
PREDICTED |= {("dsdpg", 1): "dsdpg", ("dsdpg", 5): "dsdpg-seeds", ("mage", 1): "mage"}
FUSED = {("gpld", 1): "update-fused", ("gpld", 5): "update-fused-seeds"}
TINY = {"batch_size": 2, "batch_length": 8, "behavior.horizon": 3, "model.deter": 64, "model.hidden": 16}
TINY |= {"model.blocks": 4, "model.units": 16, "model.classes": 4, "model.rows": 4, "model.bins": 41}
TINY |= {f"model.{part}_layers": 1 for part in ("encoder", "decoder", "prior", "actor", "critic")}


def agent(chosen: argparse.Namespace) -> AnyAgent:
    """The agent that the flags name, in the precision of this machine."""
    if chosen.method in ("gpld", "dreamer"):
        settings = TINY if chosen.tiny else {}
        config = resolved(configure("walker-walk", method=chosen.method, size=chosen.size, settings=settings))
        return agent_of(config, WALKER)
    config = configure("gym:Hopper-v5", method=chosen.method, size="small" if chosen.tiny else None)
    return agent_of(resolved(config), HOPPER)


def filled(program: Program, environments: int, steps: int) -> Any:
    """A replay that is full of random numbers."""
    replay = program.initial_replay(environments, steps)
    fill = {name: replay.steps[name] for name in ("observation", "action")}
    drawn = jax.tree.map(lambda x: jax.random.uniform(jax.random.key(0), x.shape, x.dtype, -1, 1), fill)
    return replace(replay, steps={**replay.steps, **drawn}, count=jnp.asarray(steps, jnp.int32))


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Updates per second, and what goes with it."""
    program = Program(agent(chosen), range(chosen.seeds))
    dreams = chosen.method in ("gpld", "dreamer")
    replay = filled(program, 16 if dreams else 1, 100 if chosen.tiny else 2000)
    state, number, begun = program.initial_state(), 0, time.perf_counter()

    def call() -> None:
        nonlocal state, replay, number
        state, replay, report = program.learn(state, replay, number, chosen.count)
        jax.block_until_ready(report)
        number += chosen.count

    call()
    compiled = time.perf_counter() - begun
    begun, before = time.perf_counter(), number
    while time.perf_counter() - begun < chosen.seconds:
        call()
    taken = time.perf_counter() - begun
    device = jax.devices()[0]
    row = {"what": "updates", "method": chosen.method, "seeds": chosen.seeds, "count": chosen.count}
    row |= {"size": "tiny" if chosen.tiny else chosen.size, "label": chosen.label, "jax": jax.__version__}
    row |= {"form": chosen.form}
    row |= {"device": device.device_kind, "seconds_to_compile": compiled}
    row |= {"updates_per_second": (number - before) / taken, "predicted": predicted(chosen, device.device_kind)}
    return row | (profile(call, chosen.count) if chosen.profile else {})


def predicted(chosen: argparse.Namespace, kind: str) -> float | None:
    """Updates per second by results/gpu-plan, None where it has none for this GPU, method, size and seeds."""
    target = kind.lower().removeprefix("nvidia ").replace("geforce ", "").replace(" ", "").split("-")[0]
    names = FUSED if chosen.form == "fused" else PREDICTED
    path, name = PLANS / f"{target}.json", names.get((chosen.method, chosen.seeds))
    if not path.exists() or chosen.tiny:
        return None
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = [row["predicted_calls_per_second"] for row in rows if (row["program"], row["size"]) == (name, chosen.size)]
    return found[0] if found else None


def profile(call: Any, count: int) -> dict[str, Any]:
    """Kernels of one update and the seconds in which they run, by a profile of one call; on a CPU, its operations."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        (file,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(file)).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:GPU")] or planes
    lines = [line for plane in devices for line in plane.lines if "Stream" in line.name or devices is planes]
    events = [event for line in lines for event in line.events]
    seconds: Counter[str] = Counter()
    for event in events:
        seconds[event.name[:60]] += event.duration_ns / 1e9 / count
    return {
        "kernels": len(events) / count,
        "seconds_in_kernels": sum(seconds.values()),
        "longest": dict(seconds.most_common(20)),
    }


def main() -> None:
    """Measure what the flags ask for."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--method", default="gpld", choices=["gpld", "dreamer", "dsdpg", "mage"])
    flags.add_argument("--size", default="12m", help="of Dreamer agents")
    flags.add_argument("--seeds", type=int, default=1)
    flags.add_argument("--count", type=int, default=8, help="updates in one call")
    flags.add_argument("--seconds", type=float, default=10.0)
    flags.add_argument("--profile", action="store_true", help="count and time the kernels of a call")
    flags.add_argument("--label", default="", help="what is tried, for the line of results")
    flags.add_argument(
        "--form", choices=get_args(Target), help="which form of the update; unless given, that of this machine"
    )
    flags.add_argument("--tiny", action="store_true", help="an agent of a few units, to try the path")
    flags.add_argument("--out", type=Path, help="append the line to this file")
    chosen = flags.parse_args()
    with traced_for(chosen.form) if chosen.form else nullcontext():
        line = json.dumps(measure(chosen))
    print(line, flush=True)
    if chosen.out:
        with chosen.out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
