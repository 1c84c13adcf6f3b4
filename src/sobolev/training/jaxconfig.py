"""Process-wide settings of jax that change speed only: where compiled programs are kept between runs."""

import os
import platform
import sys
from pathlib import Path

MAXIMUM_BYTES = 4 * 2**30
"""The cache folder is trimmed to this size, longest unused first."""


def cache_folder() -> Path:
    """The folder for compiled programs, in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("sobolev") / "compiled"


def configure(compilation_cache: bool = True) -> None:
    """Keep compiled programs, so that a second start on an accelerator need not compile again.

    On a CPU nothing is kept: compiling takes half a minute there, and XLA warns at length that a kept one may not fit
    the processor (homes are shared between unlike machines). JAX_COMPILATION_CACHE_DIR, where set, is used on every
    device. A cache that cannot be written is left off: it changes nothing but the start.
    """
    import jax

    if not compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or jax.default_backend() == "cpu":
        return
    path = cache_folder()
    try:
        path.mkdir(parents=True, exist_ok=True)
        trim(path, MAXIMUM_BYTES)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def trim(path: Path, maximum: int) -> None:
    """Remove the longest unused files of a folder until the others take at most `maximum` bytes."""
    found = []
    for file in path.iterdir():
        try:
            found.append((file.stat().st_atime, file.stat().st_size, file))
        except FileNotFoundError:
            continue  # another process trims too
    total = sum(size for _, size, _ in found)
    for _, size, file in sorted(found):
        if total <= maximum:
            return
        file.unlink(missing_ok=True)
        total -= size


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Start this program anew with glibc asking for huge pages, where the kernel gives them only to those that ask.

    XLA takes fresh memory for every call on a CPU; by pages of 4 KB, touching it first takes up to a third of a small
    update's time. glibc reads the setting only when a program starts. A user's own GLIBC_TUNABLES is left alone.
    """
    try:
        asked_for = "[madvise]" in HUGE_PAGES.read_text()
    except OSError:
        return
    if asked_for and platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)
