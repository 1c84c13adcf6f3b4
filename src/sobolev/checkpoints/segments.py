"""Merges the segments of a checkpoint's growing data (files of steps), so that a long run has few of them.

A segment is {"from": step, "to": step, "file": record}, as in the manifest of a checkpoint.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.checkpoints.files import Damaged, free_room, read_arrays, write_arrays

Segment = dict[str, Any]

MANY = 64
"""Largest number of segments of a checkpoint, without those that are `LARGE`."""
LARGE = 512 * 2**20
"""Bytes from which a segment is not merged, so that a merge needs at most twice as much memory."""
AT_ONCE = 2 * LARGE
"""Largest number of bytes that one save writes for merging."""


def merged(folder: Path, segments: Sequence[Segment], needed: int) -> list[Segment]:
    """Returns the segments after merging some into new files if there are many. The old files are not deleted, since
    another manifest may name them.

    Does not merge damaged segments, nor if that would leave fewer than `needed` bytes free on the disk."""
    result: list[Segment] = []
    left = AT_ONCE
    for group in plan(segments, MANY, LARGE):
        size = sum(_size(segment) for segment in group)
        if len(group) > 1 and size <= left and free_room(folder) >= size + needed:
            with suppress(Damaged):  # the next load reports the damage, and loses only these steps
                group, left = [_one(folder, group)], left - size
        result += group
    return result


def plan(segments: Sequence[Segment], many: int, large: int) -> list[list[Segment]]:
    """Groups neighbouring segments, each group to be merged into one, such that at most `many` groups remain. No group
    becomes larger than `large` bytes.

    Neighbours that are nearest in size are merged first, then the smallest. A step is thus written again only
    log2(saves / `many`) times or so."""
    groups = [[segment] for segment in segments]
    sizes = [_size(segment) for segment in segments]
    while len(groups) > many:
        pairs = [
            (max(a, b) > 2 * min(a, b), a + b, index)
            for index, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
            if a + b <= large and groups[index][-1]["to"] == groups[index + 1][0]["from"]
        ]
        if not pairs:
            break
        index = min(pairs)[-1]
        groups[index] += groups.pop(index + 1)
        sizes[index] += sizes.pop(index + 1)
    return groups


def _one(folder: Path, group: Sequence[Segment]) -> Segment:
    start, stop = group[0]["from"], group[-1]["to"]
    parts = [read_arrays(folder, segment["file"]) for segment in group]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise Damaged(f"the steps {start} to {stop - 1} are not all of the same kind")
    whole = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    return {"from": start, "to": stop, "file": write_arrays(folder / f"steps-{start}-{stop}.safetensors", whole)}


def _size(segment: Segment) -> int:
    return segment["file"]["size"]
