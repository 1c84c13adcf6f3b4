"""What the gradient penalty costs: the update with it against the update without, in turn, as a paired ratio.

    python benchmarks/penalty.py --size 12m

Results are appended to benchmarks/results.jsonl by date and commit with `--write`.
"""

import argparse
import statistics

from _timing import Update, add_flags, alternate, config_of, interval, record

from sobolev.dreamer.config import SIZES, without_penalty


def main() -> None:
    """Measure what the flags ask for and print one line each."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--size", default="12m", choices=list(SIZES))
    add_flags(flags, repeats=15)
    chosen = flags.parse_args()
    config = config_of(chosen.size, chosen)
    ours, theirs = alternate(Update(config, 1), Update(without_penalty(config), 1), chosen.repeats)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = interval(ratios)
    row = {
        "what": "with penalty / without",
        "size": chosen.size,
        "batch": list(chosen.batch),
        "horizon": chosen.horizon,
        "seconds": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "interval": [low, high],
    }
    print(f"{row['what']}: {row['ratio']:.3f} [{low:.3f}, {high:.3f}], {row['seconds']:.3f} s per update", flush=True)
    if chosen.write:
        record(row)


if __name__ == "__main__":
    main()
