"""The target for which programs are traced: a CPU or an accelerator. Some computations have a faster form for each.

A CPU spends its time on arithmetic and memory. An accelerator, at the sizes of these models, spends it on launching
thousands of kernels. Code that has two forms of a computation chooses with `for_accelerator`.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Literal

from sobolev.errors import UserError

Target = Literal["cpu", "accelerator", "fused"]
"""The forms: for a processor; for an accelerator; for an accelerator of NVIDIA's, with kernels written for it."""

FUSED_STEP = "SOBOLEV_FUSED_STEP"
"""The environment variable that asks for the third form, with 1. Off, 0, until a GPU has shown what it gains."""

_chosen: Target | None = None


def for_accelerator() -> bool:
    """Returns whether to trace for an accelerator: as `traced_for` says, else according to JAX's default backend."""
    if _chosen is not None:
        return _chosen != "cpu"
    import jax

    return jax.default_backend() != "cpu"


def fused_step() -> bool:
    """Returns whether to trace the recurrence's steps as Pallas kernels (`nn/fused`); off unless asked for."""
    return os.environ.get(FUSED_STEP, "0") == "1" if _chosen is None else _chosen == "fused"


def check_fused_step() -> None:
    """Raises UserError if the environment asks for the fused step with a value that is not 0 or 1, or on a device that
    cannot run it."""
    asked = os.environ.get(FUSED_STEP, "0")
    if asked not in ("0", "1"):
        raise UserError(f"{FUSED_STEP} is {asked}: give 1 for the fused step, or 0")
    if asked == "0":
        return
    import jax

    kind = jax.devices()[0].device_kind
    if "nvidia" not in kind.lower():
        raise UserError(f"{FUSED_STEP}=1 is for GPUs of NVIDIA, and jax computes on {kind} here: unset it")
    if importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        raise UserError(f"{FUSED_STEP}=1 needs Pallas' Triton backend, which jax {jax.__version__} has not: unset it")


@contextlib.contextmanager
def traced_for(target: Target) -> Iterator[None]:
    """Traces functions in the form for a target inside the block, in all threads.

    All forms run on any device; the fused one is slow anywhere but on a GPU of NVIDIA. JAX caches what it has traced:
    `jax.clear_caches()` makes it trace a function again.
    """
    global _chosen
    before, _chosen = _chosen, target
    try:
        yield
    finally:
        _chosen = before
