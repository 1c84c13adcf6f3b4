"""Time of one update from images, and what the penalty or a replay in host memory adds to it.

    python benchmarks/pixels.py --sizes 1m                                # with the penalty against without it
    python benchmarks/pixels.py --sizes 12m --repeats 3                   # slow on a CPU: some ten seconds an update
    python benchmarks/pixels.py --sizes 1m --memory                       # replay in host memory against on the device

The two updates of a line take turns, so that a slow moment of the machine hits both; the ratio is the median of the
pairs' ratios, with its 95% interval. Starts as `sobolev train` does, with glibc's settings for large buffers.
"""

import argparse
import statistics
from dataclasses import replace

import jax
from _timing import Update, add_flags, alternate, before, config_of, interval, record

from sobolev.agents.dreamer.config import SIZES, without_penalty
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.system.jax_setup import use_large_buffers


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["1m"], choices=list(SIZES))
    flags.add_argument("--memory", action="store_true", help="replay in host memory against on the device")
    flags.add_argument("--image-size", type=int, default=64)
    add_flags(flags, repeats=7)
    chosen = flags.parse_args()
    side = chosen.image_size
    walker = Spaces((("image", ArraySpec((side, side, 3), "uint8")),), 6)
    for size in chosen.sizes:
        config = config_of(size, chosen)
        config = replace(config, precision="float32" if jax.default_backend() == "cpu" else "bfloat16")
        if chosen.memory:
            what = "from images: host memory / device"
            first, second = (Update(config, spaces=walker, memory=memory) for memory in ("host", "device"))
        else:
            what = "from images: with penalty / without"
            first, second = (Update(agent, spaces=walker) for agent in (config, without_penalty(config)))
        ours, theirs = alternate(first, second, chosen.repeats)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        row = {
            "what": what,
            "size": size,
            "image_size": side,
            "batch": list(chosen.batch),
            "horizon": chosen.horizon,
            "seconds": statistics.median(ours),
            "other_seconds": statistics.median(theirs),
            "ratio": statistics.median(ratios),
            "interval": [low, high],
        }
        print(
            f"{size}, {side}×{side}, {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}: "
            f"{row['seconds']:.3f} s and {row['other_seconds']:.3f} s; {what} {row['ratio']:.3f} "
            f"[{low:.3f}, {high:.3f}]{before(row)}",
            flush=True,
        )
        if chosen.write:
            record(row)


if __name__ == "__main__":
    main()
