"""What of the machine this process may use."""

import os


def cores() -> tuple[int, ...]:
    """Returns the numbers of the cores that this process may use: those of `taskset` or of a cluster's share, where the
    system tells, else all."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
