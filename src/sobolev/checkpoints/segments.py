"""Growing data on the disk: which files of steps become one, so that a long run has few of them.

A segment is {"from": step, "to": step, "file": record}, as a manifest has it.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sobolev.checkpoints.files import Damaged, free_room, read_arrays, write_arrays

Segment = dict[str, Any]

MANY = 64
"""Segments that a checkpoint has at most, but for those that are large."""
LARGE = 512 * 2**20
"""Bytes of a segment that becomes no larger, so that a merge needs no more than twice as much memory."""
AT_ONCE = 2 * LARGE
"""Bytes that one save writes to merge what earlier ones left, at most."""


def merged(folder: Path, segments: Sequence[Segment], needed: int) -> list[Segment]:
    """The segments, where there are many some merged in new files; the old ones are left for whoever names them.

    Nothing is merged that is damaged, nor where fewer than `needed` bytes would be left free on the disk."""
    result: list[Segment] = []
    left = AT_ONCE
    for group in plan(segments, MANY, LARGE):
        size = sum(_size(segment) for segment in group)
        if len(group) > 1 and size <= left and free_room(folder) >= size + needed:
            with suppress(Damaged):  # the next load says so, and leaves out what is damaged alone
                group, left = [_one(folder, group)], left - size
        result += group
    return result


def plan(segments: Sequence[Segment], many: int, large: int) -> list[list[Segment]]:
    """Neighbouring segments in groups, each of which is to become one: at most `many`, but none of over `large` bytes.

    Of two neighbours those go together that are nearest in size, then the smallest: so that a step is written again
    about as often as the number of saves can be halved until `many` are left."""
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
