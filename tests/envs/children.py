"""The processes that a process has started."""

from pathlib import Path


def children() -> set[int]:
    """Process ids of this process's children, alive or not yet waited for."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}
