"""Reads the study as PLAN.md says: python results/point-mass/compare.py [POINT_MASS_JSON].

Prints the relative differences of dsdpg's areas and final returns to every other method's, for every D and noise, what
they are called, and what PLAN.md asks: parity, an edge under noise, and growth with noise and with D.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from sobolev.experiments.trained import final_returns, returns_while_training
from sobolev.system.columns import aligned

MEASURES: Mapping[str, Callable[[dict[str, Any]], Sequence[float]]] = {
    "area": returns_while_training,
    "final return": final_returns,
}
OURS = "dsdpg"
DRAWS = 10_000

Cells = Mapping[tuple[str, int, float], np.ndarray]
"""A number per seed, by method, D and noise."""


def relative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(a − b) / (|a| + |b|) of the means over seeds, which are the last axis."""
    a, b = a.mean(-1), b.mean(-1)
    return (a - b) / (np.abs(a) + np.abs(b))


def called(a: np.ndarray, b: np.ndarray) -> str:
    """What the 95% interval of Welch's t says of a."""
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return "better" if low > 0 else "worse" if high < 0 else "no difference"


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    found: Any = stats.spearmanr(a, b)
    return float(found.statistic)


def growth(cells: Cells, other: str, dimensions: Sequence[int], noises: Sequence[float]) -> tuple[float, float, float]:
    """The change of the relative difference, averaged over D, from least to most noise, and its 95% interval."""
    rng = np.random.default_rng(0)

    def mean(noise: float, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        pairs = [(draw(cells[OURS, d, noise]), draw(cells[other, d, noise])) for d in dimensions]
        return np.mean([relative(a, b) for a, b in pairs], 0)

    def drawn(values: np.ndarray) -> np.ndarray:
        return values[rng.integers(len(values), size=(DRAWS, len(values)))]

    changes = mean(noises[-1], drawn) - mean(noises[0], drawn)
    value = mean(noises[-1], lambda values: values) - mean(noises[0], lambda values: values)
    low, high = np.quantile(changes, [0.025, 0.975])
    return float(value), float(low), float(high)


def report(name: str, cells: Cells, other: str) -> list[str]:
    """The lines on one measure and one other method."""
    dimensions, noises = sorted({d for _, d, _ in cells}), sorted({noise for *_, noise in cells})
    rows = [[f"{name}, {OURS} against {other}", *(f"D = {d}" for d in dimensions), "better, worse", "rank with D"]]
    for noise in noises:
        pairs = [(cells[OURS, d, noise], cells[other, d, noise]) for d in dimensions]
        differences, words = [float(relative(*pair)) for pair in pairs], [called(*pair) for pair in pairs]
        entries = [f"{x:+.2f} {word}" for x, word in zip(differences, words, strict=True)]
        counts = ", ".join(str(words.count(word)) for word in ("better", "worse"))
        rank = f"{rank_correlation(dimensions, differences):+.1f}" if len(dimensions) > 2 else ""
        rows.append([f"noise {noise:g}", *entries, counts, rank])
    lines = aligned(rows)
    if len(noises) > 1:
        value, low, high = growth(cells, other, dimensions, noises)
        lines.append(f"from noise {noises[0]:g} to {noises[-1]:g}: {value:+.3f} ({low:+.3f} to {high:+.3f})")
    return [*lines, ""]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).with_name("point-mass.json"))
    records = json.loads(parser.parse_args().file.read_text(encoding="utf-8"))["records"]
    methods = list(dict.fromkeys(record["method"] for record in records))
    numbers = list(dict.fromkeys(record["locations"] for record in records))
    for number, (name, measure), other in itertools.product(numbers, MEASURES.items(), methods):
        if other != OURS:
            mine = [record for record in records if record["locations"] == number]
            cells = {(r["method"], r["dimensions"], r["noise"]): np.array(measure(r)) for r in mine}
            print("\n".join(report(f"N = {number}: {name}" if len(numbers) > 1 else name, cells, other)))


if __name__ == "__main__":
    main()
