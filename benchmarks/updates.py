"""Time of one update of the Dreamer agent, as a ratio to a matrix product measured in the same run.

    python benchmarks/updates.py --sizes 1m 12m --seeds 1

Every line alternates the update with the calibration product (1024³ in float32), so that a slow moment of the
machine hits both. Results are appended to benchmarks/results.jsonl by date and commit with `--write`.
"""

import argparse
import statistics

import jax
import jax.numpy as jnp
from _timing import Update, add_flags, alternate, config_of, interval, record

from sobolev.dreamer.config import SIZES

_product, _ONES = jax.jit(jnp.matmul), jnp.ones((1024, 1024))


def calibration() -> None:
    """A 1024³ product in float32."""
    jax.block_until_ready(_product(_ONES, _ONES))


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["1m"], choices=list(SIZES))
    flags.add_argument("--seeds", type=int, default=1)
    add_flags(flags, repeats=7)
    chosen = flags.parse_args()
    for size in chosen.sizes:
        update = Update(config_of(size, chosen), chosen.seeds)
        ours, theirs = alternate(update, calibration, chosen.repeats)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        row = {
            "what": "update / 1024^3 product",
            "size": size,
            "seeds": chosen.seeds,
            "batch": list(chosen.batch),
            "horizon": chosen.horizon,
            "seconds": statistics.median(ours),
            "ratio": statistics.median(ratios),
            "interval": [low, high],
        }
        print(
            f"{size}, {chosen.seeds} seed(s), {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}: "
            f"{row['seconds']:.3f} s per update; {row['what']} {row['ratio']:.3f} [{low:.3f}, {high:.3f}]",
            flush=True,
        )
        if chosen.write:
            record(row)


if __name__ == "__main__":
    main()
