"""Time of one update of the Dreamer agent, beside a matrix product and, if you like, beside the public code.

    python benchmarks/updates.py --sizes 1m 12m --seeds 1 --breakdown
    python benchmarks/updates.py --sizes 1m 12m --reference ../dreamerv3 --reference-python ../venv/bin/python

Every line alternates the update with the calibration product (1024³ in float32), so that a slow moment of the
machine hits both. `--breakdown` tells by a profile where the time goes. `--reference` takes a checkout of
danijar/dreamerv3 or romils9/gpld-mbrl and alternates our update with that code's own, one by one, in a process of its
own: same batch, horizon, sizes, float32 on a CPU; `--penalty` compares the updates with the penalty (gpld-mbrl has
it), else both are plain DreamerV3. Results are appended to benchmarks/results.jsonl by date and commit with `--write`.

Our side starts as `sobolev train` does, with glibc's settings for large buffers; the reference gets them too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _breakdown import breakdown, table
from _timing import Update, add_flags, alternate, before, config_of, interval, record

from sobolev.agents.dreamer.config import SIZES, DreamerConfig, without_penalty
from sobolev.system.jax_setup import use_large_buffers

_product, _ONES = jax.jit(jnp.matmul), jnp.ones((1024, 1024))


def calibration() -> None:
    """A 1024³ product in float32."""
    jax.block_until_ready(_product(_ONES, _ONES))


class Reference:
    """The public code's update in a process of its own; calling it makes one and waits for it."""

    def __init__(self, chosen: argparse.Namespace, size: str, config: DreamerConfig):
        penalty = [str(config.penalty.posterior), str(getattr(config.penalty, "rho", 1.0))]
        command = [
            *[chosen.reference_python, str(Path(__file__).with_name("reference_driver.py")), str(chosen.reference)],
            *["--size", size, "--batch", *map(str, chosen.batch), "--horizon", str(chosen.horizon)],
            *(["--penalty", *penalty] if chosen.penalty else []),
            *(["--in-background"] if chosen.reference_as_it_is else []),
        ]
        kept_back = ("PYTHONPATH", "GLIBC_TUNABLES") if chosen.reference_as_it_is else ("PYTHONPATH",)
        environment = {name: value for name, value in os.environ.items() if name not in kept_back}
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.about = self._answer()

    def __call__(self) -> float:
        assert self.child.stdin
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """End the process."""
        assert self.child.stdin
        self.child.stdin.close()
        self.child.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout and self.child.stderr
        line = self.child.stdout.readline()
        if not line:
            last = self.child.stderr.read().strip().splitlines()[-1:]
            raise SystemExit(
                f"the reference does not run ({' '.join(last)}): make an environment with Python 3.11, jax 0.4.33 and "
                "the packages of the checkout's requirements.txt, and name its python with --reference-python"
            )
        return json.loads(line)


def measured(update: Update, other: Any, chosen: argparse.Namespace) -> dict[str, Any]:
    """The paired comparison of an update with something else, as a row for the file of results."""
    ours, theirs = alternate(update, other, chosen.repeats)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "seeds": chosen.seeds,
        "batch": list(chosen.batch),
        "horizon": chosen.horizon,
        "penalty": chosen.penalty,
        "seconds": statistics.median(ours),
        "other_seconds": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "interval": list(interval(ratios)),
    }


def against_product(update: Update, size: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns the time of an update as a ratio to the calibration product."""
    row: dict[str, Any] = {"what": "update / 1024^3 product", "size": size} | measured(update, calibration, chosen)
    low, high = row["interval"]
    print(
        f"{size}, {chosen.seeds} seed(s), {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}: "
        f"{row['seconds']:.3f} s per update; {row['what']} {row['ratio']:.1f} [{low:.1f}, {high:.1f}]{before(row)}",
        flush=True,
    )
    return row


def against_reference(update: Update, size: str, config: DreamerConfig, chosen: argparse.Namespace) -> dict[str, Any]:
    """Prints and returns how many times as many updates per second as the reference's ours makes."""
    reference = Reference(chosen, size, config)
    ours = sum(leaf.size for leaf in jax.tree.leaves(update.state.model))
    theirs, version = reference.about["parameters"], reference.about["jax"]
    if ours != theirs:
        raise SystemExit(f"the reference has {theirs:,} parameters, ours {ours:,}: these are not the same networks")
    row: dict[str, Any] = {"what": "updates per second / reference's", "size": size}
    row |= measured(update, reference, chosen)
    reference.close()
    low, high = row["interval"]
    row |= {"ratio": 1 / row["ratio"], "interval": [1 / high, 1 / low], "reference_jax": version, "parameters": ours}
    print(
        f"{size}, {ours:,} parameters in both: ours (jax {jax.__version__}) {row['seconds']:.3f} s, reference (jax "
        f"{version}) {row['other_seconds']:.3f} s per update; ours makes {row['ratio']:.2f} times as many per second "
        f"[{1 / high:.2f}, {1 / low:.2f}]{before(row)}",
        flush=True,
    )
    return row


def print_breakdown(update: Update) -> None:
    """Prints where the time of an update goes."""
    learn = jax.jit(update.program.functions.learn, donate_argnums=(0, 1))
    compiled = learn.lower(update.state, update.replay, np.int32(0)).compile()
    print(table(breakdown(compiled, update)), flush=True)


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["1m"], choices=list(SIZES))
    flags.add_argument("--seeds", type=int, default=1)
    flags.add_argument("--penalty", action="store_true", help="with the gradient penalty; else plain DreamerV3")
    flags.add_argument("--breakdown", action="store_true", help="where the time goes, by a profile")
    flags.add_argument("--reference", type=Path, help="a checkout of danijar/dreamerv3 or romils9/gpld-mbrl")
    flags.add_argument("--reference-python", default=sys.executable, help="the python of the reference's environment")
    flags.add_argument(
        "--reference-as-it-is", action="store_true", help="the reference without our settings of glibc and of JAX"
    )
    add_flags(flags, repeats=9)
    chosen = flags.parse_args()
    if chosen.reference and (chosen.seeds > 1 or not (chosen.reference / "dreamerv3" / "configs.yaml").exists()):
        raise SystemExit("--reference takes a checkout that holds dreamerv3/configs.yaml, and compares one seed")
    tunables = os.environ.get("GLIBC_TUNABLES", "none")
    whose = "on our side alone" if chosen.reference_as_it_is else "on both sides"
    print(f"{os.cpu_count()} cores, GLIBC_TUNABLES {tunables}, no computing in the background, {whose}", flush=True)
    for size in chosen.sizes:
        config = config_of(size, chosen)
        config = config if chosen.penalty else without_penalty(config)
        update = Update(config, chosen.seeds)
        rows = [against_product(update, size, chosen)]
        if chosen.breakdown:
            print_breakdown(update)
        if chosen.reference:
            rows.append(against_reference(update, size, config, chosen))
        for row in rows if chosen.write else ():
            record(row)


if __name__ == "__main__":
    main()
