"""The target for which programs are traced: a CPU or an accelerator. Some computations have a faster form for each.

A CPU spends its time on arithmetic and memory. An accelerator, at the sizes of these models, spends it on launching
thousands of kernels. Code that has two forms of a computation chooses with `for_accelerator`.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

Target = Literal["cpu", "accelerator"]

_chosen: Target | None = None


def for_accelerator() -> bool:
    """Returns whether to trace for an accelerator: as `traced_for` says, else according to JAX's default backend."""
    if _chosen is not None:
        return _chosen == "accelerator"
    import jax

    return jax.default_backend() != "cpu"


@contextlib.contextmanager
def traced_for(target: Target) -> Iterator[None]:
    """Traces functions in the form for a target inside the block, in all threads.

    Both forms run on any device. JAX caches what it has traced: `jax.clear_caches()` makes it trace a function again.
    """
    global _chosen
    before, _chosen = _chosen, target
    try:
        yield
    finally:
        _chosen = before
