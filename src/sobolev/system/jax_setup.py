"""Process-wide settings that change speed only: where compiled programs are kept between runs, how Python goes about
tracing them, and glibc's buffers."""

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
"""The cache folder is trimmed to this size, longest unused first."""


def cache_folder() -> Path:
    """The folder for compiled programs, in the user's cache folder; one below it for every kind of processor."""
    from platformdirs import user_cache_path

    return user_cache_path("sobolev") / "compiled"


def processor() -> str:
    """Eight hexadecimal digits over the processor's model and features, for which XLA compiles on a CPU.

    A program compiled for one processor may not run on another, and homes are shared between unlike machines.
    """
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        first = platform.processor()
    named = ("vendor", "cpu family", "model", "stepping", "flags", "Features", "CPU ", "isa")
    lines = [line for line in first.splitlines() if line.startswith(named) or ":" not in line]
    return hashlib.sha256("\n".join([platform.machine(), *lines]).encode()).hexdigest()[:8]


def configure(compilation_cache: bool = True) -> None:
    """Keep compiled programs, so that a second start need not compile again; trace them with little in the way.

    To be called before JAX is asked for its devices. JAX_COMPILATION_CACHE_DIR, where set, is used as it is. A cache
    that cannot be written is left off: it changes nothing but the start. Raises UserError as `check_devices` does.
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
    if not path.is_absolute():  # nobody knows where this user's home is
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        trim(cache_folder(), MAXIMUM_BYTES)
        tempfile.TemporaryFile(dir=path).close()  # JAX would warn at every program that it cannot keep
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if jax.default_backend() == "cpu":
        _hush()


def check_devices() -> None:
    """Raise UserError where JAX finds no device to compute on, as where JAX_PLATFORMS names one that is not here, and
    where what the environment asks for is not for the device it finds."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # JAX has several, an AssertionError among them
        wanted = jax.config.values["jax_platforms"]
        what = f"JAX_PLATFORMS={wanted} names a device that jax does not find here" if wanted else "jax finds no device"
        why = f" ({reason(error)})" if str(error) else ""
        raise UserError(
            f"{what}{why}: unset it, or set JAX_PLATFORMS=cpu; for a GPU, pip install 'jax[cuda13]'"
        ) from error
    check_fused_step()


@contextlib.contextmanager
def in_32_bits() -> Iterator[None]:
    """Types as runs and checkpoints have them, in this thread, whatever `jax_enable_x64` is for the rest of a program.

    With it, JAX would make 64-bit numbers of whatever has no type of its own: another program with other results, whose
    state fits no checkpoint.
    """
    import jax

    with jax.enable_x64(False):
        yield


def compute_in_this_thread() -> None:
    """A CPU computes in the thread that asks for it, and returns when it is done; before JAX is asked for its devices.

    Of the buffers of over 64 MB glibc keeps those of the main thread alone for the next time. Other threads, which
    take them where JAX computes in the background, get new memory at every update, and touching it takes long.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def _ease_tracing() -> None:
    """Other threads wait less for one that traces, and it does not stop so often to look for garbage."""
    # Tracing holds Python's lock, for which another thread waits that long after every file that it touches: at the
    # usual 5 ms an import of a hundred modules would take a second.
    sys.setswitchinterval(min(sys.getswitchinterval(), 0.0005))
    # Tracing makes millions of small objects that all stay: looking for waste after every 700 took a fifth of it.
    eager, *rest = gc.get_threshold()
    gc.set_threshold(max(eager, 100_000), *rest)


def _hush() -> None:
    """Keeps a false alarm of XLA from the terminal.

    XLA marks what it compiles for a CPU with two preferences of its compiler (prefer-no-gather, prefer-no-scatter), and
    when it loads that again it looks for them among the processor's features, where they never are: it then logs, as
    an error and at length, that the program may not run here (openxla/xla issue 44565; later versions pass them over).
    What could be true of it is excluded by the folder's name, see `processor`. Errors proper are exceptions.
    """
    import jax

    # A user's own choice is left alone; jax itself sets this variable to 1 where there is none.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "1" and jax.config.values["jax_logging_level"] == "NOTSET":
        jax.config.update("jax_logging_level", "CRITICAL")
        jax.config.update("jax_logging_level", "NOTSET")  # Python's loggers as they were; this does not reach XLA


def trim(path: Path, maximum: int) -> None:
    """Remove the longest unused files of a folder and those below it until the others take at most `maximum` bytes."""
    found = []
    for file in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process trims too
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
"""Freed buffers of up to 4 GB stay with the process, which asks for 8 MB at a time: with more, what the compiler's
threads ask for comes in huge pages, of which they use little."""


def use_large_buffers() -> None:
    """Restart this process with glibc keeping what is freed, and asking for huge pages where the kernel wants that.

    On a CPU, XLA takes fresh memory for every call and gives it back; touching it first, by pages of 4 KB, takes up to
    a third of a small update's time. glibc reads the settings only when a program starts. A user's own GLIBC_TUNABLES
    are left alone, and SOBOLEV_RESTART=0 leaves the process as it is.
    """
    if platform.libc_ver()[0] != "glibc" or "GLIBC_TUNABLES" in os.environ or os.environ.get("SOBOLEV_RESTART") == "0":
        return
    tunables = TUNABLES
    with contextlib.suppress(OSError):
        if "[madvise]" in HUGE_PAGES.read_text(encoding="utf-8"):
            tunables = ("glibc.malloc.hugetlb=1", *TUNABLES)
    os.environ["GLIBC_TUNABLES"] = ":".join(tunables)
    os.execv(sys.executable, sys.orig_argv)
