"""Time of one update from images, and what the penalty or a replay in host memory adds to it.

    python benchmarks/pixels.py --sizes 1m 12m                  # with the penalty against without it
    python benchmarks/pixels.py --sizes 1m --memory             # replay in host memory against on the device

The two updates of a line take turns, so that a slow moment of the machine hits both; the ratio is the median of the
pairs' ratios, with its 95% interval.
"""

import argparse
import statistics
from dataclasses import replace

import jax
import numpy as np
from _timing import add_flags, alternate, config_of, interval, record

from sobolev.dreamer.agent import Dreamer
from sobolev.dreamer.config import SIZES, DreamerConfig, without_penalty
from sobolev.envs.specs import ArraySpec, Spaces
from sobolev.training.program import Program
from sobolev.training.snapshot import filled

WALKER = Spaces((("image", ArraySpec((64, 64, 3), "uint8")),), 6)


class Update:
    """Compiled updates on random images; calling it makes some, one after the other, and waits for them."""

    def __init__(self, config: DreamerConfig, memory: str, count: int):
        self.program = Program(Dreamer(config, WALKER), (0,))
        number, capacity = 16, 4 * config.batch_length
        forms = jax.eval_shape(lambda: self.program.initial_replay(number, capacity))
        steps, latents = jax.tree.map(lambda form: np.zeros(form.shape, form.dtype), (forms.steps, forms.latents))
        steps["observation"]["image"][:] = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        self.replay = filled(steps, latents, capacity, np.zeros((), np.int32), memory)
        self.state, self.count, self.number = self.program.initial_state(), count, 0

    def __call__(self) -> None:
        for _ in range(self.count):
            self.state, self.replay, report = self.program.learn(self.state, self.replay, self.number)
            self.number += 1
        jax.block_until_ready((self.state, report))


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--sizes", nargs="+", default=["1m"], choices=list(SIZES))
    flags.add_argument("--memory", action="store_true", help="replay in host memory against on the device")
    flags.add_argument("--count", type=int, default=1, help="updates of one measurement")
    add_flags(flags, repeats=7)
    chosen = flags.parse_args()
    for size in chosen.sizes:
        config = config_of(size, chosen)
        config = replace(config, precision="float32" if jax.default_backend() == "cpu" else "bfloat16")
        first = Update(config, "host" if chosen.memory else "device", chosen.count)
        second = Update(config if chosen.memory else without_penalty(config), "device", chosen.count)
        ours, theirs = alternate(first, second, chosen.repeats)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, high = interval(ratios)
        row = {
            "what": "from images: host memory / device" if chosen.memory else "from images: with penalty / without",
            "size": size,
            "batch": list(chosen.batch),
            "horizon": chosen.horizon,
            "seconds": statistics.median(ours) / chosen.count,
            "ratio": statistics.median(ratios),
            "interval": [low, high],
        }
        print(
            f"{size}, {chosen.batch[0]}×{chosen.batch[1]}, horizon {chosen.horizon}: {row['seconds']:.3f} s; "
            f"{row['what']} {row['ratio']:.3f} [{low:.3f}, {high:.3f}]",
            flush=True,
        )
        if chosen.write:
            record(row)


if __name__ == "__main__":
    main()
