"""Runs of a tiny agent in the process of the tests, which compile as little as possible."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import tiny


@contextmanager
def quick_runs(capacity: int | None = tiny.CAPACITY) -> Iterator[None]:
    """Runs in this block compile quickly, and share their programs with all runs of equal agents.

    Their replay has that capacity, so that its programs are shared too; None: each run's own.
    """
    with pytest.MonkeyPatch.context() as patch, tiny.quickly():
        tiny.share_programs(patch)
        if capacity is not None:
            tiny.large_replay(patch, capacity)
        yield
