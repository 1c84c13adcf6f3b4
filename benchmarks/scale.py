"""Update time against model size, batch, horizon and seeds: a table, a log-log figure and the fitted exponents.

    python benchmarks/scale.py --figure docs/update-time.png

One axis is changed at a time, the others stay at the paper's 16×64, horizon 25, one seed; batch, horizon and seeds are
varied at size 1m. Takes about ten minutes on two cores, most of them compiling.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _timing import Update, config_of, record

from sobolev.system.jax_setup import use_large_buffers

BASE: dict[str, Any] = {"size": "1m", "batch": 16, "horizon": 25, "seeds": 1}
AXES: dict[str, list[Any]] = {
    "size": ["1m", "12m", "25m", "50m"],
    "batch": [4, 8, 16, 32],
    "horizon": [6, 12, 25, 50],
    "seeds": [1, 2, 4, 8],
}
LABELS = {"size": "parameters", "batch": "sequences of 64 steps", "horizon": "imagined steps", "seeds": "seeds"}


def seconds_of(point: dict[str, Any], repeats: int) -> tuple[float, int]:
    """Median seconds of an update of all seeds, and the parameters of one."""
    chosen = argparse.Namespace(batch=(point["batch"], 64), horizon=point["horizon"])
    update, times = Update(config_of(point["size"], chosen), point["seeds"]), []
    update()
    for _ in range(repeats):
        start = time.perf_counter()
        update()
        times.append(time.perf_counter() - start)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(update.state.model)) // point["seeds"]
    return statistics.median(times), parameters


def exponent(x: list[float], y: list[float]) -> float:
    """Slope of the line through the points in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(curves: dict[str, tuple[list[float], list[float], float]], path: Path) -> None:
    """Four log-log panels, each with its fitted line."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(3 * len(curves), 3.2), sharey=True, layout="constrained", squeeze=False
    )
    for panel, (axis, (x, y, slope)) in zip(panels[0], curves.items(), strict=True):
        line = np.exp(np.mean(np.log(y)) + slope * (np.log(x) - np.mean(np.log(x))))
        panel.loglog(x, line, color="0.7", linewidth=1)
        panel.loglog(x, y, "o", color="C0")
        panel.set_xticks(x, [f"{value / 1e6:.2g}M" if axis == "size" else f"{value:g}" for value in x])
        panel.minorticks_off()
        panel.set_xlabel(LABELS[axis])
        panel.set_title(f"exponent {slope:.2f}", fontsize=10)
        panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("seconds per update")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all points, print a Markdown table and draw the figure."""
    use_large_buffers()
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--figure", type=Path, help="where to draw the figure")
    flags.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    flags.add_argument("--points", type=int, default=4, help="how many points of each axis")
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--write", action="store_true", help="append the results to benchmarks/results.jsonl")
    chosen = flags.parse_args()
    known: dict[tuple[Any, ...], tuple[float, int]] = {}
    curves = {}
    print("| axis | value | seconds per update | exponent |\n|---|---|---|---|")
    for axis in chosen.axes:
        points = [BASE | {axis: value} for value in AXES[axis][: chosen.points]]
        for point in points:
            key = tuple(point.values())
            known[key] = known[key] if key in known else seconds_of(point, chosen.repeats)
        found = [known[tuple(point.values())] for point in points]
        x = [float(count if axis == "size" else point[axis]) for point, (_, count) in zip(points, found, strict=True)]
        y = [seconds for seconds, _ in found]
        curves[axis] = (x, y, exponent(x, y))
        for point, seconds in zip(points, y, strict=True):
            print(f"| {axis} | {point[axis]} | {seconds:.3f} | {curves[axis][2]:.2f} |", flush=True)
        if chosen.write:
            row = {"what": "scale", "axis": axis, "values": x, "seconds": y, "exponent": curves[axis][2]}
            record(row | {"base": BASE})
    if chosen.figure:
        draw(curves, chosen.figure)


if __name__ == "__main__":
    main()
