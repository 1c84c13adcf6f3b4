"""Process-wide settings that change speed only: the cache of compiled programs, the garbage collector during tracing,
and glibc's allocator."""

import contextlib
import gc
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sobolev.errors import UserError
from sobolev.system.output import reason
from sobolev.system.target import check_fused_step

MAXIMUM_BYTES = 4 * 2**30
"""Bytes to which the cache folder is trimmed; the files that were unused longest are deleted first."""


def cache_folder() -> Path:
    """Returns the folder of compiled programs, in the user's cache folder, with a subfolder per kind of processor."""
    from platformdirs import user_cache_path

    return user_cache_path("sobolev") / "compiled"


def processor() -> str:
    """Returns a hash of the processor's model and features, for which XLA compiles on a CPU: eight hexadecimal digits.

    A program that was compiled for one processor may not run on another, and machines may share a home folder.
    """
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        first = platform.processor()
    named = ("vendor", "cpu family", "model", "stepping", "flags", "Features", "CPU ", "isa")
    lines = [line for line in first.splitlines() if line.startswith(named) or ":" not in line]
    return hashlib.sha256("\n".join([platform.machine(), *lines]).encode()).hexdigest()[:8]


def configure(compilation_cache: bool = True) -> None:
    """Sets up JAX for a run: the cache of compiled programs, if wanted, and settings that make tracing faster.

    Call it before JAX is asked for its devices. JAX_COMPILATION_CACHE_DIR, if set, is used instead of our folder. A
    cache that cannot be written is turned off. Raises UserError like `check_devices`.
    """
    import jax

    _ease_tracing()
    compute_in_this_thread()
    check_devices()
    if not compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    path = cache_folder() / (f"cpu-{processor()}" if jax.default_backend() == "cpu" else jax.default_backend())
    if not path.is_absolute():  # the user has no home folder
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        trim(cache_folder(), MAXIMUM_BYTES)
        tempfile.TemporaryFile(dir=path).close()  # JAX would warn for every program
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if jax.default_backend() == "cpu":
        _hush()


def check_devices() -> None:
    """Raises UserError if JAX finds no device, for example because JAX_PLATFORMS names one that this machine lacks, or
    if the environment asks for the fused step and the device cannot run it."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # JAX raises several kinds, including AssertionError
        wanted = jax.config.values["jax_platforms"]
        what = f"JAX_PLATFORMS={wanted} names a device that jax does not find here" if wanted else "jax finds no device"
        why = f" ({reason(error)})" if str(error) else ""
        raise UserError(
            f"{what}{why}: unset it, or set JAX_PLATFORMS=cpu; for a GPU, pip install 'jax[cuda13]'"
        ) from error
    check_fused_step()


@contextlib.contextmanager
def in_32_bits() -> Iterator[None]:
    """Turns `jax_enable_x64` off in this thread inside the block, as runs and checkpoints need.

    If a user's program turns it on, numbers without a dtype become 64-bit ones: results would differ, and the state
    would not fit a checkpoint.
    """
    import jax

    with jax.enable_x64(False):
        yield


def compute_in_this_thread() -> None:
    """Turns off JAX's asynchronous dispatch on CPUs. Call it before JAX is asked for its devices.

    glibc reuses freed buffers of more than 64 MB in the main thread only. JAX's own threads get new memory for every
    update, and the page faults take long.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def _ease_tracing() -> None:
    """Shortens the time for which other threads wait during tracing, and collects garbage less often."""
    # Tracing holds Python's lock. A thread that imports a module waits for the lock, up to the switch interval, after
    # every file: at the default of 5 ms, importing a hundred modules takes a second.
    sys.setswitchinterval(min(sys.getswitchinterval(), 0.0005))
    # Tracing creates millions of small objects that live on. Collecting after every 700 took a fifth of its time.
    eager, *rest = gc.get_threshold()
    gc.set_threshold(max(eager, 100_000), *rest)


def _hush() -> None:
    """Hides a false warning of XLA.

    XLA stores two preferences of its compiler (prefer-no-gather, prefer-no-scatter) with programs for a CPU. When it
    loads such a program, it looks for them among the processor's features, does not find them, and logs a long error
    that the program may not run on this machine (openxla/xla issue 44565, fixed in later versions). Programs of other
    kinds of processors are in other folders, see `processor`. Real errors are exceptions.
    """
    import jax

    # A user's choice is kept. jax itself sets this variable to 1 if it is not set.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "1" and jax.config.values["jax_logging_level"] == "NOTSET":
        jax.config.update("jax_logging_level", "CRITICAL")
        jax.config.update("jax_logging_level", "NOTSET")  # Python's loggers as they were; this does not reach XLA


def trim(path: Path, maximum: int) -> None:
    """Deletes the files below a folder that were unused longest, until at most `maximum` bytes remain."""
    found = []
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process is trimming as well
            if file.is_file():
                found.append((file.stat().st_atime, file.stat().st_size, file))
    total = sum(size for _, size, _ in found)
    for _, size, file in sorted(found):
        if total <= maximum:
            return
        file.unlink(missing_ok=True)
        total -= size


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

TUNABLES = (
    "glibc.malloc.mmap_threshold=4294967296",
    "glibc.malloc.trim_threshold=4294967296",
    "glibc.malloc.top_pad=8388608",
)
"""The process keeps freed buffers of up to 4 GB, and allocates 8 MB at a time. With more, the compiler's threads would
get huge pages and use little of each."""


def use_large_buffers() -> None:
    """Restarts this process with settings with which glibc keeps freed memory, and uses huge pages if the kernel does.

    On a CPU, XLA allocates memory for every call and frees it. Page faults in new memory take up to a third of the time
    of a small update. glibc reads its settings only when a program starts. Does nothing if the user has set
    GLIBC_TUNABLES, or SOBOLEV_RESTART=0.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ or os.environ.get("SOBOLEV_RESTART") == "0":
        return
    tunables = TUNABLES
    with contextlib.suppress(OSError):
        if "[madvise]" in HUGE_PAGES.read_text(encoding="utf-8"):
            tunables = ("glibc.malloc.hugetlb=1", *TUNABLES)
    os.environ["GLIBC_TUNABLES"] = ":".join(tunables)
    os.execv(sys.executable, sys.orig_argv)
