"""Memory of a run against what it said at its start, with replay filled and never trained on but for one update.

    python benchmarks/memory.py --size 12m --steps 500000

Starts `sobolev train` until it announces its memory, ends it, and fills the replay of an equal run in a process of its
own by `replay.add`, as many steps as were announced for; then compares that process's memory, before and at the peak
of one update.
"""

import argparse
import ctypes
import json
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from _timing import WALKER, config_of, record

from sobolev.agents.dreamer.config import SIZES
from sobolev.system.jax_setup import use_large_buffers

UNITS = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def announced(size: str, steps: int) -> float:
    """Bytes that `sobolev train` announces for a run of so many agent steps."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--size", size, "--steps", str(2 * steps), "--evaluation.episodes", "0", "--run", f"{folder}/run"]
        command = [sys.executable, "-m", "sobolev", "train", "walker-walk", *flags]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout
        for line in child.stdout:
            found = re.match(r"memory ([\d.]+) (B|KB|MB|GB):", line)
            if found:
                print(f"announced: {line.strip()}", flush=True)
                child.send_signal(signal.SIGKILL)
                child.wait()
                return float(found.group(1)) * UNITS[found.group(2)]
    raise SystemExit(f"the run ended with status {child.wait()} and announced no memory")


def fill(size: str, steps: int) -> None:
    """Fills a replay, makes one update, and prints memory and size of a step as JSON."""
    import jax

    from sobolev import replay as memory
    from sobolev.agents.dreamer.agent import Dreamer
    from sobolev.training import run_messages
    from sobolev.training.program import Program

    chosen = argparse.Namespace(batch=(16, 64), horizon=25)
    program, environments = Program(Dreamer(config_of(size, chosen), WALKER), [0]), 16
    per_environment = steps // environments
    program.compile_ahead(environments, per_environment, 0, True)
    program.compiled_bytes("learn")
    state, replay = program.initial_state(), program.initial_replay(environments, per_environment)

    def add(number, replay):
        step, latents = jax.tree.map(
            lambda ring: ring[0, :, 0] + number.astype(ring.dtype), (replay.steps, replay.latents)
        )
        axes = memory.replay_axes(replay)
        one = jax.tree.map(lambda leaf: leaf[None], (step, latents))
        return jax.vmap(memory.add, (axes, 0, 0), axes)(replay, *one)

    filled = jax.jit(lambda replay: jax.lax.fori_loop(0, per_environment, add, replay), donate_argnums=0)
    replay = jax.block_until_ready(filled(replay))
    ctypes.CDLL(None).malloc_trim(0)  # what filling in this way has left free is not a run's
    before, bytes_per_step = run_messages.resident(), run_messages.size(replay) / steps
    assert int(replay.count) == per_environment
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the compiler's peak is not meant
    jax.block_until_ready(program.learn(state, replay, 0)[0])
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    print(json.dumps({"filled": before, "peak": peak, "bytes_per_step": bytes_per_step}), flush=True)


def main() -> None:
    """Measure both and print them."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--size", default="12m", choices=list(SIZES))
    flags.add_argument("--steps", type=int, default=500_000, help="agent steps in replay")
    flags.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    if chosen.fill:
        fill(chosen.size, chosen.steps)
        return
    said = announced(chosen.size, chosen.steps)
    command = [sys.executable, __file__, "--fill", "--size", chosen.size, "--steps", str(chosen.steps)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(
        f"{chosen.size}, {chosen.steps:,} steps of {found['bytes_per_step']:.0f} bytes: {found['filled'] / 1e9:.2f} GB "
        f"when filled, {found['peak'] / 1e9:.2f} GB with an update, {found['peak'] / said:.3f} of what was announced"
    )
    if chosen.write:
        row = {"what": "memory / announced memory", "size": chosen.size, "steps": chosen.steps}
        record(row | {"ratio": found["peak"] / said, "announced": said} | found)


if __name__ == "__main__":
    main()
