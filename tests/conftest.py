"""All tests run under strict dtype promotion, without rank promotion, and with every annotated shape checked."""

import atexit
import contextlib
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.xla_flags import QUICK, as_flags

# What is compiled is kept in a folder of this session: for the processes that tests start, for the other worker of
# `pytest -n 2`, and for tests that compile again what others have. (The worker inherits the name of the folder.)
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sobolev-cache-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(os.environ["XDG_CACHE_HOME"], "tests")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# XLA's compiler for CPUs is most of the suite's time. With these options it is quick, mostly inside of `tiny.quickly`,
# where an update takes it 3 s in place of 22. `XLA_FLAGS= pytest` compiles as users' processes do.
os.environ.setdefault("XLA_FLAGS", as_flags(QUICK))

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes millions of small objects: Python's usual 700 new ones between collections cost a tenth of the suite.
gc.set_threshold(100_000, 20, 100)

# Under nohup it is ignored, and so it would be by the programs that tests start and send it to.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Never uninstalled: tests import sobolev's modules at any time.
install_import_hook("sobolev", "beartype.beartype")

# Time limits per example fail on slow machines, not on wrong code.
hypothesis.settings.register_profile("sobolev", deadline=None, print_blob=True)
hypothesis.settings.load_profile("sobolev")

LONG = (
    "training/test_resume.py",
    "distributed/test_processes.py",
    "training/test_regularizers.py",
    "dsdpg/test_probes.py",
    "dsdpg/test_runs.py",
    "training/test_program.py",
    "training/test_leaving.py",
    "training/test_damaged_runs.py",
    "training/test_x64.py",
    "training/test_updates_at_once.py",
    "training/test_pixels.py",
    "tests/test_golden.py",
    "dreamer/test_updates.py",
    "dreamer/test_gradients.py",
    "experiments/test_world_model.py",
    "experiments/test_linear_critic.py",
    "experiments/test_point_mass.py",
    "sweeps/test_slurm.py",
    "benchmarks/test_penalty.py",
    "benchmarks/test_programs.py",
    "examples/test_examples.py",
)
"""Files of many seconds, which begin first, so that no worker is left with one of them while the other has nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; whichever come later, in the order of their names. An entry of `LONG` that is no file fails."""
    there = {"/".join(path.parts[-2:]) for path in Path(__file__).parent.rglob("test_*.py")}
    if missing := set(LONG) - there:
        raise pytest.UsageError(f"LONG in tests/conftest.py names {', '.join(sorted(missing))}, which is not there")
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get("/".join(item.path.parts[-2:]), len(LONG)))


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def signals_are_as_they_were():
    """What a test leaves to hear or hold back signals would end the worker in the middle of a later test."""
    before = [signal.getsignal(number) for number in SIGNALS], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    after = [signal.getsignal(number) for number in SIGNALS], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert after == before


MEMORY = 4e9
"""Bytes of a worker above which it forgets what it has traced and compiled."""


@pytest.fixture(autouse=True, scope="module")
def forget_compiled_programs():
    """Files share programs, which each would trace again; but all that a worker compiles adds up to gigabytes."""
    yield
    if memory_in_use() > MEMORY:
        jax.clear_caches()


def memory_in_use() -> float:
    """Resident bytes of this process; infinite where the system does not say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return float("inf")
