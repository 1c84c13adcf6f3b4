"""What programs are traced for: a processor, or an accelerator, on which the same computation is quick in another form.

A CPU's time goes into arithmetic and memory; an accelerator's, at the sizes of these models, into the beginning of each
of thousands of kernels. Where one form of a computation serves the one and another the other, the code asks here.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

Target = Literal["cpu", "accelerator"]

_chosen: Target | None = None


def for_accelerator() -> bool:
    """Whether programs that are traced now are for an accelerator: where JAX computes, unless `traced_for` says it."""
    if _chosen is not None:
        return _chosen == "accelerator"
    import jax

    return jax.default_backend() != "cpu"


@contextlib.contextmanager
def traced_for(target: Target) -> Iterator[None]:
    """Within the block, in all threads, functions are traced in that target's form.

    Both forms run everywhere. JAX keeps what it has traced: `jax.clear_caches()` makes it trace a function again.
    """
    global _chosen
    before, _chosen = _chosen, target
    try:
        yield
    finally:
        _chosen = before
