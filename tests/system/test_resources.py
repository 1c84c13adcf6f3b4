import os
import subprocess
import sys
from pathlib import Path

import pytest

from sobolev.system.resources import cores


def test_all_cores_without_a_restriction():
    assert len(cores()) <= (os.cpu_count() or 1)
    assert len(cores()) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot be bound to cores here")
def test_a_process_bound_to_one_core_counts_one():
    core = cores()[-1]
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); from sobolev.system.resources import cores; print(cores())"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.stdout == f"({core},)\n", found.stderr
