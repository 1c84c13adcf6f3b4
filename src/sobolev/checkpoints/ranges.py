"""Sets of step numbers as sorted lists of half-open ranges: [(0, 10), (12, 20)]."""

from collections.abc import Iterable, Sequence

import numpy as np

Range = tuple[int, int]


def joined(ranges: Iterable[Sequence[int]]) -> list[Range]:
    """Returns the union of ranges, which may be empty, unsorted or overlap, as sorted disjoint ranges."""
    found: list[Range] = []
    for start, stop in sorted((int(start), int(stop)) for start, stop in ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], stop)
        elif start < stop:
            found.append((start, stop))
    return found


def common(ones: Iterable[Sequence[int]], others: Iterable[Sequence[int]]) -> list[Range]:
    """Returns the steps that are in both."""
    others = joined(others)
    return joined((max(a, c), min(b, d)) for a, b in joined(ones) for c, d in others if max(a, c) < min(b, d))


def without(ranges: Iterable[Sequence[int]], holes: Iterable[Sequence[int]]) -> list[Range]:
    """Returns the steps of `ranges` that are not in `holes`."""
    left = joined(ranges)
    for start, stop in joined(holes):
        left = [part for a, b in left for part in ((a, min(b, start)), (max(a, stop), b)) if part[0] < part[1]]
    return left


def length(ranges: Iterable[Sequence[int]]) -> int:
    """Returns the number of steps."""
    return sum(stop - start for start, stop in ranges)


def newest(ranges: Sequence[Range], count: int) -> list[Range]:
    """Returns the last `count` steps, or all if there are fewer."""
    found: list[Range] = []
    for start, stop in reversed(ranges):
        if count <= 0:
            break
        found.insert(0, (max(start, stop - count), stop))
        count -= stop - start
    return found


def before(ranges: Iterable[Range], step: int) -> int:
    """Returns the number of steps before `step`."""
    return sum(max(0, min(stop, step) - start) for start, stop in ranges)


def true_ranges(mask: np.ndarray, offset: int = 0) -> list[Range]:
    """Returns the indices at which a mask bool[n] is true, plus `offset`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(start) + offset, int(stop) + offset) for start, stop in edges.reshape(-1, 2)]


def told(ranges: Sequence[Range]) -> str:
    """Describes steps in words, with three ranges at most: "step 7", "steps 3 to 5 and 9", "… and 3 more ranges"."""
    words = [str(start) if stop == start + 1 else f"{start} to {stop - 1}" for start, stop in ranges[:3]]
    if len(ranges) > 3:
        words.append(f"{len(ranges) - 3} more ranges")
    listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return f"step{'s' if length(ranges) > 1 else ''} {listed}"
